"""Events whose routing is decided where the log is written, and runs that are ours as soon as they are made."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from receiver.deciding import decide
from receiver.intake import Delivery, read_event
from receiver.takers import Interest, Taker
from storage.records import Selection
from storage.work import Decision, Finished
from tests.support.klen import webhook
from tests.support.logs import START, UUIDS, claim, new_event, outcome, routing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.log import EventLog
    from storage.work import Unrouted

EVERYTHING = Interest(frozenset({"calendar.created", "calendar.updated", "calendar.cancelled"}), others=True)


def taker(name: str, *, ordered: bool = True) -> Taker:
    return Taker(name, EVERYTHING, ordered=ordered, skips_stale=False, asks=False)


def nothing_decided(_events: Sequence[Unrouted]) -> None:
    return None


def as_they_are(events: Sequence[Unrouted]) -> Decision[list[str]]:
    return Decision([routing(event) for event in events], [], [event.event_id for event in events])


def failing(events: Sequence[Unrouted]) -> Decision[None]:
    raise ArithmeticError(f"{len(events)} events")


async def recorded(log: EventLog, *bodies: bytes) -> None:
    for number, body in enumerate(bodies):
        await log.append(read_event(Delivery("klen", body, START + number, "fingerprint", f"d-{number}")))


def booked(number: int, kind: str = "calendar.created", **fields: object) -> bytes:
    return webhook(kind, uuid=UUIDS[number], id=number + 1, **fields)


async def states(log: EventLog) -> list[dict[str, str]]:
    return [dict(record.runs) async for record in log.stream(Selection(after_seq=0))]


async def test_a_run_made_as_ours_is_what_claiming_would_have_given(log: EventLog) -> None:
    """Event, state, verdict and changes are the same; only nothing had to be asked for."""
    await recorded(
        log,
        booked(0, title="One"),
        booked(1, title="Other"),
        booked(0, "calendar.updated", title="Two", timestamp="2025-06-01T10:00:00Z"),
        b'{"event_type": "calendar.strange"}',
    )
    decide_both = partial(decide, (taker("now", ordered=False), taker("later", ordered=False)))

    routed = await log.route_next(decide_both, 10, now_ms=START, owner="owner", capacity={"now": 10})

    assert routed is not None
    assert routed.events == 4
    assert await states(log) == [{"now": "running", "later": "pending"}] * 4
    asked_for = await claim(log, "later")
    assert [run._replace(handler="later", run_id=0) for run in routed.claimed] == [
        run._replace(run_id=0) for run in asked_for
    ]
    assert [change.name for run in routed.claimed for change in run.changes] == [
        "created",
        "created",
        "retitled",
    ]
    assert len({run.run_id for run in (*routed.claimed, *asked_for)}) == 8
    assert [await log.finish(outcome(run)) for run in routed.claimed] == [Finished.RECORDED] * 4


async def test_no_more_runs_are_ours_than_there_is_room_for(log: EventLog) -> None:
    """The first ones are; the others are due, for whoever claims them."""
    await recorded(log, *(booked(number) for number in range(5)))

    routed = await log.route_next(
        partial(decide, (taker("one"), taker("two"))),
        10,
        now_ms=START,
        owner="owner",
        capacity={"one": 2, "other": 9},
    )

    assert routed is not None
    assert [(run.handler, run.seq) for run in routed.claimed] == [("one", 1), ("one", 2)]
    assert [run.seq for run in await claim(log, "one")] == [3, 4, 5]
    assert [run.seq for run in await claim(log, "two")] == [1, 2, 3, 4, 5]


async def test_a_run_is_not_ours_while_an_earlier_one_is_under_way(log: EventLog) -> None:
    """Within a batch and after it: the next one about a calendar event waits until the first has ended."""
    updates = [booked(0, "calendar.updated", title=f"Title {number}") for number in range(2)]
    await recorded(log, booked(0), *updates)
    route = partial(
        log.route_next, partial(decide, (taker("one"),)), now_ms=START, owner="me", capacity={"one": 9}
    )

    first, second = await route(2), await route(2)

    assert first is not None
    assert second is not None
    assert ([run.seq for run in first.claimed], second.claimed) == ([1], [])
    assert await states(log) == [{"one": "running"}, {"one": "pending"}, {"one": "pending"}]
    assert await claim(log, "one") == []
    await log.finish(outcome(first.claimed[0]))
    assert [run.seq for run in await claim(log, "one", now_ms=START + 5)] == [2]


async def test_what_is_ours_when_we_die_is_taken_back(log: EventLog) -> None:
    """Its attempt counts, as that of a run that was claimed."""
    await recorded(log, booked(0))
    routed = await log.route_next(
        partial(decide, (taker("one"),)), 9, now_ms=START, owner="dead", capacity={"one": 1}
    )

    assert await log.recover("next", now_ms=START) == 1

    assert routed is not None
    [run] = await claim(log, "one")
    assert (run.run_id, run.attempt, run.tries) == (routed.claimed[0].run_id, 2, 2)


async def test_nothing_is_recorded_where_nothing_is_decided(log: EventLog) -> None:
    """The events wait on, for another decision."""
    await recorded(log, booked(0))

    assert await log.route_next(nothing_decided, 10, now_ms=START) is None

    assert [event.seq for event in await log.unrouted(10)] == [1]


async def test_no_events_are_no_decision(log: EventLog) -> None:
    """Nobody is asked to decide nothing."""
    routed = await log.route_next(failing, 10, now_ms=START)

    assert routed is not None
    assert tuple(routed) == (0, None, [])


async def test_the_oldest_events_come_first_and_what_was_decided_is_told(log: EventLog) -> None:
    """No more of them than were asked for; what comes in meanwhile waits for its turn."""
    events = [await log.append(new_event()) for _ in range(3)]
    ids = [event.event_id for event in events]

    first = await log.route_next(as_they_are, 2, now_ms=START)
    second = await log.route_next(as_they_are, 2, now_ms=START)

    assert first is not None
    assert second is not None
    assert (first.told, second.told) == (ids[:2], ids[2:])


async def test_two_at_once_route_each_event_once(log: EventLog) -> None:
    """They follow each other, and the second finds what the first has left."""
    await recorded(log, *(booked(number) for number in range(4)))

    both = await asyncio.gather(*(log.route_next(as_they_are, 3, now_ms=START) for _ in range(2)))

    assert sorted(routed.events for routed in both if routed is not None) == [1, 3]
    assert await log.unrouted(10) == []


async def test_a_decision_that_fails_is_its_callers_trouble(log: EventLog) -> None:
    """It raises, nothing is recorded, and the log goes on, also with what travelled with it."""
    await recorded(log, booked(0))

    failed, appended = await asyncio.gather(
        log.route_next(failing, 10, now_ms=START), log.append(new_event()), return_exceptions=True
    )

    assert isinstance(failed, ArithmeticError)
    assert not isinstance(appended, BaseException)
    with pytest.raises(ArithmeticError, match="2 events"):
        await log.route_next(failing, 10, now_ms=START)
    assert len(await log.unrouted(10)) == 2
