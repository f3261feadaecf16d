"""What holds for every body: a result or our own error, and one reading of it everywhere."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.columns import columns
from receiver.errors import EventError, InvalidJSON
from receiver.events import (
    EVENT_TYPES,
    AnyCalendarEvent,
    AnyCall,
    UnknownEvent,
    event_class_of,
    parse_event,
)
from receiver.jsonbody import canonical, parse_json

if TYPE_CHECKING:
    from receiver.events import AnyEvent
    from receiver.jsonbody import JSON

NOW = datetime(2025, 5, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

any_text = st.text(st.characters(exclude_categories=()), max_size=20)
times = st.one_of(
    st.datetimes().map(datetime.isoformat),
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.from_regex(
        r"\A[0-9]{4}-?[0-9W]{2,3}-?[0-9]{1,2}.[0-9]{2}(:?[0-9]{2}){0,2}([.,][0-9]{1,9})?([Zz]|[+-][0-9]{2}:?[0-9]{2})?\Z"
    ),
)
uuids = st.uuids().flatmap(lambda uuid: st.sampled_from([str(uuid), str(uuid).upper(), uuid.hex]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    any_text,
    times,
    uuids,
    st.integers().map(str),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=8,
)


def shaped(*keys: str, **nested: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of these keys and others, each of any value."""
    known = st.fixed_dictionaries({}, optional=dict.fromkeys(keys, values) | nested)
    return st.builds(
        lambda other, mine: {**other, **mine}, st.dictionaries(any_text, values, max_size=2), known
    )


people = shaped("id", "name", "email", "phone", "assistant_id")
calendar_events = shaped(
    *("title", "event_type", "kind", "status", "end_time", "duration_minutes", "has_video_conference"),
    *("time_changed", "previous_start", "reason", "model_config", "__class__"),
    id=st.integers() | st.integers().map(str) | values,
    uuid=uuids | values,
    start_time=times | values,
    ai_agent=people | values,
    customer=people | values,
)
calls = shaped(
    *("id", "klen_call_id", "agent_id", "status", "type", "started_at", "ended_at", "duration_seconds"),
    contact=people | values,
)
bodies = shaped(
    *("event_id", "source", "raw", "origin", "received_at", "self", "cls", "model_extra"),
    event_type=st.sampled_from([*EVENT_TYPES, "calendar.moved", "call.parked"]) | any_text | values,
    calendar_event=calendar_events | values,
    call=calls | values,
    timestamp=times | values,
)


def parse(body: bytes) -> AnyEvent:
    return parse_event(body, event_id="evt_1", source="klen", received_at=NOW)


@given(st.binary() | values.map(lambda value: json.dumps(value).encode()[:-1]))
def test_bytes_are_json_or_refused(body: bytes) -> None:
    """Arbitrary bytes are a value, or InvalidJSON; as an event, an event or EventError."""
    try:
        value = parse_json(body)
    except InvalidJSON:
        try:
            parse(body)
        except EventError:
            return
        raise AssertionError("an event of what is no JSON") from None
    columns(value)
    assert parse(body).event_id == "evt_1"


@given(values)
def test_json_survives_reading_and_writing(value: JSON) -> None:
    """What the standard library writes is read as it was, and so are its canonical bytes."""
    read = parse_json(json.dumps(value).encode())
    assert read == value
    assert parse_json(canonical(read)) == value


@given(bodies)
def test_every_body_is_an_event_with_its_raw_value(value: dict[str, Any]) -> None:
    """Whatever the payload holds, there is an event, its raw value is the payload, and it can be dumped."""
    event = parse(json.dumps(value).encode())
    assert event.raw == value
    assert (event.event_id, event.source, event.origin, event.received_at) == (
        "evt_1",
        "klen",
        "webhook",
        NOW,
    )
    event.model_dump()


@given(bodies | values)
def test_columns_are_storable(value: JSON) -> None:
    """SQLite takes the columns of every JSON value and gives them back."""
    found = columns(value)[:-1]
    with closing(sqlite3.connect(":memory:")) as database:
        assert database.execute(f"SELECT {','.join('?' * len(found))}", found).fetchone() == found


@settings(max_examples=200)
@given(bodies)
def test_the_event_and_the_columns_agree(value: dict[str, Any]) -> None:
    """The columns are what the typed event says, and only flagged bodies have no type."""
    event, found = parse(json.dumps(value).encode()), columns(value)
    assert found.event_type == event.event_type
    assert found.occurred_at_ms == in_milliseconds(event.timestamp)
    assert isinstance(event, event_class_of(value))
    assert isinstance(event, UnknownEvent) == bool({"unknown_type", "bad_shape"} & set(found.flags))
    if isinstance(event, AnyCalendarEvent):
        booked = event.calendar_event
        assert (found.calendar_event_uuid, found.calendar_event_id) == (column(booked.uuid), booked.id)
        assert (found.title, found.status) == (column(booked.title), column(booked.status))
        assert (found.start_ms, found.end_ms) == (
            in_milliseconds(booked.start_time),
            in_milliseconds(booked.end_time),
        )
        assert found.call_id is None
    if isinstance(event, AnyCall):
        call = event.call
        assert found.call_id == column(call.klen_call_id or (None if call.id is None else str(call.id)))
        assert found.status == column(call.status)
        assert (found.start_ms, found.end_ms) == (
            in_milliseconds(call.started_at),
            in_milliseconds(call.ended_at),
        )
        assert (found.calendar_event_uuid, found.calendar_event_id) == (None, None)


def column(text: str | None) -> str | None:
    return None if text is None else text[:500].replace("\0", "\N{REPLACEMENT CHARACTER}")


def in_milliseconds(time: datetime | None) -> int | None:
    return None if time is None else (time - EPOCH) // timedelta(milliseconds=1)
