"""Whatever is asked of the sandbox ends in one of the vendor's errors, or in a webhook that the receiver reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar

from receiver.events import AnyCalendarEvent, parse_event
from receiver.jsonbody import parse_json
from receiver.samples import to_body
from receiver.sandbox.appointment import STATUSES
from receiver.sandbox.calendar_file import calendar_file
from receiver.sandbox.errors import APIError
from receiver.sandbox.fields import FIELDS, read_changes, read_new, read_reason
from receiver.sandbox.webhooks import read_webhook
from receiver.sandbox.world import Happening, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.sandbox.appointment import Appointment

T = TypeVar("T")
NOW = datetime(2025, 4, 25, 10, 15, 30, tzinfo=UTC)

text = st.text(st.characters(codec=None), max_size=30)
values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), text, st.lists(st.integers(), max_size=2)
)
instants = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()),
    st.sampled_from(
        ["2025-05-01T14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2025-02-30T00:00:00"]
    ),
    text,
)
likely: dict[str, st.SearchStrategy[Any]] = {
    "start_time": instants,
    "end_time": instants,
    "status": st.one_of(st.sampled_from(sorted(STATUSES)), text),
    "event_type": st.one_of(st.sampled_from(["meeting", "busy"]), text),
    "remind_before_minutes": st.integers(-1, 600_000),
    "ai_agent_id": st.sampled_from([42, 43, None, 2**70]),
    "team_id": st.sampled_from([5, 6, None]),
}
bodies = st.fixed_dictionaries(
    {}, optional={name: st.one_of(likely.get(name, text), values) for name in [*sorted(FIELDS), "other"]}
)
usable = st.fixed_dictionaries(
    {
        "title": st.text(min_size=1, max_size=30).filter(
            lambda title: title.encode("utf-8", "ignore") != b""
        ),
        "start_time": st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(datetime.isoformat),  # noqa: DTZ001 -- as some clients send it
        "end_time": st.datetimes(datetime(2100, 1, 2), datetime(2200, 1, 1)).map(datetime.isoformat),  # noqa: DTZ001 -- as above
    }
)


def attempted(action: Callable[[], T]) -> T | APIError:
    """What it gives, or the refusal."""
    try:
        return action()
    except APIError as error:
        return error


def check(happening: Happening) -> None:
    """What it tells is read by the receiver as what it is, and its calendar file by calendars."""
    body = to_body(happening.payload())
    event = parse_event(body, event_id="e", source="klen", received_at=NOW)
    assert isinstance(event, AnyCalendarEvent)
    assert event.event_type == happening.event_type
    appointment, known = happening.appointment, event.calendar_event
    assert (known.id, known.uuid, known.title) == (appointment.id, appointment.uuid, appointment.title)
    assert known.start_time is not None
    assert abs(known.start_time - appointment.start_time) < timedelta(milliseconds=1)
    assert json.loads(json.dumps(appointment.detailed())) == appointment.detailed()
    assert len(Calendar.from_ical(calendar_file(appointment)).walk("VEVENT")) == 1


@given(bodies)
def test_any_creation(body: dict[str, Any]) -> None:
    """A creation is refused in the vendor's words, or happens."""
    world = World(1)
    draft = attempted(lambda: world.draft(read_new(body)))
    if isinstance(draft, APIError):
        assert draft.status in {400, 404}
        assert len(world) == 0
        return
    check(world.create(draft, now=NOW, callers_now=NOW))


def updating(world: World, old: Appointment, changes: dict[str, Any], *, whole: bool) -> Happening:
    return world.update(old, read_changes(changes), now=NOW, callers_now=NOW, whole=whole)


@given(usable, st.lists(st.tuples(bodies, st.booleans()), max_size=5))
def test_any_updates(body: dict[str, Any], updates: list[tuple[dict[str, Any], bool]]) -> None:
    """An update is refused and changes nothing, or happens; timestamps always go up."""
    world, told = World(1), [NOW - timedelta(1)]
    draft = attempted(lambda: world.draft(read_new(body)))
    if isinstance(draft, APIError):
        return
    happening = world.create(draft, now=NOW, callers_now=NOW)
    for changes, whole in updates:
        check(happening)
        assert happening.at > told[-1]
        told.append(happening.at)
        before = happening.appointment
        updated = attempted(partial(updating, world, before, changes, whole=whole))
        if isinstance(updated, APIError):
            assert updated.status in {400, 404}
            assert world.find(before.uuid) == before
            return
        happening = updated
    check(happening)


@given(values)
def test_any_reason(reason: Any) -> None:
    """A reason that is no text is refused; any text arrives as it is."""
    world = World(1)
    body = {"title": "T", "start_time": "2025-05-01T14:00:00Z", "end_time": "2025-05-01T15:00:00Z"}
    booked = world.create(world.draft(read_new(body)), now=NOW, callers_now=NOW).appointment
    happening = attempted(lambda: world.cancel(booked, read_reason({"reason": reason}), now=NOW))
    if isinstance(happening, APIError):
        assert happening.status == 400
        return
    assert happening is not None
    check(happening)
    payload = parse_json(to_body(happening.payload()))
    assert isinstance(payload, dict)
    assert payload["calendar_event"].get("reason") == (reason or None)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "url", "subscribed_events"), values)))
def test_any_webhook(body: dict[str, Any]) -> None:
    """A webhook that cannot be sent to is refused."""
    with pytest.raises(APIError):
        read_webhook(body)
