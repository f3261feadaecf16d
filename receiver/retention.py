"""How long the log keeps things, and removing what is older: each day, and by `klenhook db prune`.

It is done in small steps beside the work, so that no sender waits for it. The rule easiest to break: nothing
is removed by age alone; what is unfinished, still to come, or dead and not yet looked at stays.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from receiver import logs
from receiver.clock import SteadyClock
from receiver.words import words_in
from storage.errors import LogUnavailable, QueryError
from storage.removal import Limits, Pruned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from receiver.clock import Clock
    from receiver.config import Config
    from storage.log import EventLog
    from storage.reader import EventReader
    from storage.removal import Old

__all__ = ["Retention", "limits_of", "prune", "survey"]

DAY_MS: Final = 86_400_000
DAY_SECONDS: Final = 86_400.0
FIRST_SECONDS: Final = 600.0
"""Not while everything starts, but also where the service is restarted every day."""
BATCH: Final = 32
"""Events of one transaction: some ten milliseconds, which senders do not notice."""


def limits_of(config: Config, now_ms: int, older_than_ms: int | None = None) -> Limits:
    """Until when things were received that may go. `older_than_ms` stands for `retention.events_days`."""
    retention = config.retention
    before_ms = _days_ago(retention.events_days, now_ms) if older_than_ms is None else older_than_ms
    return Limits(
        now_ms=now_ms,
        before_ms=before_ms,
        dead_before_ms=min(before_ms, _days_ago(retention.dead_days, now_ms)),
        quarantine_before_ms=_days_ago(retention.quarantine_days, now_ms),
    )


def _days_ago(days: int, now_ms: int) -> int:
    """0 days are for ever: nothing was received before 1970."""
    return now_ms - days * DAY_MS if days else 0


async def survey(log: EventReader, limits: Limits) -> dict[str, int]:
    """How much would go."""
    counts = _Counts()
    seen: set[int] = set()
    async for things in _old(log, limits):
        for thing in things:
            if thing.subject is None or thing.subject not in seen:
                counts.add(thing)
            if thing.subject is not None:
                seen.add(thing.subject)
    return counts.report(await log.old_refused(limits.quarantine_before_ms))


async def prune(log: EventLog, limits: Limits) -> dict[str, int]:
    """Remove what may go; how much it was. Broken off, it has removed some of it, each thing as a whole."""
    counts = _Counts()
    async for things in _old(log, limits):
        for batch in _batches(things):
            left = batch
            while left:
                began = time.monotonic()
                bodies = await log.bodies([seq for thing in left for seq in thing.seqs])
                went = await log.prune(limits, [_pruned(thing, bodies) for thing in left])
                for thing, gone in zip(left, went, strict=False):
                    if gone:
                        counts.add(thing)
                left = left[len(went) :]
                # As long as it took: half of the time is the others'.
                await asyncio.sleep(time.monotonic() - began)
    report = counts.report(await log.prune_refused(limits.quarantine_before_ms))
    if any(report.values()):
        await log.give_back()
    return report


async def _old(log: EventReader, limits: Limits) -> AsyncIterator[list[Old]]:
    after: tuple[int, int] | None = (-1, 0)
    while after is not None:
        page = await log.old(limits, after)
        yield list(page.things)
        after = page.next


def _batches(things: list[Old]) -> list[list[Old]]:
    """Things together that have few events, and one with many by itself."""
    batches: list[list[Old]] = []
    room = 0
    for thing in things:
        if len(thing.seqs) > room:
            batches.append([])
            room = BATCH
        batches[-1].append(thing)
        room -= len(thing.seqs)
    return batches


def _pruned(thing: Old, bodies: Mapping[int, bytes]) -> Pruned:
    """A thing with the words that its events are found by: the index has to be told them."""
    found = [(seq, bodies.get(seq, b"")) for seq in thing.seqs]
    return Pruned(thing.subject, tuple((seq, body, words_in(body)) for seq, body in found))


class _Counts:
    """What went, or would."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, thing: Old) -> None:
        self._counts["events"] += len(thing.seqs)
        if thing.kind is not None:
            self._counts[thing.kind] += 1

    def report(self, quarantined: int) -> dict[str, int]:
        return {
            "events": self._counts["events"],
            "calendar_events": self._counts["calendar_event"],
            "calls": self._counts["call"],
            "quarantined": quarantined,
        }


class Retention:
    """Prunes once a day, and when asked; one at a time.

    A clock that is set forward makes nothing old: until it has been so for a day, ages go by the time before.
    """

    def __init__(self, log: EventLog, config: Callable[[], Config], clock: Clock) -> None:
        """`config` gives the one in effect."""
        self._log = log
        self._config = config
        self._clock = clock
        self._steady = SteadyClock(clock)
        self._lock = asyncio.Lock()
        self._logger = logs.get("retention")

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            LogBroken: the log must not be written any more.
        """
        await asyncio.sleep(FIRST_SECONDS)
        while True:
            try:
                await self.prune()
            except (LogUnavailable, QueryError) as error:
                self._logger.warning("waiting for the log", what="pruning", error=type(error).__name__)
            self._steady.follow(self._steady.jump_ms())
            await asyncio.sleep(DAY_SECONDS)

    async def prune(self, older_than_ms: int | None = None) -> dict[str, Any]:
        """Remove what may go now; how much it was."""
        async with self._lock:
            now_ms = min(self._clock.now_ms(), self._steady.now_ms())
            limits = limits_of(self._config(), now_ms, older_than_ms)
            report = await prune(self._log, limits)
        if any(report.values()):
            self._logger.info("pruned", **report)
        return report
