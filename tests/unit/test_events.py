"""How webhook bodies become typed events and columns of the log."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from receiver.columns import Columns, columns
from receiver.errors import EventError
from receiver.events import (
    EVENT_TYPES,
    AnyCalendarEvent,
    AnyCall,
    AnyEvent,
    CalendarCancelled,
    CalendarCreated,
    CalendarUpdated,
    CallEnded,
    CallFailed,
    CallStarted,
    CallTranscript,
    UnknownEvent,
    event_class,
    parse_event,
)
from receiver.jsonbody import parse_json
from receiver.shapes import KNOWN, OVERDUE, is_known

if TYPE_CHECKING:
    from storage.records import Origin

SAMPLES = Path(__file__).parents[1] / "samples"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.json"))
UNKNOWN = {"calendar.created-nameless", "calendar.rescheduled", "ping", "typeless"}
UUID = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
OTHER_NUMBERS: list[object] = [True, 1.0, "1.0", " 1", "1_0", "\u0661", "+1", "", [], None]
NOW = datetime(2025, 5, 1, 10, 15, 31, tzinfo=UTC)


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def parse(body: bytes, *, origin: Origin = "webhook") -> AnyEvent:
    return parse_event(
        body, event_id="evt_1", source="klen", received_at=NOW, origin=origin, delivery_id="d1"
    )


def read(name: str) -> Any:
    return parse(sample(name))


def columns_of(body: bytes) -> Columns:
    return columns(parse_json(body))


def calendar_body(**calendar_event: object) -> bytes:
    return json.dumps({"event_type": "calendar.created", "calendar_event": calendar_event}).encode()


# The family of classes


def test_every_webhook_of_the_vendor_has_a_class() -> None:
    """The eleven names are the vendor's, and each class knows its own."""
    assert set(EVENT_TYPES) == {
        *("calendar." + what for what in ("created", "updated", "cancelled", "completed", "reminder")),
        *("call." + what for what in ("started", "ended", "failed", "transcript", "recording", "summary")),
    }
    assert all(cls.type_name == name and event_class(name) is cls for name, cls in EVENT_TYPES.items())


@pytest.mark.parametrize("name", ["calendar.moved", "", "CALENDAR.CREATED", None])
def test_other_names_are_unknown(name: str | None) -> None:
    """Only the exact name of a webhook has a class of its own."""
    assert event_class(name) is UnknownEvent


def test_every_event_is_any_event() -> None:
    """A handler of AnyEvent means every event, one of AnyCalendarEvent every calendar webhook."""
    for name, cls in EVENT_TYPES.items():
        assert issubclass(cls, AnyEvent)
        assert issubclass(cls, AnyCalendarEvent) == name.startswith("calendar.")
        assert issubclass(cls, AnyCall) == name.startswith("call.")


# Every sample


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_read_as_their_type(name: str) -> None:
    """A sample is an event of the class that its file name says, with the body and our own part in it."""
    event = read(name)
    assert type(event) is (UnknownEvent if name in UNKNOWN else EVENT_TYPES[name.split("-", maxsplit=1)[0]])
    assert event.raw == json.loads(sample(name))
    assert (event.event_id, event.source, event.received_at) == ("evt_1", "klen", NOW)
    assert (event.origin, event.delivery_id) == ("webhook", "d1")


@pytest.mark.parametrize("name", NAMES)
def test_samples_can_be_written_as_json(name: str) -> None:
    """An event is dumped without a complaint, and means the same when it is made of its dump."""
    event = read(name)
    again = type(event).model_validate_json(event.model_dump_json(by_alias=True))
    assert again == event


@pytest.mark.parametrize("name", NAMES)
def test_flags_say_what_is_odd(name: str) -> None:
    """Only the samples that are odd have flags, and those that have no typed event always do."""
    expected = {
        "calendar.created-nameless": ("bad_shape",),
        "calendar.created-times-odd": ("odd_timestamp",),
        "calendar.rescheduled": ("unknown_type",),
        "ping": ("unknown_type",),
        "typeless": ("bad_shape",),
    }
    assert columns_of(sample(name)).flags == expected.get(name, ())


# Attributes


def test_a_created_event_has_the_documented_values() -> None:
    """The vendor's documented sample is typed throughout, the inner event_type as kind."""
    event: CalendarCreated = read("calendar.created")
    booked = event.calendar_event
    assert (event.event_type, booked.kind, booked.status) == ("calendar.created", "meeting", "confirmed")
    assert (booked.id, booked.uuid, booked.title) == (123, UUID, "Client Meeting")
    assert event.timestamp == datetime(2025, 5, 1, 10, 15, 30, tzinfo=UTC)
    assert booked.start_time == datetime(2025, 5, 1, 14, tzinfo=UTC)
    assert booked.end_time == datetime(2025, 5, 1, 15, tzinfo=UTC)
    assert (booked.duration_minutes, booked.location) == (60, "Conference Room A")
    assert booked.has_video_conference is True
    assert booked.ai_agent is not None
    assert (booked.ai_agent.id, booked.ai_agent.assistant_id) == (42, "asst_01234567890")
    assert (booked.customer.name, booked.customer.email) == ("John Smith", "john.smith@example.com")
    assert booked.ics_url == f"/calendar/event/{UUID}/calendar.ics"


def test_updates_and_cancellations_have_their_extras() -> None:
    """What changed stands in the calendar event."""
    updated: CalendarUpdated = read("calendar.updated")
    assert updated.calendar_event.time_changed is True
    assert updated.calendar_event.previous_start == datetime(2025, 5, 1, 13, tzinfo=UTC)
    assert updated.calendar_event.previous_end == datetime(2025, 5, 1, 14, tzinfo=UTC)
    cancelled: CalendarCancelled = read("calendar.cancelled")
    assert cancelled.calendar_event.reason == "Client requested to reschedule"


def test_calls_are_typed() -> None:
    """Call webhooks have their common and their own attributes."""
    ended: CallEnded = read("call.ended")
    assert (ended.call.id, ended.call.klen_call_id, ended.call.duration) == (6789, "call_6789", 270)
    assert ended.call.ended_at == datetime(2025, 4, 23, 14, 35, 15, tzinfo=UTC)
    assert ended.call.contact is not None
    assert ended.call.contact.email == "john.smith@example.com"
    failed: CallFailed = read("call.failed")
    assert failed.call.ended_reason == "no-answer"
    transcript: CallTranscript = read("call.transcript-large")
    assert transcript.call.transcript is None
    assert transcript.call.transcript_url is not None


def test_ids_may_be_text() -> None:
    """A numeric text is the number; other text stays, where the vendor's pages disagree on the type."""
    booked = read("calendar.created-ids-as-text").calendar_event
    assert (booked.id, booked.uuid, booked.ai_agent.id) == (123, UUID, 42)
    call = read("call.ended-ids-as-text").call
    assert (call.id, call.agent_id) == ("call_6789", "assistant_12345")


def test_a_customer_is_always_there() -> None:
    """Missing, null and empty customers read alike, so that handlers need no check for them."""
    for name in (
        "calendar.created-bare",
        "calendar.created-customer-empty",
        "calendar.created-customer-null",
    ):
        assert read(name).calendar_event.customer.email is None
    assert read("calendar.created-customer-null").calendar_event.ai_agent is None


def test_a_call_without_details_is_a_call() -> None:
    """A call webhook needs nothing but its name."""
    event: CallStarted = read("call.started-empty")
    assert event.call.klen_call_id is None


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2025-05-01T14:00:00.000Z", datetime(2025, 5, 1, 14, tzinfo=UTC)),
        ("2025-05-01T14:00:00Z", datetime(2025, 5, 1, 14, tzinfo=UTC)),
        ("2025-05-01t14:00:00z", datetime(2025, 5, 1, 14, tzinfo=UTC)),
        ("2025-05-01T14:00:00", datetime(2025, 5, 1, 14, tzinfo=UTC)),
        ("2025-05-01T16:00:00+02:00", datetime(2025, 5, 1, 14, tzinfo=UTC)),
        ("2025-05-01T08:30:00.123456-0530", datetime(2025, 5, 1, 14, 0, 0, 123456, tzinfo=UTC)),
        ("2025-05-01T14:00:00.123456789Z", datetime(2025, 5, 1, 14, 0, 0, 123456, tzinfo=UTC)),
        ("next Thursday", None),
        ("", None),
        ("2025-02-30T14:00:00Z", None),
        ("10000-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        (1746108000, None),
        (True, None),
        ({}, None),
    ],
)
def test_times_are_aware_or_none(time: object, expected: datetime | None) -> None:
    """A time is in UTC, with or without fraction and offset; an unreadable one is None and flagged."""
    body = calendar_body(id=1, start_time=time)
    event = parse(body)
    assert isinstance(event, CalendarCreated)
    assert event.calendar_event.start_time == expected
    assert getattr(event.calendar_event.start_time, "tzinfo", UTC) is UTC
    assert event.raw["calendar_event"]["start_time"] == time
    assert columns_of(body).flags == (("odd_timestamp",) if expected is None else ())


def test_values_of_a_surprising_type_cost_only_themselves() -> None:
    """A value of the wrong type is None, the rest is read, and the raw value stays in reach."""
    event: CalendarCreated = read("calendar.created-other-types")
    booked = event.calendar_event
    assert (booked.title, booked.duration_minutes, booked.has_video_conference) == (None, None, None)
    assert (booked.ai_agent, booked.customer.name) == (None, None)
    assert (booked.uuid, booked.location) == (UUID, "Conference Room A")
    assert event.raw["calendar_event"]["title"] == ["Client", "Meeting"]


def test_new_values_and_keys_of_the_vendor_are_kept() -> None:
    """An unknown kind or status is text, an unknown key an attribute, at every level."""
    other = read("calendar.created-other-kind").calendar_event
    assert (other.kind, other.status) == ("house_visit", "tentative")
    more = read("calendar.created-more-keys")
    assert (more.api_version, more.calendar_event.priority) == ("2025-05", "high")
    assert more.calendar_event.customer.language == "en"


def test_the_payload_cannot_pose_as_our_log() -> None:
    """Keys named like what our log adds do not reach those attributes, nor the attribute kind."""
    ours = {"event_id": "x", "source": "x", "received_at": "x", "origin": "x", "delivery_id": "x", "raw": "x"}
    body = {
        "event_type": "calendar.created",
        "calendar_event": {"id": 1, "kind": "x"},
        "type_name": "x",
        **ours,
    }
    event = parse(json.dumps(body).encode(), origin="reconcile")
    assert isinstance(event, CalendarCreated)
    assert (event.event_id, event.source, event.received_at) == ("evt_1", "klen", NOW)
    assert (event.origin, event.delivery_id, event.type_name) == ("reconcile", "d1", "calendar.created")
    assert event.calendar_event.kind is None
    assert event.raw == body


def test_text_can_always_be_encoded() -> None:
    """Half a surrogate pair is U+FFFD in attributes and keys, and as it came in raw."""
    event: Any = parse(b'{"event_type": "call.started", "call": {"agent_name": "A\\ud800", "\\udfff": 1}}')
    assert event.call.agent_name == "A\N{REPLACEMENT CHARACTER}"
    assert event.call.model_extra == {"\N{REPLACEMENT CHARACTER}": 1}
    assert event.raw["call"]["agent_name"] == "A\ud800"


def test_events_are_frozen() -> None:
    """A handler cannot change an event under another handler's eyes, at no level."""
    event: CalendarCreated = read("calendar.created")
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        event.calendar_event.customer.email = "eve@example.com"  # type: ignore[misc]  # the mistake under test


# What cannot be typed


@pytest.mark.parametrize(
    "calendar_event",
    [None, [], "x", 5, {}, {"id": None}, {"id": "abc", "uuid": ""}, {"id": 2**63}, {"uuid": 7}],
)
def test_a_calendar_webhook_says_which_calendar_event(calendar_event: object) -> None:
    """Without a calendar event that has an id or a uuid it is unknown and flagged, and nothing is lost."""
    value = {"event_type": "calendar.updated", "calendar_event": calendar_event}
    event = parse(json.dumps(value).encode())
    assert type(event) is UnknownEvent
    assert (event.event_type, event.raw) == ("calendar.updated", value)
    assert columns(value).flags == ("bad_shape",)


@pytest.mark.parametrize("body", [b"null", b"[]", b'"calendar.created"', b"12", b"{}", b'{"event_type": 5}'])
def test_any_other_json_is_an_unknown_event(body: bytes) -> None:
    """JSON without a type's name is an unknown event with its raw value."""
    event = parse(body)
    assert type(event) is UnknownEvent
    assert (event.event_type, event.timestamp) == (None, None)
    assert event.raw == json.loads(body)
    assert columns_of(body) == Columns(flags=("bad_shape",))


def test_a_body_that_is_no_json_is_an_event_error() -> None:
    """The error names the event and quotes nothing of the body."""
    with pytest.raises(EventError, match="event evt_1: expected JSON, but the body is not JSON") as caught:
        parse(b"john.smith@example.com")
    assert "john.smith" not in str(caught.value)


# Columns


def test_columns_of_the_documented_event() -> None:
    """The columns are the calendar event's identity, text and times."""
    assert columns_of(sample("calendar.created")) == Columns(
        event_type="calendar.created",
        calendar_event_uuid=UUID,
        calendar_event_id=123,
        occurred_at_ms=1_746_094_530_000,
        title="Client Meeting",
        status="confirmed",
        start_ms=1_746_108_000_000,
        end_ms=1_746_111_600_000,
    )


def test_columns_of_a_call() -> None:
    """A call's columns are its id, status and times."""
    assert columns_of(sample("call.ended")) == Columns(
        event_type="call.ended",
        call_id="call_6789",
        occurred_at_ms=1_745_418_920_000,
        status="completed",
        start_ms=1_745_418_645_000,
        end_ms=1_745_418_915_000,
    )


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"id": 7, "klen_call_id": "k"}, "k"),
        ({"id": 7}, "7"),
        ({"id": "call_7", "klen_call_id": ""}, "call_7"),
        ({"id": 7, "klen_call_id": 8}, "7"),
        ({"id": True}, None),
        ({}, None),
        ("call_7", None),
    ],
)
def test_a_call_is_known_by_either_id(call: object, expected: str | None) -> None:
    """The call's id is its klen_call_id, else its id as text."""
    assert columns({"event_type": "call.ended", "call": call}).call_id == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, None),
        ("123", 123),
        ("9" * 19, None),
        ("9" * 5000, None),
        *[(other, None) for other in OTHER_NUMBERS],
    ],
)
def test_calendar_event_ids_fit_the_column(number: object, expected: int | None) -> None:
    """An id is a number of 64 bits or the digits of one, else it is none."""
    value: Any = {"event_type": "calendar.created", "calendar_event": {"id": number, "uuid": UUID}}
    assert columns(value).calendar_event_id == expected


def test_an_unknown_type_about_a_calendar_event_belongs_to_it() -> None:
    """A webhook that the vendor adds is found under its calendar event."""
    found = columns_of(sample("calendar.rescheduled"))
    assert (found.event_type, found.calendar_event_uuid, found.flags) == (
        "calendar.rescheduled",
        UUID,
        ("unknown_type",),
    )


def test_a_call_that_mentions_a_calendar_event_is_about_the_call() -> None:
    """The subject follows the type's name."""
    value: Any = {"event_type": "call.ended", "call": {"id": 7}, "calendar_event": {"id": 123}}
    assert (columns(value).call_id, columns(value).calendar_event_id) == ("7", None)


def test_text_columns_are_short_and_storable() -> None:
    """Text is cut to its column, and NUL and half surrogate pairs become U+FFFD; what is no text is None."""
    value: Any = {
        "event_type": "x" * 200,
        "calendar_event": {"uuid": "u" * 600, "title": "a\0b\ud800", "status": 5},
    }
    found = columns(value)
    assert found.event_type == "x" * 100
    assert found.calendar_event_uuid == "u" * 500
    assert found.title == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}"
    assert found.status is None
    event = parse(json.dumps(value).encode())
    assert event.event_type == found.event_type


def test_the_names_that_have_a_class_are_those_that_are_known() -> None:
    """What intake can tell without the classes agrees with them."""
    assert set(KNOWN) == set(EVENT_TYPES)
    assert all(is_known(name) == (event_class(name) is not UnknownEvent) for name in (*KNOWN, OVERDUE, "x"))
