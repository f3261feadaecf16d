"""Removing what is old: what may go, what stays, and what is still known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from storage.calendar import NewState
from storage.records import Selection
from storage.removal import Limits, Old, Pruned, Rewriting
from storage.work import Effects, NewMessage, NewRun
from tests.support.logs import DAY, START, UUIDS, claim, new_event, new_refused, outcome, routing

if TYPE_CHECKING:
    from storage.log import EventLog

NOW = START + 100 * DAY


def limits(days: int, dead_days: int = 1_000) -> Limits:
    return Limits(
        now_ms=NOW,
        before_ms=NOW - days * DAY,
        dead_before_ms=NOW - dead_days * DAY,
        quarantine_before_ms=NOW - days * DAY,
    )


async def receive(log: EventLog, day: int, uuid: str | None, *runs: str, end_day: int | None = None) -> None:
    """Record and route one event about a calendar event, which ends then; its runs wait."""
    await log.append(new_event(received_at_ms=START + day * DAY, calendar_event_uuid=uuid))
    [event] = await log.unrouted(10)
    states = []
    if end_day is not None and event.number is not None:
        states = [
            NewState(
                subject=event.number,
                revision=event.known.revision if event.known else None,
                last_seq=event.seq,
                calendar_event="{}",
                memory="{}",
                status=None,
                start_ms=None,
                end_ms=START + end_day * DAY,
                booked_ms=None,
                cancelled_ms=None,
                customer=None,
            )
        ]
    assert await log.route([routing(event, *map(NewRun, runs))], now_ms=START, states=states)


async def old(log: EventLog, *days: int) -> list[tuple[int, ...]]:
    """The events of each thing that may go."""
    return [thing.seqs for thing in (await log.old(limits(*days), (-1, 0))).things]


async def remove(log: EventLog, *days: int) -> list[bool]:
    things = (await log.old(limits(*days), (-1, 0))).things
    return await log.prune(limits(*days), [await pruned(log, thing) for thing in things])


async def pruned(log: EventLog, thing: Old) -> Pruned:
    bodies = await log.bodies(thing.seqs)
    return Pruned(thing.subject, tuple((seq, bodies[seq], "") for seq in thing.seqs))


async def test_a_calendar_event_goes_as_a_whole(log: EventLog) -> None:
    """As long as one of its events is young, all of them stay; events about nothing go one by one."""
    for day, uuid in enumerate([UUIDS[0], UUIDS[1], None, UUIDS[0], None]):
        await receive(log, day * 10, uuid)

    assert await old(log, 101) == []
    assert await old(log, 95) == []
    assert await old(log, 75) == [(2,), (3,)]
    assert await old(log, 65) == [(1, 4), (2,), (3,)]
    assert await old(log, 1) == [(1, 4), (2,), (3,), (5,)]


async def test_what_is_still_to_come_stays(log: EventLog) -> None:
    """A calendar event that was booked long ago for a day to come is not old."""
    await receive(log, 0, UUIDS[0], end_day=101)
    await receive(log, 0, UUIDS[1], end_day=99)

    assert await old(log, 50) == [(2,)]


@pytest.mark.parametrize("state", ["pending", "running", "retrying"])
async def test_what_is_unfinished_stays(log: EventLog, state: str) -> None:
    """As long as a run waits or is under way, its calendar event stays."""
    await receive(log, 0, UUIDS[0], "hello")
    await receive(log, 0, UUIDS[0])
    if state != "pending":
        [run] = await claim(log)
        if state == "retrying":
            await log.finish(outcome(run, "retrying", due_at_ms=START))

    assert await old(log, 50) == []


async def test_what_waits_to_be_sent_stays(log: EventLog) -> None:
    """A run that is done has left something to send."""
    await receive(log, 0, UUIDS[0], "hello")
    [run] = await claim(log)
    message = NewMessage(url="https://x.example/", origin="https://x.example", headers="{}", body=b"")
    await log.finish(outcome(run, effects=Effects(messages=(message,))))

    assert await old(log, 50) == []


async def test_what_is_dead_stays_longer(log: EventLog) -> None:
    """What a handler failed on for good can be replayed for longer."""
    await receive(log, 0, UUIDS[0], "hello")
    [run] = await claim(log)
    await log.finish(outcome(run, "dead", error="x"))

    assert await old(log, 50, 101) == []
    assert await old(log, 50, 99) == [(1,)]


async def test_what_is_not_routed_stays(log: EventLog) -> None:
    """An event that nobody has looked at is not removed."""
    await log.append(new_event(received_at_ms=START))

    assert await old(log, 1) == []


async def test_everything_of_it_goes(log: EventLog) -> None:
    """Events, deliveries, runs, attempts, messages, states and words; others are as before."""
    await receive(log, 0, UUIDS[0], "hello", end_day=1)
    await log.append(new_event("a", "id", received_at_ms=START, calendar_event_uuid=UUIDS[0]))
    await log.append(new_event("a", "id", received_at_ms=START))
    [event] = await log.unrouted(1)
    await log.route([routing(event)], now_ms=START)
    [run] = await claim(log)
    await log.finish(outcome(run))
    await receive(log, 90, UUIDS[1], "hello", end_day=91)

    assert await remove(log, 50) == [True]

    views = ("events", "deliveries", "runs", "attempts", "messages", "calendar_events")
    counts = [(await log.sql(f"SELECT count(*) FROM {view}"))[1][0][0] for view in views]  # noqa: S608 -- the names above
    assert counts == [1, 1, 1, 0, 0, 1]
    assert [record.seq for record in await log.page(Selection())] == [3]


async def test_a_delivery_of_what_went_stays_a_duplicate(log: EventLog) -> None:
    """By its content and by its id, and no number is used again."""
    await log.append(new_event("a", "id", received_at_ms=START))
    [event] = await log.unrouted(1)
    await log.route([routing(event)], now_ms=START)
    assert await remove(log, 50) == [True]

    for again in (new_event("a"), new_event("a", "id", variant="later"), new_event("a", variant="later")):
        appended = await log.append(again)
        assert (appended.duplicate, appended.event_id) == (True, "")
    assert not (await log.append(new_event())).duplicate
    assert [record.seq for record in await log.page(Selection())] == [2]
    assert (await log.status()).unrouted == 1


async def test_what_changed_meanwhile_stays(log: EventLog) -> None:
    """A thing that has got a new event, or a new run, after it was chosen is not removed."""
    await receive(log, 0, UUIDS[0])
    await receive(log, 0, UUIDS[1])
    await receive(log, 0, UUIDS[2])
    things = [await pruned(log, thing) for thing in (await log.old(limits(50), (-1, 0))).things]
    await receive(log, 0, UUIDS[0])
    bodies = await log.bodies([3])
    another = Rewriting(seq=3, before=bodies[3], body=b"{}", title=None, words_before="", words_after="")
    assert await log.rewrite([another], None)

    assert await log.prune(limits(50), things) == [False, True, False]
    assert [record.seq for record in await log.page(Selection())] == [4, 3, 1]


async def test_old_things_come_in_pages(log: EventLog) -> None:
    """Every thing comes, however many there are, and the last page says so."""
    for day in range(450):
        await log.append(new_event(received_at_ms=START + day))
    events = await log.unrouted(500)
    await log.route([routing(event) for event in events], now_ms=START)

    seqs: list[int] = []
    after: Any = (-1, 0)
    while after is not None:
        page = await log.old(limits(50), after)
        seqs += [thing.seqs[0] for thing in page.things]
        after = page.next
    assert seqs == list(range(1, 451))


async def test_quarantine_is_emptied_by_age(log: EventLog) -> None:
    """Bodies that came before go, others stay."""
    for day in (0, 90):
        await log.quarantine(new_refused(str(day).encode(), received_at_ms=START + day * DAY))

    assert await log.old_refused(START + DAY) == 1
    assert await log.prune_refused(START + DAY) == 1
    assert [record.id for record in await log.quarantined()] == [2]


async def test_room_is_given_back(log: EventLog) -> None:
    """What was removed takes no room in the file any more."""
    for n in range(40):
        await log.append(new_event("x" * 50_000 + str(n), received_at_ms=START))
    events = await log.unrouted(50)
    await log.route([routing(event) for event in events], now_ms=START)
    await log.scrub()
    before = (await log.status()).size_bytes
    await remove(log, 50)

    await log.give_back()
    await log.scrub()

    assert (await log.status()).size_bytes < before / 4
    assert (await log.status()).settings["freelist_count"] == 0


async def test_a_limit_may_keep_everything(log: EventLog) -> None:
    """Before 1970 nothing was received, so a limit of 0 keeps everything."""
    await receive(log, 0, UUIDS[0])
    for_ever = Limits(now_ms=NOW, before_ms=0, dead_before_ms=0, quarantine_before_ms=0)

    assert (await log.old(for_ever, (-1, 0))).things == ()
