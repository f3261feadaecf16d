"""Replays: recorded, filled with a cursor, claimed behind what is new; and who says that it holds the log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import storage
from storage.records import Selection
from storage.work import NewReplay, NewRun, ReplayBatch
from tests.support.logs import START, UUIDS, claim, new_event, outcome, route_all, routing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from storage.log import EventLog
    from storage.work import ReplayItem


async def handled(log: EventLog, *uuids: str, code_version: str = "aa11") -> None:
    """An event about each of these, done by `hello`."""
    for uuid in uuids:
        await log.append(new_event(calendar_event_uuid=uuid))
    await route_all(log)
    while runs := await claim(log):
        for run in runs:
            await log.finish(outcome(run, code_version=code_version))


async def start(log: EventLog, target: str | None = None, **filters: str) -> int:
    selection = Selection(**filters)  # type: ignore[arg-type]  # the filters used here are text
    return await log.start_replay(
        NewReplay(selection=selection, target=target, total=await log.count(selection), created_at_ms=START)
    )


async def extend(log: EventLog, number: int, items: list[ReplayItem], *, filled: bool, after: int = 0) -> int:
    """Give these items to `hello`."""
    return await log.extend_replay(
        ReplayBatch(
            replay_id=number,
            from_seq=after,
            last_seq=items[-1].event.seq,
            routings=tuple(routing(item.event, NewRun("hello")) for item in items),
            filled=filled,
            now_ms=START,
        )
    )


async def test_a_replay_makes_new_runs_of_old_events(log: EventLog) -> None:
    """The finished run stays as it was; the new one carries the replay's number."""
    await handled(log, UUIDS[0])
    number = await start(log)
    assert await extend(log, number, await log.replay_items(number, 10), filled=True) == 1
    [run] = await claim(log)
    assert (run.replay_id, run.seq) == (number, 1)
    await log.finish(outcome(run))

    detail = await log.get(run.event_id)
    assert detail is not None
    assert [(one.replay_id, one.state) for one in detail.runs] == [(None, "done"), (number, "done")]
    [record] = await log.replays(number)
    assert record.filled_at is not None
    assert (record.total, record.last_seq, record.runs) == (1, 1, {"done": 1})


async def test_a_batch_counts_once(log: EventLog, open_log: Callable[[], Awaitable[EventLog]]) -> None:
    """The cursor moves with the runs, so that neither a repetition nor a restart makes a run twice."""
    await handled(log, *UUIDS[:3])
    number = await start(log)
    first = await log.replay_items(number, 2)
    assert await extend(log, number, first, filled=False) == 2
    assert await extend(log, number, first, filled=False) == 0

    log = await open_log()
    [left] = await log.replay_items(number, 10)
    assert left.event.seq == 3
    assert await extend(log, number, [left], filled=True, after=2) == 1
    assert await log.replay_items(number, 10) == []
    assert await extend(log, number, [left], filled=True, after=3) == 0
    assert (await log.replays())[0].runs == {"pending": 3}


async def test_events_that_come_later_are_not_meant(log: EventLog) -> None:
    """A replay covers what was in the log when it began."""
    await handled(log, UUIDS[0])
    number = await start(log)
    await handled(log, UUIDS[1])
    assert [item.event.seq for item in await log.replay_items(number, 10)] == [1]


async def test_who_gets_it_may_be_settled(log: EventLog) -> None:
    """A target, the handler of the filter, or the handlers that a code version was called for."""
    await handled(log, UUIDS[0], code_version="aa11")
    await handled(log, UUIDS[1], code_version="bb22")

    async def items(number: int) -> list[tuple[int, tuple[str, ...] | None]]:
        return [(item.event.seq, item.handlers) for item in await log.replay_items(number, 10)]

    assert await items(await start(log)) == [(1, None), (2, None)]
    assert await items(await start(log, "other")) == [(1, ("other",)), (2, ("other",))]
    assert await items(await start(log, handler="hello")) == [(1, ("hello",)), (2, ("hello",))]
    assert await items(await start(log, code_version="bb")) == [(2, ("hello",))]
    assert await items(await start(log, code_version="cc")) == []


async def test_what_is_new_comes_first(log: EventLog) -> None:
    """Replayed runs get the places that live ones leave, no more than they may; or all, when only they are meant."""
    await handled(log, *UUIDS[:3])
    number = await start(log)
    await extend(log, number, await log.replay_items(number, 10), filled=True)
    await log.append(new_event(calendar_event_uuid=UUIDS[5]))
    await route_all(log)

    only = await log.claim("owner", {"hello": 1}, now_ms=START, live=False)
    assert [run.replay_id for run in only] == [number]
    both = await log.claim("owner", {"hello": 5}, now_ms=START, replays={"hello": 1})
    assert [run.replay_id for run in both] == [None, number]


async def test_the_holder_of_the_log_leaves_a_note(log: EventLog, address: str) -> None:
    """Whoever cannot open the log learns which process has it and what that one announced."""
    assert storage.holder(address).note is None
    await log.announce("127.0.0.1:4711")
    found = storage.holder(address)
    assert (found.pid, found.note) == (str(os.getpid()), "127.0.0.1:4711")
    await log.announce("[::1]:1")
    assert storage.holder(address).note == "[::1]:1"
