"""From recorded events to runs: for each event in log order, what it changed and which handlers get it.

The work comes from rows, woken by intake and by a sweep each second, so nothing is forgotten in a crash. The
rule easiest to break: an event must get past this point whatever a plugin's `where` does to it, or it holds
back every event behind it.
"""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from receiver import logs
from receiver.clock import to_datetime
from receiver.events import parse_event
from receiver.folding import fold_batch
from receiver.plugins.hint import hint
from receiver.sweep import Sweep
from receiver.twins import without_twins
from storage.calendar import ChangeRecord
from storage.work import NewRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from receiver.clock import Clock
    from receiver.counts import Counts
    from receiver.events.calendar import Known
    from receiver.folding import FoldedBatch, FoldedEvent
    from receiver.plugins import Handler
    from storage.log import EventLog
    from storage.work import Routing, Unrouted

BATCH: Final = 128
"""Events per transaction."""
SMALL_BATCH: Final = 32
"""The same while much comes in: some two milliseconds for which senders wait."""
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
        on_runs: Callable[[set[str]], None],
        counts: Counts,
    ) -> None:
        """`on_runs` is called with the names of the handlers that have new runs."""
        self._log = log
        self._counts = counts
        self._clock = clock
        self._on_runs = on_runs
        self._sweep = Sweep("routing", self._batch)
        self._gathering: asyncio.TimerHandle | None = None
        self._intake = _Meter()
        self._next: FoldedBatch | None = None
        """What was looked at ahead."""
        self._hinted: set[str | None] = set()
        self._logger = logs.get("route")
        self.replace(handlers)

    def replace(self, handlers: Sequence[Handler]) -> None:
        """Give events to these handlers from the next batch on."""
        self._handlers = [handler for handler in handlers if handler.enabled]

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
        began = time.monotonic()
        folded, self._next = await self._surveyed(), None
        if not folded.events:
            return False
        events = [one.event for one in folded.events]
        routings = await without_twins(self._log, events, [self._routing(one) for one in folded.events])
        route = self._log.route(routings, now_ms=self._clock.now_ms(), states=folded.states)
        if self._is_busy():
            routed = await route
        else:  # the log goes on with the next batch while the runs of this one begin
            routed, self._next = await asyncio.gather(route, self._survey())
        if routed:  # else somebody else has changed what is known, and nothing was recorded
            self._tell(events, routings)
        await self._rest(time.monotonic() - began)
        if self._next is None or self._next.events:
            return True
        self._next = None
        return False

    async def _surveyed(self) -> FoldedBatch:
        """The next events: those that were looked at already, or which there are now."""
        if self._next is None or self._next.with_bodies < self._need_bodies():
            return await self._survey()
        return self._next

    async def _survey(self) -> FoldedBatch:
        look = partial(fold_batch, with_bodies=self._need_bodies())
        return await self._log.survey(look, SMALL_BATCH if self._is_busy() else BATCH)

    def _need_bodies(self) -> bool:
        return any(handler.where for handler in self._handlers)

    def _is_busy(self) -> bool:
        return self._intake.per_second() > LITTLE

    def _tell(self, events: Sequence[Unrouted], routings: Sequence[Routing]) -> None:
        """Count what was routed, and tell of its runs."""
        for event, routing in zip(events, routings, strict=True):
            self._counts.routed(event.event_type, routing.verdict, routing.runs)
        names = {run.handler for routing in routings for run in routing.runs}
        if names:
            self._on_runs(names)

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
        event, routing = folded.event, folded.routing
        if folded.error is not None:
            self._logger.error(
                "event was not folded into its calendar event", event_id=event.event_id, error=folded.error
            )
        changes = [ChangeRecord.of(*change) for change in routing.changes]
        known = None if folded.known is None else json.loads(folded.known)
        takers = takers_of(event, self._handlers, changes, known)
        if not takers:
            self._suggest(event.event_type)
            return routing
        return routing._replace(runs=runs_of(takers, routing.verdict))

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


def takers_of(
    event: Unrouted, handlers: Iterable[Handler], changes: Sequence[ChangeRecord], known: Known
) -> list[Handler]:
    """Those of the handlers that want the event: by its type or by what it changed, then by their `where`."""
    # A known name on a body of another shape is read as an unknown event, so it goes to who wants those.
    known_as = None if "bad_shape" in event.flags else event.event_type
    return [
        handler
        for handler in handlers
        if (handler.wants(known_as) or (changes and handler.wants_change(changes)))
        and _chosen(handler, event, changes, known)
    ]


def _chosen(handler: Handler, event: Unrouted, changes: Sequence[ChangeRecord], known: Known) -> bool:
    """Ask the handler's `where`. If it fails, the event is given to the handler: rather one too many."""
    if handler.where is None:
        return True
    try:
        typed = parse_event(
            event.body,
            event_id=event.event_id,
            source=event.source,
            received_at=to_datetime(event.received_at_ms),
            origin=event.origin,
        )
        given = handler.given(typed, changes, known=known)
        return not given or any(handler.where(one) for one in given)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError):
            raise
        logs.get("route").warning(
            "where failed, so the handler gets the event",
            handler=handler.name,
            event_id=event.event_id,
            error=type(error).__name__,
        )
        return True


def runs_of(handlers: Iterable[Handler], verdict: str | None) -> tuple[NewRun, ...]:
    """The runs of an event for these handlers; one that is stale is skipped by those that say so."""
    return tuple(
        NewRun(handler.name, ordered=handler.ordered, skipped=verdict == "stale" and handler.stale == "skip")
        for handler in handlers
    )
