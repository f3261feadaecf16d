"""The plain columns of the log, read from a parsed body on the way to the acknowledgement.

No typed event is made here: the sender is waiting. The rule easiest to break: total. Every JSON value has
columns, each of them None or storable as it is, and what is odd becomes a flag, never an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from receiver import reading
from receiver.shapes import MAX_EVENT_TYPE, is_known, readable_as

if TYPE_CHECKING:
    from receiver.jsonbody import JSON

__all__ = ["Columns", "columns"]

MAX_TEXT: Final = 500
"""Characters of a text column; the body keeps the rest."""


class Columns(NamedTuple):
    """What the log knows of a body without opening it. Times are milliseconds since 1970 in UTC."""

    event_type: str | None = None
    calendar_event_uuid: str | None = None
    """In lower case if it is a UUID."""
    calendar_event_id: int | None = None
    call_id: str | None = None
    """The call's `klen_call_id`, else its `id`."""
    occurred_at_ms: int | None = None
    """The vendor's `timestamp`."""
    title: str | None = None
    status: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    flags: tuple[str, ...] = ()
    """`unknown_type`: not one of the vendor's eleven; `bad_shape`: not readable as its type, or without
    one; `odd_timestamp`: a time is there that cannot be read."""


def columns(value: JSON) -> Columns:
    """The columns of a parsed body. A calendar event gives title, status and times; else a call does."""
    if not isinstance(value, dict):
        return Columns(flags=("bad_shape",))
    event_type = reading.storable(value.get("event_type"), MAX_EVENT_TYPE)
    calendar_event, call = _subject(event_type, value)
    about = calendar_event or call
    began, ended = ("start_time", "end_time") if calendar_event else ("started_at", "ended_at")
    times = (value.get("timestamp"), about.get(began), about.get(ended))
    occurred_at_ms, start_ms, end_ms = moments = [_milliseconds(time) for time in times]
    flags = _type_flags(event_type, value)
    if moments.count(None) > times.count(None):
        flags += ("odd_timestamp",)
    return Columns(
        event_type,
        reading.storable(reading.uuid(calendar_event.get("uuid")), MAX_TEXT) if calendar_event else None,
        reading.integer(calendar_event.get("id")),
        _call_id(call) if call else None,
        occurred_at_ms,
        reading.storable(about.get("title"), MAX_TEXT),
        reading.storable(about.get("status"), MAX_TEXT),
        start_ms,
        end_ms,
        flags,
    )


def _subject(event_type: str | None, body: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The calendar event and the call that the body is about: at most one of them is not empty."""
    calendar_event, call = body.get("calendar_event"), body.get("call")
    is_call = event_type is not None and event_type.startswith("call.")
    if isinstance(calendar_event, dict) and not is_call:
        return calendar_event, {}
    return {}, call if isinstance(call, dict) else {}


def _call_id(call: dict[str, Any]) -> str | None:
    name, number = reading.text(call.get("klen_call_id")), reading.identifier(call.get("id"))
    return reading.storable(name or (None if number is None else str(number)), MAX_TEXT)


def _milliseconds(time: object) -> int | None:
    moment = reading.instant(time)
    return None if moment is None else reading.milliseconds(moment)


def _type_flags(event_type: str | None, body: dict[str, Any]) -> tuple[str, ...]:
    if event_type is not None and not is_known(event_type):
        return ("unknown_type",)
    return ("bad_shape",) if readable_as(body) is None else ()
