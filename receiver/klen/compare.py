"""What the log has missed of one appointment: its state at the vendor against its state in the log.

Pure. What is missing comes out as events, as the vendor would have sent them, with all that its API shows.
The rule easiest to break: their times. An event is placed where the vendor says that it happened, and if that
cannot be true, right behind what is known, so that it never lies over anything newer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from receiver import reading
from receiver.clock import to_datetime
from receiver.samples import to_body
from receiver.told import CUSTOMER, PREVIOUS, TERMINAL, same, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from receiver.state import State

_NO_NEWS: Final = frozenset(
    {
        "id",
        "uuid",
        "created_at",
        "updated_at",
        "event_type_display",
        "status_display",
        "external_calendars",
        "ics_url",
        "duration_minutes",
        *PREVIOUS,
    }
)
"""Fields that name the appointment, follow from others, or change without its doing."""
_ONLY_DETAILS: Final = frozenset(
    {
        "description",
        "video_conference_provider",
        "is_reminder_enabled",
        "remind_before_minutes",
        "team",
        f"{CUSTOMER}.notes",
    }
)
"""Fields that no webhook and no list carries: not to know them is nothing missed."""
AHEAD_MS: Final = 86_400_000
"""A time that is further ahead of ours than a day is not believed."""
LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999, behind which there is no time in ISO 8601."""
_BY_STATUS: Final = {"cancelled": "calendar.cancelled", "completed": "calendar.completed"}
"""The webhooks that tell a status. `no_show` has none: https://docs.klen.ai/api-reference/calendar/overview"""


@dataclass(frozen=True, slots=True)
class Missing:
    """An event that the log should have, as a body to record."""

    event_type: str
    happened_ms: int
    body: bytes


def differs(known: State | None, shown: Mapping[str, Any]) -> bool:
    """Whether the log has missed something, by what a list or the details show."""
    return known is None or bool(_differences(known, shown))


def missing(known: State | None, details: Mapping[str, Any], *, read_at_ms: int) -> list[Missing]:
    """The events that lead from what is known to what the details show, oldest first."""
    updated_ms = _moment(details.get("updated_at"), read_at_ms)
    if known is None:
        return list(_from_nothing(details, updated_ms, read_at_ms))
    changed = _differences(known, details)
    if not changed:
        return []
    newest = known.newest.at_ms if known.newest else -1
    happened_ms = updated_ms if updated_ms is not None and updated_ms > newest else newest + 1
    event_type = _ending(details) if "status" in changed else "calendar.updated"
    extra: dict[str, Any] = {}
    if {"start_time", "end_time"} & changed:
        before = known.values()
        extra = {
            "time_changed": True,
            "previous_start": before.get("start_time"),
            "previous_end": before.get("end_time"),
        }
    return [_event(event_type, details, happened_ms, **extra)]


def _from_nothing(details: Mapping[str, Any], updated_ms: int | None, read_at_ms: int) -> Iterator[Missing]:
    """That it was booked, and how it has ended if it has."""
    created_ms = _moment(details.get("created_at"), read_at_ms)
    booked_ms = next(ms for ms in (created_ms, updated_ms, read_at_ms) if ms is not None)
    if reading.text(details.get("status")) not in TERMINAL:
        yield _event("calendar.created", details, booked_ms)
        return
    # How it stood when it was booked, nobody knows any more.
    yield _event("calendar.created", {k: v for k, v in details.items() if k != "status"}, booked_ms)
    ended_ms = read_at_ms if updated_ms is None else updated_ms
    yield _event(_ending(details), details, max(ended_ms, booked_ms + 1))


def _ending(details: Mapping[str, Any]) -> str:
    """The webhook that tells this status."""
    return _BY_STATUS.get(reading.text(details.get("status")) or "", "calendar.updated")


def _event(event_type: str, details: Mapping[str, Any], happened_ms: int, **extra: Any) -> Missing:
    happened_ms = min(happened_ms, LAST_MS)
    timestamp = to_datetime(happened_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content = {**details, **extra}
    body = {"event_type": event_type, "calendar_event": content, "timestamp": timestamp}
    return Missing(event_type, happened_ms, _written(body))


def _written(body: dict[str, Any]) -> bytes:
    try:
        return to_body(body)
    except ValueError:  # half characters, or numbers beyond all bounds
        plain = json.loads(json.dumps(body), parse_constant=lambda name: str(float(name)))
        return json.dumps(plain, separators=(",", ":")).encode()


def _differences(known: State, shown: Mapping[str, Any]) -> set[str]:
    """The fields that are otherwise at the vendor."""
    as_recorded = json.loads(_written(dict(shown)))
    content = told(
        {"calendar_event": as_recorded}, seq=0, body_sha256=bytes(4), occurred_at_ms=0, received_at_ms=0
    )
    values, fields = known.values(), content.fields if content else {}
    return {path for path, value in fields.items() if _is_news(path, value, values)}


def _is_news(path: str, value: Any, values: Mapping[str, Any]) -> bool:
    if path in _NO_NEWS or (path in _ONLY_DETAILS and path not in values):
        return False
    if path == CUSTOMER:  # none at all, where there was one
        return any(values[part] for part in values if part.startswith(f"{CUSTOMER}."))
    return not same(path, values.get(path), value)


def _moment(value: object, read_at_ms: int) -> int | None:
    moment = reading.instant(value)
    found = None if moment is None else reading.milliseconds(moment)
    return found if found is not None and found <= read_at_ms + AHEAD_MS else None
