"""From a stored body to the typed event: which class a payload is read as, and the reading.

The rule easiest to break: the type's name alone does not decide. What has not the shape of its name
(`shapes`) is an `UnknownEvent`, never an error.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from receiver import reading
from receiver.errors import EventError, InvalidJSON
from receiver.events import calendar, calls
from receiver.events.base import AnyEvent, UnknownEvent, nested
from receiver.events.overdue import Overdue
from receiver.jsonbody import parse_json
from receiver.shapes import MAX_EVENT_TYPE, readable_as

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from receiver.jsonbody import JSON
    from storage.records import Origin

__all__ = ["EVENT_TYPES", "event_class", "event_class_of", "parse_event"]

EVENT_TYPES: Final[Mapping[str, type[AnyEvent]]] = MappingProxyType(
    {
        cls.type_name: cls
        for cls in (
            calendar.CalendarCreated,
            calendar.CalendarUpdated,
            calendar.CalendarCancelled,
            calendar.CalendarCompleted,
            calendar.CalendarReminder,
            calls.CallStarted,
            calls.CallEnded,
            calls.CallFailed,
            calls.CallTranscript,
            calls.CallRecording,
            calls.CallSummary,
        )
    }
)
"""Every webhook of the vendor by its name."""


def event_class(event_type: str | None) -> type[AnyEvent]:
    """The class of that name; `UnknownEvent` for any other name. What a body is read as may differ."""
    return Overdue if event_type == Overdue.type_name else EVENT_TYPES.get(event_type or "", UnknownEvent)


def event_class_of(value: JSON) -> type[AnyEvent]:
    """The class that a parsed body is read as, by its type and its shape."""
    return event_class(readable_as(value))


def parse_event(
    body: bytes,
    *,
    event_id: str,
    source: str,
    received_at: datetime,
    origin: Origin = "webhook",
    delivery_id: str | None = None,
) -> AnyEvent:
    """The typed event of a body. `received_at` is aware.

    Raises:
        EventError: the body is not JSON.
    """
    try:
        value = parse_json(body)
    except InvalidJSON as error:
        raise EventError(f"event {event_id}: expected JSON, but the body is {error.reason}") from error
    cls = event_class_of(value)
    return cls.model_validate(
        {  # ours last: a key of the same name in the payload is still in `raw`
            **_content(cls, value),
            "event_id": event_id,
            "source": source,
            "received_at": received_at,
            "origin": origin,
            "delivery_id": delivery_id,
            "raw": value,
        }
    )


def _content(cls: type[AnyEvent], value: JSON) -> dict[str, Any]:
    payload = nested(value) or {}
    if cls is not UnknownEvent:
        return payload
    return {
        "event_type": reading.storable(payload.get("event_type"), MAX_EVENT_TYPE),
        "timestamp": payload.get("timestamp"),
    }
