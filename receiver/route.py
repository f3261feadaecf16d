"""From recorded events to runs: for each event in log order, what it changed and which handlers get it.

The work comes from rows, woken by intake and by a sweep each second, so nothing is forgotten in a crash. The
rule easiest to break: an event must get past this point whatever a plugin's `where` does to it, or it holds
back every event behind it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from receiver import logs
from receiver.clock import to_datetime
from receiver.events import parse_event
from receiver.folding import Folding, rows_of
from receiver.jsonbody import parse_json
from receiver.plugins.hint import hint
from receiver.sweep import Sweep
from receiver.twins import without_twins
from receiver.words import words_of
from storage.calendar import ChangeRecord
from storage.work import NewRun, Routing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from receiver.clock import Clock
    from receiver.counts import Counts
    from receiver.events.calendar import Known
    from receiver.plugins import Handler
    from storage.log import EventLog
    from storage.work import Unrouted

BATCH: Final = 512
"""Events per transaction, half of it while much comes in: some 20 milliseconds for which senders wait."""
GATHER_SECONDS: Final = 0.02
"""What comes within this time is routed together, so that under load routing takes little from intake."""
SLICE: Final = 16
"""Events that are decided about in one turn of the loop."""
MODEST: Final = 1_000
"""Events a second that intake may take in before routing makes room for it. With so many routing rests as
long as it works, with twice as many four times as long: what is recorded can wait, its senders cannot."""
METER_SECONDS: Final = 0.02
"""Over how long that is measured."""
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
        most = BATCH if self._intake.per_second() < MODEST else BATCH // 2
        events = await self._log.unrouted(most)
        if not events:
            return False
        folding = Folding()
        routings = await without_twins(self._log, events, await self._routings(events, folding))
        if not await self._log.route(routings, now_ms=self._clock.now_ms(), states=folding.states()):
            return True  # somebody else has changed what is known; nothing was recorded
        for event, routing in zip(events, routings, strict=True):
            self._counts.routed(event.event_type, routing.verdict, routing.runs)
        names = {run.handler for routing in routings for run in routing.runs}
        if names:
            self._on_runs(names)
        return len(events) == most

    async def _routings(self, events: Sequence[Unrouted], folding: Folding) -> list[Routing]:
        """Decide about each event, slice by slice, and let intake go first."""
        routings: list[Routing] = []
        for start in range(0, len(events), SLICE):
            began = time.monotonic()
            routings += [self._routing(event, folding) for event in events[start : start + SLICE]]
            worked = time.monotonic() - began
            await asyncio.sleep(worked * (self._intake.per_second() / MODEST) ** 2)
        return routings

    def _routing(self, event: Unrouted, folding: Folding) -> Routing:
        body = parse_json(event.body)
        folded = folding.add(event, body)
        changes = tuple(ChangeRecord(*change) for change in folded.changes)
        known = folded.state.calendar_event if folded.state else None
        takers = takers_of(event, self._handlers, changes, known)
        if not takers:
            self._suggest(event.event_type)
        return Routing(
            seq=event.seq,
            source=event.source,
            subject=event.subject,
            runs=runs_of(takers, folded.verdict),
            words=words_of(body),
            number=event.number,
            verdict=folded.verdict,
            changes=rows_of(folded.changes),
        )

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
            self._rate = self._count / elapsed
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
