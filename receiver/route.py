"""From recorded events to runs: for each event in log order, what it changed and which handlers get it.

The work comes from rows, woken by intake and by a sweep each second, so nothing is forgotten in a crash. It
is done where the log is written (`deciding.py`), but for batches with a question that only the service can
answer. The rule easiest to break: routing can wait, senders cannot.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final

from receiver import logs
from receiver.choosing import runs_of, takers_of
from receiver.deciding import decide, told_of
from receiver.folding import fold_batch
from receiver.plugins.hint import hint
from receiver.sweep import Sweep
from receiver.twins import without_twins
from storage.calendar import ChangeRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.clock import Clock
    from receiver.counts import Counts
    from receiver.deciding import Told
    from receiver.dispatch import Dispatcher
    from receiver.folding import FoldedEvent
    from receiver.plugins import Handler
    from storage.log import EventLog
    from storage.work import Claimed, Routed, Routing

BATCH: Final = 128
"""Events per transaction."""
SMALL_BATCH: Final = 24
"""The same while much comes in: some five milliseconds for which senders wait."""
GATHER_SECONDS: Final = 0.02
"""What comes within this time is routed together, so that under load routing takes little from intake."""
LITTLE: Final = 100
"""Events a second that intake may take in before routing heeds it at all."""
MODEST: Final = 1_000
"""With so many a second routing rests as long as it works, with twice as many four times as long: what is
recorded can wait, its senders cannot."""
METER_SECONDS: Final = 0.02
"""Over how long that is measured."""
LASTING: Final = 0.7
"""What is left of it, at least, each time it is measured again."""
MOST_HINTS: Final = 50
"""Event types come from outside; hints are not given for ever."""


class Router:
    """Routes what intake has recorded, one batch after the other."""

    def __init__(
        self,
        log: EventLog,
        handlers: Sequence[Handler],
        clock: Clock,
        *,
        counts: Counts,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        """`dispatcher` makes the runs; without one, they wait in the log."""
        self._log = log
        self._counts = counts
        self._clock = clock
        self._dispatcher = dispatcher
        self._sweep = Sweep("routing", self._batch)
        self._gathering: asyncio.TimerHandle | None = None
        self._intake = _Meter()
        self._hinted: set[str | None] = set()
        self._logger = logs.get("route")
        self.replace(handlers)

    def replace(self, handlers: Sequence[Handler]) -> None:
        """Give events to these handlers from the next batch on."""
        self._handlers = [handler for handler in handlers if handler.enabled]
        self._takers = tuple(handler.taker for handler in self._handlers)

    def wake(self) -> None:
        """There is something new in the log."""
        self._intake.count()
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._sweep.wake()

    async def run(self) -> None:
        """Route until cancelled."""
        await self._sweep.run()

    async def drain(self) -> None:
        """Route all that waits, for a command that has the log to itself."""
        while await self._batch():
            pass

    async def _batch(self) -> bool:
        """Route one batch; whether there may be another one at once."""
        busy = self._intake.per_second() > LITTLE
        if self._dispatcher is not None and not busy:
            await self._dispatcher.room()
        began = time.monotonic()
        limit = SMALL_BATCH if busy else BATCH
        routed = await self._route(limit)
        if routed is None:
            events = await self._route_asking(limit)
        else:
            events = routed.events
            if routed.told is not None:
                self._tell(routed.told, routed.claimed)
        if not events:
            return False
        await self._rest(time.monotonic() - began)
        return True

    async def _route(self, limit: int) -> Routed[Told] | None:
        """Route them where the log is written; None if somebody here has to be asked."""
        decide_here, now_ms = partial(decide, self._takers), self._clock.now_ms()
        if self._dispatcher is None:
            return await self._log.route_next(decide_here, limit, now_ms=now_ms)
        reserved = self._dispatcher.reserve()
        least = min(reserved.capacity.values(), default=limit)
        if least >= SMALL_BATCH:  # no more than can begin at once, if that is not too few
            limit = min(limit, least)
        claimed: list[Claimed] = []
        try:
            routed = await self._log.route_next(
                decide_here, limit, now_ms=now_ms, owner=reserved.owner, capacity=reserved.capacity
            )
            claimed = [] if routed is None else routed.claimed
        finally:
            self._dispatcher.take(reserved, claimed)
        return routed

    async def _route_asking(self, limit: int) -> int:
        """Route them with questions; how many there were."""
        folded = await self._log.survey(partial(fold_batch, with_known=True), limit)
        if not folded.events:
            return 0
        events = [one.event for one in folded.events]
        routings = await without_twins(self._log, events, [self._routing(one) for one in folded.events])
        if await self._log.route(routings, now_ms=self._clock.now_ms(), states=folded.states):
            self._tell(told_of(folded.events, routings), [])
        # Else somebody else has changed what is known, and nothing was recorded.
        return len(events)

    def _tell(self, told: Told, claimed: Sequence[Claimed]) -> None:
        """Count what was routed, and tell of its runs."""
        for event_id, error in told.failed:
            self._logger.error("event was not folded into its calendar event", event_id=event_id, error=error)
        waiting: Counter[str] = Counter()
        for (event_type, verdict, runs), events in told.routed.items():
            self._counts.routed(event_type, verdict, runs, events)
            waiting.update({run.handler: events for run in runs if not run.skipped})
            if not runs:
                self._suggest(event_type)
        waiting.subtract(run.handler for run in claimed)
        names = {name for name, runs in waiting.items() if runs > 0}
        if names and self._dispatcher is not None:
            self._dispatcher.wake(names)

    async def _rest(self, worked: float) -> None:
        """Let intake go first, for as long as much comes in."""
        rested_from = time.monotonic()
        while (rate := self._intake.per_second()) > LITTLE:
            left = worked * (rate / MODEST) ** 2 - (time.monotonic() - rested_from)
            if left <= 0:
                return
            await asyncio.sleep(min(left, METER_SECONDS))

    def _routing(self, folded: FoldedEvent) -> Routing:
        """Choose the handlers of an event."""
        changes = [ChangeRecord.of(*change) for change in folded.routing.changes]
        known = None if folded.known is None else json.loads(folded.known)
        takers = takers_of(folded.event, self._handlers, changes, known)
        return folded.routing._replace(runs=runs_of(takers, folded.routing.verdict))

    def _suggest(self, event_type: str | None) -> None:
        """Once per type, log the handler that would catch an event nobody wants."""
        if event_type in self._hinted or len(self._hinted) >= MOST_HINTS:
            return
        self._hinted.add(event_type)
        # In the message, not as a value, so that it can be copied from the console as it stands.
        message = (
            f"no handler wants this event; a file like this in your plugins folder would:\n{hint(event_type)}"
        )
        self._logger.info(message)


class _Meter:
    """How many events come in a second, just now."""

    def __init__(self) -> None:
        self._since, self._count, self._rate = time.monotonic(), 0, 0.0

    def count(self) -> None:
        self._count += 1

    def per_second(self) -> float:
        elapsed = time.monotonic() - self._since
        if elapsed >= METER_SECONDS:
            # Routing itself slows intake down, which must not look as if there were less to take in.
            self._rate = max(self._count / elapsed, self._rate * LASTING)
            self._since, self._count = time.monotonic(), 0
        return self._rate
