"""Calendar events as iCalendar (RFC 5545), one VEVENT for each, as it stands now. Pure.

SEQUENCE counts what a calendar has to notice: that it was moved in time or place, cancelled or taken up
again; so a file that is imported again updates what was imported before. The rule easiest to break: titles
and names are written by strangers, and a line break in one must not become a line of the calendar.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from icalendar import Calendar, Event

from receiver import reading
from receiver.clock import to_datetime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.history import Step

__all__ = ["CLOSING", "opening", "vevent"]

CLOSING: Final = "END:VCALENDAR\r\n"
_STATUS: Final = {"cancelled": "CANCELLED", "scheduled": "TENTATIVE"}
"""Whatever else it is, it takes or took place as agreed."""
_NOTICED: Final = frozenset({"rescheduled", "moved", "cancelled", "confirmed", "status_changed"})


def opening() -> str:
    """The beginning of a file; VEVENTs and `CLOSING` follow."""
    calendar = Calendar()
    calendar.add("prodid", "-//klenhook//log//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    data: bytes = calendar.to_ical()
    return data.decode().removesuffix(CLOSING)


def vevent(uid: str, steps: Sequence[Step]) -> str | None:
    """One calendar event, from its events in the order in which they happened.

    None if it is not known when it begins, without which there is no VEVENT.
    """
    state = steps[-1].state if steps else None
    start = state and reading.instant(state.get("start_time"))
    if state is None or state.newest is None or not start:
        return None
    about = state.calendar_event()
    entry = Event()
    entry.add("uid", _line(uid))
    newest = _moment(state.newest.at_ms)
    entry.add("dtstamp", newest)
    entry.add("last-modified", newest)
    if state.booked_ms is not None:
        entry.add("created", _moment(state.booked_ms))
    entry.add("sequence", _sequence(steps))
    entry.add("dtstart", start)
    end = reading.instant(about.get("end_time"))
    if end is not None and end > start:
        entry.add("dtend", end)
    entry.add("summary", _line(about.get("title")))
    for name, value in _texts(about).items():
        if value:
            entry.add(name, value)
    entry.add("status", _STATUS.get(str(about.get("status")), "CONFIRMED"))
    data: bytes = entry.to_ical()
    return data.decode()


def _sequence(steps: Sequence[Step]) -> int:
    return sum(any(change.name in _NOTICED for change in step.changes) for step in steps)


def _texts(about: dict[str, Any]) -> dict[str, str]:
    customer = about.get("customer")
    parts = customer if isinstance(customer, dict) else {}
    return {
        "location": _line(about.get("location")),
        "contact": ", ".join(filter(None, (_line(parts.get(name)) for name in ("name", "email", "phone")))),
        "categories": _line(about.get("event_type")),
        "url": _line(about.get("video_conference_url")),
        "description": "\n".join(
            filter(None, (_text(about.get(name)) for name in ("description", "reason")))
        ),
        "x-klen-status": _line(about.get("status")),
    }


def _moment(milliseconds: int) -> datetime:
    """To the second, as iCalendar has it; a time that no calendar has is its first or last."""
    try:
        return to_datetime(milliseconds).replace(microsecond=0)
    except (ValueError, OverflowError, OSError):
        return (
            datetime.max.replace(microsecond=0, tzinfo=UTC)
            if milliseconds > 0
            else datetime.min.replace(tzinfo=UTC)
        )


def _line(value: object) -> str:
    """One line of one value."""
    return " ".join(_text(value).split())


def _text(value: object) -> str:
    """Text without what is not for display, but for its line breaks."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    lines = str(value).splitlines()
    return "\n".join(
        "".join(c for c in line if unicodedata.category(c) not in ("Cc", "Cs")) for line in lines
    )
