"""One event as JSON and as a line for people: what list, export, tail and show have in common.

The rule easiest to break: the keys of `to_record` and their order are public; scripts rely on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from receiver.cli.common import Cell
    from storage.records import EventRecord

KEYS: Final = (
    "seq",
    "event_id",
    "source",
    "event_type",
    "calendar_event_uuid",
    "calendar_event_id",
    "occurred_at",
    "received_at",
    "delivery_id",
    "verdict",
    "changes",
    "deliveries",
    "origin",
    "runs",
)

COLUMNS: Final = (
    "seq",
    "received (UTC)",
    "type",
    "calendar",
    "title",
    "verdict",
    "changes",
    "seen",
    "runs",
    "event id",
)
ELASTIC: Final = ("type", "title", "changes", "runs", "event id")
"""Columns that give way on a narrow terminal; `log show` takes the seq, which does not."""

STYLES: Final = {"done": "green", "dead": "red", "retrying": "yellow", "discarded": "yellow"}


def to_record(event: EventRecord) -> dict[str, Any]:
    """The event as a record of `log list --json`."""
    return {key: getattr(event, key) for key in KEYS}


def to_row(event: EventRecord) -> tuple[Cell, ...]:
    """The event as a row under `COLUMNS`."""
    return (
        str(event.seq),
        short_time(event.received_at),
        event.event_type or "",
        calendar_event(event),
        event.title or "",
        "" if event.verdict == "fresh" else event.verdict or "",
        ", ".join(event.changes),
        _seen(event),
        runs(event),
        event.event_id,
    )


def _seen(event: EventRecord) -> str:
    """How the event came, where that is not by one delivery."""
    times = "" if event.deliveries == 1 else f"{event.deliveries} times"
    if event.origin == "webhook":
        return times
    return f"{event.origin}, {times}" if event.deliveries else event.origin


def runs(event: EventRecord) -> list[tuple[str, str]]:
    """The state of the event at each handler, as pieces of text with their styles."""
    pieces: list[tuple[str, str]] = []
    for handler, state in event.runs.items():
        pieces += [(f"{', ' if pieces else ''}{handler} ", ""), (state, STYLES.get(state, ""))]
    return pieces


def calendar_event(event: EventRecord) -> str:
    """The calendar event in few letters: its number, which filters take, else the beginning of its uuid."""
    if event.calendar_event_id is not None:
        return str(event.calendar_event_id)
    return (event.calendar_event_uuid or "")[:8]


def short_time(iso: str | None) -> str:
    """A time of the log to the second, without its zone, which is UTC."""
    return (iso or "")[:19].replace("T", " ")
