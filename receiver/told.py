"""What one event tells about its calendar event: fields with values, and the place of the event in time.

The vendor's envelope `timestamp` is the only clue to order
(https://docs.klen.ai/api-reference/webhooks/overview). An event without one is placed by the time it was
received: late rather than early, since it cannot have happened after that. The rule easiest to break: the
place is made of time and content alone, so that events which tie are in the same order however they arrive.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from receiver import reading
from receiver.shapes import OVERDUE

if TYPE_CHECKING:
    from receiver.jsonbody import JSON

__all__ = ["CUSTOMER", "FIELDS", "PREVIOUS", "TERMINAL", "Mark", "Told", "same", "told"]

CUSTOMER: Final = "customer"
"""The one field that is known by its parts, such as `customer.email`: senders leave out what they lack."""
FIELDS: Final = (
    "id",
    "uuid",
    "title",
    "description",
    "event_type",
    "status",
    "start_time",
    "end_time",
    "duration_minutes",
    "location",
    "has_video_conference",
    "video_conference_url",
    "created_by_ai_agent",
    "ai_agent",
    CUSTOMER,
    "reason",
    "ics_url",
)
"""The vendor's names of what makes up a calendar event, in the order in which it is shown."""
TERMINAL: Final = frozenset({"cancelled", "completed", "no_show"})
"""Statuses with which a calendar event ends."""
PREVIOUS: Final = ("previous_start", "previous_end")
"""What an update says about itself: remembered, so that it is not told twice, but no part of the state."""

_UNTOLD: Final = frozenset({"time_changed"})
_NEVER_NULL: Final = frozenset({"id", "uuid", "title", "status", "start_time", "end_time"})
"""Where the vendor requires a value, null is none."""
_USUAL: Final = frozenset(FIELDS) - {CUSTOMER}
"""Fields that mean nothing special here."""
_IMPLIED: Final = {"calendar.cancelled": "cancelled", "calendar.completed": "completed"}
"""The status of an event that does not carry it."""
_TIMES: Final = frozenset({"start_time", "end_time", *PREVIOUS})
_PART: Final = f"{CUSTOMER}."
_CLEAN: Final = frozenset({bool, int, type(None)})
"""Types of values that need no cleaning."""
_surrogates = re.compile("[\ud800-\udfff]")


class Mark(NamedTuple):
    """The place of an event among those about the same calendar event; compares as it is ordered."""

    at_ms: int
    """Its `timestamp`, else when it was received."""
    rank: int
    """At the same instant a creation comes first, and what ends the calendar event comes last."""
    content: int
    """From the digest of its body."""
    seq: int


class Told(NamedTuple):
    """One event as `fold` takes it."""

    mark: Mark
    event_type: str | None
    fields: dict[str, Any]
    """By the vendor's names, those of a customer as `customer.email`. What is not carried is not there."""


def told(
    body: JSON, *, seq: int, body_sha256: bytes, occurred_at_ms: int | None, received_at_ms: int
) -> Told | None:
    """What a parsed body tells; None if it has no calendar event."""
    calendar_event = body.get("calendar_event") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(calendar_event, dict):
        return None
    event_type = reading.text(body.get("event_type"))
    if event_type == OVERDUE:  # made from what is known, so it tells nothing
        return None
    fields = _fields(calendar_event)
    if event_type in _IMPLIED:
        fields.setdefault("status", _IMPLIED[event_type])
    mark = Mark(
        received_at_ms if occurred_at_ms is None else occurred_at_ms,
        _rank(event_type, fields.get("status")),
        int.from_bytes(body_sha256[:4]),
        seq,
    )
    return Told(mark, event_type, fields)


def same(path: str, one: Any, other: Any) -> bool:
    """Whether two values of a field say the same, such as one moment that is written in two ways."""
    return bool(one == other or _normal(path, one) == _normal(path, other))


def _normal(path: str, value: Any) -> Any:
    if path in _TIMES:
        moment = reading.instant(value)
        return value if moment is None else reading.milliseconds(moment)
    return None if value == "" else value


def _fields(calendar_event: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in calendar_event.items():
        kind = type(value)
        if name in _USUAL:  # there are twenty of them: whatever is done for each, takes long
            if kind is str and value.isascii():
                fields[name] = value
            elif value is not None or name not in _NEVER_NULL:
                fields[name] = value if kind in _CLEAN else _clean(value)
        elif name == CUSTOMER and kind is dict:
            for part, content in value.items():
                fields[_PART + _clean(part)] = _clean(content)
        elif name not in _UNTOLD and not name.startswith(_PART):
            fields[_clean(name)] = _clean(value)
    return fields


def _rank(event_type: str | None, status: object) -> int:
    if isinstance(status, str) and status in TERMINAL:
        return 2
    return 0 if event_type == "calendar.created" else 1


def _is_plain(value: Any) -> bool:
    return value.isascii() if type(value) is str else type(value) in _CLEAN


def _clean(value: Any) -> Any:
    """The value as it can be stored and read again: with neither half characters nor infinite numbers."""
    if isinstance(value, str):
        return value if value.isascii() else reading.text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict) and all(map(_is_plain, value)) and all(map(_is_plain, value.values())):
        return value
    if isinstance(value, (dict, list)) and value:
        text = json.dumps(value, ensure_ascii=False)
        if "Infinity" in text or not text.isascii():
            return json.loads(_surrogates.sub("\N{REPLACEMENT CHARACTER}", text), parse_constant=str)
    return value
