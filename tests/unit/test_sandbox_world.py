"""The parts of the sandbox that are easiest to get wrong: limits, times that fall due, and the clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict

from receiver.sandbox.availability import availability
from receiver.sandbox.clock import SandboxClock
from receiver.sandbox.errors import APIError, SandboxError
from receiver.sandbox.fields import read_changes, read_new
from receiver.sandbox.keys import KeyRing, Window, parse_key
from receiver.sandbox.world import World

NOW = datetime(2025, 5, 1, 8, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def booked(world: World, **fields: Any) -> Any:
    usual = {"title": "T", "start_time": "2025-05-01T14:00:00Z", "end_time": "2025-05-01T15:00:00Z"}
    now = fields.pop("now", NOW)
    return world.create(world.draft(read_new(usual | fields)), now=now, callers_now=now).appointment


def fallen(world: World, now: datetime) -> list[str]:
    """What falls due by then."""
    happened = []
    while (happening := world.fall_due(now=now)) is not None:
        happened.append(happening.event_type)
    return happened


def test_a_window_slides() -> None:
    """There is room again exactly when the oldest one is a minute old."""
    window = Window(2, MINUTE)
    window.take(NOW)
    window.take(NOW + MINUTE / 2)

    assert window.wait(NOW + MINUTE * 0.9) == MINUTE * 0.1
    assert window.wait(NOW + MINUTE) == timedelta()
    window.take(NOW + MINUTE)
    assert window.wait(NOW + MINUTE) == MINUTE / 2


def test_the_wait_is_in_the_callers_seconds() -> None:
    """On a fast clock, a minute of the sandbox is a second of whoever has to wait."""
    ring = KeyRing([parse_key("klen_x=read")], SandboxClock(speed=60, start=NOW))
    headers: CIMultiDict[str] = CIMultiDict({"X-API-Key": "klen_x"})
    for _ in range(60):
        ring.admit(headers, MultiDict())

    with pytest.raises(APIError) as refused:
        ring.admit(headers, MultiDict())

    assert refused.value.headers == {"Retry-After": "1"}


@pytest.mark.parametrize(
    ("text", "permissions"),
    [
        ("klen_a=", set()),
        ("klen_a=can_read_calendar", {"can_read_calendar"}),
        ("klen_a=can_read_calendar,can_write_calendar", {"can_read_calendar", "can_write_calendar"}),
        ("klen_a=full", {"can_read_calendar", "can_write_calendar"}),
    ],
)
def test_keys(text: str, permissions: set[str]) -> None:
    """A key is named with its permissions, or with a word for the usual ones."""
    assert parse_key(text).key == "klen_a"
    assert parse_key(text).permissions == permissions


@pytest.mark.parametrize(
    "text", ["", "klen_a", "=full", "a b=full", "é=full", "klen_a=can_fly", "klen_a=full;read"]
)
def test_no_keys(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(SandboxError):
        parse_key(text)


def test_what_falls_due() -> None:
    """Reminders and completions come in order of time, each once."""
    world = World(1)
    booked(world, start_time="2025-05-01T10:00:00", end_time="2025-05-01T10:30:00")
    booked(world, start_time="2025-05-01T10:15:00", end_time="2025-05-01T10:20:00", remind_before_minutes=0)

    assert world.next_due() == NOW + HOUR
    assert fallen(world, NOW + HOUR - MINUTE) == []
    assert fallen(world, NOW + 2 * HOUR) == ["calendar.reminder"]
    assert fallen(world, NOW + 24 * HOUR) == ["calendar.reminder", "calendar.completed", "calendar.completed"]
    assert world.next_due() is None


def test_changes_of_what_is_due() -> None:
    """What was switched off, moved, closed or opened again falls due as it is then."""
    world = World(1)
    one = booked(world)
    quiet = world.update(
        one, read_changes({"is_reminder_enabled": False}), now=NOW, callers_now=NOW
    ).appointment
    assert world.next_due() == quiet.end_time
    gone = world.cancel(quiet, None, now=NOW)
    assert gone is not None
    assert world.next_due() is None
    again = {"status": "scheduled", "is_reminder_enabled": True, "remind_before_minutes": 30}
    world.update(gone.appointment, read_changes(again), now=NOW, callers_now=NOW)

    assert world.next_due() == quiet.start_time - 30 * MINUTE
    assert fallen(world, NOW + 24 * HOUR) == ["calendar.reminder", "calendar.completed"]


def test_what_a_full_update_leaves() -> None:
    """PUT resets what it does not name, but for the times, the title, the status and who booked; PATCH resets nothing."""
    world = World(1)
    one = booked(world, location="Here", ai_agent_id=42, created_by_ai_agent=True, status="confirmed")
    patched = world.update(one, read_changes({"title": "N"}), now=NOW, callers_now=NOW).appointment
    put = world.update(
        patched, read_changes({"title": "M"}), now=NOW, callers_now=NOW, whole=True
    ).appointment

    assert (patched.title, patched.location, patched.ai_agent) == ("N", "Here", one.ai_agent)
    assert (put.title, put.location, put.ai_agent) == ("M", None, None)
    assert (put.status, put.created_by_ai_agent, put.start_time) == ("confirmed", True, one.start_time)
    assert (put.reminder_due, put.completion_due) == (one.reminder_due, one.completion_due)


def test_the_same_instant() -> None:
    """Two things that happen at the same instant still have different timestamps, in order."""
    world = World(1)
    first = world.create(
        world.draft(
            read_new({"title": "T", "start_time": "2025-05-01T14:00:00", "end_time": "2025-05-01T15:00:00"})
        ),
        now=NOW,
        callers_now=NOW,
    )
    second = world.update(first.appointment, {}, now=NOW, callers_now=NOW)

    assert second.payload()["timestamp"] > first.payload()["timestamp"]


@pytest.mark.parametrize("name", ["123", "{uuid}", "{UUID}"])
def test_names(name: str) -> None:
    """An appointment is found by its number and by its UUID in either case."""
    world = World(1)
    one = booked(world)

    assert world.find(name.format(uuid=one.uuid, UUID=one.uuid.upper())) == one


@pytest.mark.parametrize("name", ["", "0", "-123", "0x7b", "9" * 19, "٣", "123.0", "None"])
def test_no_names(name: str) -> None:
    """Anything else is nobody's."""
    world = World(1)
    booked(world)

    assert world.find(name) is None


def test_days() -> None:
    """A range of days has both its ends, in UTC."""
    world = World(1)
    for start in (
        "2025-05-01T00:00:00Z",
        "2025-05-02T23:59:59.999999Z",
        "2025-05-03T01:00:00+02:00",
        "2025-05-03T00:00:00Z",
    ):
        booked(world, start_time=start, end_time="2025-05-04T00:00:00Z")

    found = world.between(date(2025, 5, 1), date(2025, 5, 2))

    assert [one.id for one in found] == [123, 125, 124]


def slots(world: World, first: date, last: date, minutes: int, now: datetime) -> list[str]:
    answer = availability(world, first, last, minutes, now)
    assert answer["count"] == len(answer["available_slots"])
    return [f"{slot['start'][5:16]}-{slot['end'][11:16]}" for slot in answer["available_slots"]]


def test_slots() -> None:
    """Slots are within business hours, free, and not begun; cancelled appointments take no time."""
    world = World(1)
    booked(world, start_time="2025-05-01T10:30:00", end_time="2025-05-01T12:00:00")
    off = booked(world, start_time="2025-05-01T13:00:00", end_time="2025-05-01T16:00:00")
    world.cancel(off, None, now=NOW)
    day = date(2025, 5, 1)

    assert slots(world, day, day, 120, NOW) == ["05-01T13:00-15:00", "05-01T15:00-17:00"]
    assert slots(world, day, day, 60, NOW + 2 * HOUR) == [
        f"05-01T{hour}:00-{hour + 1}:00" for hour in range(12, 17)
    ]
    assert slots(world, date(2025, 5, 3), date(2025, 5, 4), 30, NOW) == []
    assert slots(world, day, day, 180, NOW + 48 * HOUR) == ["05-01T12:00-15:00"]


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 300)), max_size=8), st.integers(1, 180))
def test_free_slots(taken: list[tuple[int, int]], minutes: int) -> None:
    """A slot is offered exactly when no appointment overlaps it."""
    world, opening = World(1), NOW.replace(hour=9)
    for begin, length in taken:
        start = NOW + begin * MINUTE
        booked(world, start_time=start.isoformat(), end_time=(start + length * MINUTE).isoformat())
    expected = []
    for number in range(480 // minutes):
        start = opening + number * minutes * MINUTE
        end = start + minutes * MINUTE
        if all(one.end_time <= start or end <= one.start_time for one in world):
            expected.append(f"{start:%m-%dT%H:%M}-{end:%H:%M}")

    assert slots(world, NOW.date(), NOW.date(), minutes, NOW) == expected


def test_a_clock_that_stands_still() -> None:
    """At speed 0 time passes by jumps only, and never back."""
    clock = SandboxClock(speed=0, start=NOW)
    clock.jump(HOUR)
    clock.jump(-HOUR)

    assert clock.now() == NOW + HOUR
    assert clock.real_seconds(MINUTE) is None


def test_a_fast_clock() -> None:
    """A fast clock is ahead of its callers', who do not know that; waits are shorter by as much."""
    clock = SandboxClock(speed=3600, start=NOW)

    assert clock.now() > clock.callers_now() >= NOW
    assert clock.real_seconds(HOUR) == 1
