"""The wall clock is set: what waits, waits as long as was decided."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from storage.work import Effects, MessageOutcome, NewMessage, NewRun
from tests.support.logs import DAY, START, claim, new_event, outcome, route_all

if TYPE_CHECKING:
    from storage.log import EventLog

HOUR = 3_600_000
MESSAGE = NewMessage(url="https://a.example/", origin="https://a.example", headers="{}", body=b"x")


async def waiting(log: EventLog) -> None:
    """Runs that wait for an hour, that wait for nothing, and that run; a message that waits for an hour."""
    for _ in range(4):
        await log.append(new_event())
    await route_all(log)
    posting, failing, _running = await claim(log, most=3)
    await log.finish(outcome(posting, effects=Effects(messages=(MESSAGE,)), finished_at_ms=START))
    await log.finish(outcome(failing, "retrying", finished_at_ms=START, due_at_ms=START + HOUR))
    [message] = await log.claim_messages("owner", 9, now_ms=START)
    await log.finish_message(
        MessageOutcome(
            message_id=message.message_id,
            attempt=message.attempt,
            state="retrying",
            finished_at_ms=START,
            due_at_ms=START + HOUR,
        )
    )


async def due(log: EventLog, now_ms: int) -> tuple[list[int], int]:
    """Which runs may be claimed then, and how many messages."""
    runs = [run.seq for run in await claim(log, now_ms=now_ms)]
    return sorted(runs), len(await log.claim_messages("owner", 9, now_ms=now_ms))


@pytest.mark.parametrize("jump", [DAY, -DAY, 3650 * DAY, -3650 * DAY, HOUR // 2, -HOUR // 2])
async def test_what_waits_follows(log: EventLog, jump: int) -> None:
    """A clock that is set, however far, brings no attempt nearer and puts none off."""
    await waiting(log)
    now = START + 60_000 + jump
    await log.follow_clock(jump, now_ms=now)

    assert await due(log, now) == ([4], 0)
    assert await due(log, START + jump + HOUR - 1) == ([], 0)
    assert await due(log, START + jump + HOUR) == ([2], 1)


async def test_what_is_said_after_it_is_not_moved(log: EventLog) -> None:
    """Attempts end by the old time before it, and by the new one after it, whatever is written together."""
    await log.append(new_event())
    await log.append(new_event())
    await route_all(log)
    before, after = await claim(log)
    now = START + DAY
    await asyncio.gather(
        log.finish(outcome(before, "retrying", finished_at_ms=START, due_at_ms=START + HOUR)),
        log.follow_clock(DAY, now_ms=now),
        log.finish(outcome(after, "retrying", finished_at_ms=now, due_at_ms=now + HOUR)),
    )

    assert await due(log, now + HOUR - 1) == ([], 0)
    assert await due(log, now + HOUR) == ([1, 2], 0)


@pytest.mark.parametrize("jump", [-DAY, -3650 * DAY])
async def test_a_recovery_knows_no_time_to_come(log: EventLog, jump: int) -> None:
    """What was left by a clock that was set back since waits no longer than was decided."""
    await waiting(log)
    now = START + jump
    await log.recover("next owner", now_ms=now)

    assert await due(log, now) == ([3, 4], 0)
    assert await due(log, now + HOUR - 1) == ([], 0)
    assert await due(log, now + HOUR) == ([2], 1)


async def test_a_recovery_brings_nothing_nearer(log: EventLog) -> None:
    """With a clock that nobody has set, what waits is due when it was to be."""
    await waiting(log)
    await log.recover("next owner", now_ms=START + 60_000)

    assert await due(log, START + HOUR - 1) == ([3, 4], 0)
    assert await due(log, START + HOUR) == ([2], 1)


async def test_a_message_that_was_being_sent_is_due_at_once(log: EventLog) -> None:
    """Although its clock was a day ahead when its process was stopped."""
    await log.append(new_event())
    await route_all(log, NewRun("hello"))
    [run] = await claim(log)
    await log.finish(outcome(run, effects=Effects(messages=(MESSAGE,))))
    assert await log.claim_messages("owner", 9, now_ms=START + DAY)
    await log.release("owner", now_ms=START + DAY)
    await log.recover("next owner", now_ms=START)

    assert await due(log, START) == ([], 1)
