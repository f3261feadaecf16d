"""What of one appointment counts as missed, and what is made of it."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from receiver.changes import fold
from receiver.jsonbody import parse_json
from receiver.klen.compare import Missing, differs, missing
from receiver.told import told
from tests.support.klen import UUID, webhook

if TYPE_CHECKING:
    from receiver.state import State

NOW = 1_746_200_000_000
LISTED: dict[str, Any] = {
    **json.loads(webhook())["calendar_event"],
    "duration_minutes": 60,
    "location": None,
    "has_video_conference": False,
    "created_by_ai_agent": False,
}
DETAILS = LISTED | {
    "description": "Discuss",
    "event_type_display": "Meeting",
    "status_display": "Confirmed",
    "created_at": "2025-04-25T10:15:30.000Z",
    "updated_at": "2025-05-01T11:00:00.000Z",
    "external_calendars": {"google": "g1"},
    "customer": LISTED["customer"] | {"notes": "Afternoons"},
}


def state(*bodies: bytes) -> State | None:
    """What is known after these events."""
    known: State | None = None
    for seq, body in enumerate(bodies, 1):
        parsed = parse_json(body)
        assert isinstance(parsed, dict)
        at_ms = _ms(parsed["timestamp"])
        digest = hashlib.sha256(body).digest()
        content = told(parsed, seq=seq, body_sha256=digest, occurred_at_ms=at_ms, received_at_ms=at_ms)
        assert content is not None
        known, _, _ = fold(known, content)
    return known


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def changes(known: State | None, event: Missing) -> list[str]:
    """What routing makes of it."""
    digest = hashlib.sha256(event.body).digest()
    content = told(
        parse_json(event.body),
        seq=9,
        body_sha256=digest,
        occurred_at_ms=event.happened_ms,
        received_at_ms=NOW,
    )
    assert content is not None
    return [change.name for change in fold(known, content)[2]]


BOOKED = webhook(**{key: value for key, value in LISTED.items() if value is not None})


def test_what_is_known_is_nothing_missed() -> None:
    """Empty fields that webhooks leave out, and what only details show, are no difference."""
    known = state(BOOKED)
    assert not differs(known, LISTED)
    assert not differs(known, DETAILS)
    assert missing(known, DETAILS, read_at_ms=NOW) == []
    assert not differs(
        known, LISTED | {"customer": {**LISTED["customer"], "email": "john.smith@example.com"}}
    )


@pytest.mark.parametrize(
    ("change", "event_type", "names"),
    [
        ({"title": "New"}, "calendar.updated", ["retitled"]),
        ({"location": "Room 2"}, "calendar.updated", ["moved"]),
        ({"start_time": "2025-05-02T14:00:00.000Z"}, "calendar.updated", ["rescheduled"]),
        ({"status": "cancelled"}, "calendar.cancelled", ["cancelled"]),
        ({"status": "completed"}, "calendar.completed", ["completed"]),
        ({"status": "no_show"}, "calendar.updated", ["no_show"]),
        ({"status": "scheduled"}, "calendar.updated", ["status_changed"]),
        ({"customer": {"name": "Eve", "email": "e@example.com"}}, "calendar.updated", ["customer_changed"]),
        ({"status": "cancelled", "title": "X"}, "calendar.cancelled", ["retitled", "cancelled"]),
    ],
)
def test_what_changed_is_the_webhook_that_would_have_told(
    change: dict[str, Any], event_type: str, names: list[str]
) -> None:
    """It carries all that the details show, happened when the vendor says, and then nothing is missed."""
    known = state(BOOKED)
    assert differs(known, LISTED | change)
    [event] = missing(known, DETAILS | change, read_at_ms=NOW)
    assert (event.event_type, event.happened_ms) == (event_type, _ms("2025-05-01T11:00:00.000Z"))
    body = json.loads(event.body)
    assert body["calendar_event"].items() >= (DETAILS | change).items()
    assert changes(known, event) == names
    assert missing(state(BOOKED, event.body), DETAILS | change, read_at_ms=NOW) == []


def test_previous_times_are_what_was_known() -> None:
    """A reschedule says from when to when, as the vendor's own webhook does."""
    moved = DETAILS | {"start_time": "2025-05-02T14:00:00.000Z", "end_time": "2025-05-02T15:00:00.000Z"}
    [event] = missing(state(BOOKED), moved, read_at_ms=NOW)
    content = json.loads(event.body)["calendar_event"]
    assert content["time_changed"] is True
    assert content["previous_start"] == "2025-05-01T14:00:00.000Z"
    assert content["previous_end"] == "2025-05-01T15:00:00.000Z"


def test_an_event_never_lies_over_anything_newer() -> None:
    """If the vendor's time cannot be true, it happened right after what is known."""
    later = webhook("calendar.updated", timestamp="2025-05-01T12:00:00.000Z", title="Newer")
    [event] = missing(state(BOOKED, later), DETAILS, read_at_ms=NOW)
    assert event.happened_ms == _ms("2025-05-01T12:00:00.000Z") + 1


def test_an_unknown_appointment_was_booked() -> None:
    """One event for an open one; two for one that has ended: that it was booked, and how it ended."""
    [event] = missing(None, DETAILS, read_at_ms=NOW)
    assert (event.event_type, event.happened_ms) == ("calendar.created", _ms("2025-04-25T10:15:30.000Z"))
    assert changes(None, event) == ["created"]

    for status, ending in (
        ("cancelled", "calendar.cancelled"),
        ("completed", "calendar.completed"),
        ("no_show", "calendar.updated"),
    ):
        created, ended = missing(None, DETAILS | {"status": status}, read_at_ms=NOW)
        assert (created.event_type, ended.event_type) == ("calendar.created", ending)
        assert "status" not in json.loads(created.body)["calendar_event"]
        assert created.happened_ms < ended.happened_ms
        known = state(created.body, ended.body)
        assert missing(known, DETAILS | {"status": status}, read_at_ms=NOW) == []


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"id": 7},
        {"uuid": UUID, "status": 5, "customer": [], "start_time": "soon"},
        {"uuid": UUID, "created_at": "never", "updated_at": 12},
        {"uuid": UUID, "title": "\ud800", "customer": None},
        {"uuid": UUID, "title": "T", "new": float("inf"), "deep": [{"x": float("-inf")}]},
    ],
)
def test_odd_details_are_no_failure(odd: dict[str, Any]) -> None:
    """Whatever the vendor's API shows, comparing it ends, and recording it does too."""
    for known in (None, state(BOOKED)):
        for event in missing(known, odd, read_at_ms=NOW):
            parse_json(event.body)
            if known is None:
                assert missing(state(event.body), odd, read_at_ms=NOW) == []
