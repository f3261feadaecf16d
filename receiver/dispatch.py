"""Claim due runs and call their handlers.

The work comes from rows: `claim` counts the attempt before the handler starts, so a handler that takes the
process down with it cannot do so for ever. Of new runs, routing may claim some as it makes them. A sweep each
second finds what nobody announced: retries that are due, and runs that a crash left behind.

The rule easiest to break: a place is free again only when the call has really ended, so a plain function
that runs on after its time still counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from receiver import logs
from receiver.attempt import Attempt, Ending, Tools
from receiver.places import Places
from receiver.recording import Recorder
from receiver.sweep import SECONDS as SWEEP_SECONDS
from receiver.sweep import Sweep
from storage.errors import LogUnavailable
from storage.work import Finished

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from receiver.clock import SteadyClock
    from receiver.counts import Counts
    from receiver.plugins import Handler
    from receiver.traces import Traces
    from storage.log import EventLog
    from storage.work import Claimed

PATIENCE_SECONDS: Final = 0.05
"""What routing waits for quick handlers: one of them that hangs must not hold up the others."""
RELEASE_SECONDS: Final = 2.0
"""What giving runs back may take when the service stops and the log cannot be written."""


class Reserved(NamedTuple):
    """Room for runs that are about to be made."""

    owner: str
    capacity: dict[str, int]
    """For how many, by handler."""
    handlers: Mapping[str, Handler]
    """Those that will be called, should they be replaced meanwhile."""


class Dispatcher:
    """Runs the handlers' runs, as many at once as it may."""

    def __init__(  # noqa: PLR0913 -- each is one thing that the service decides
        self,
        log: EventLog,
        handlers: Sequence[Handler],
        clock: SteadyClock,
        tools: Tools,
        *,
        owner: str,
        concurrency: int,
        replays_only: bool = False,
        counts: Counts,
        traces: Traces,
        on_messages: Callable[[], None] = lambda: None,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        """`owner` names this process in the log; no other process may ever have the same.

        All due times go by `clock`; when the wall clock is set, it is told here to follow.
        `replays_only` leaves other runs waiting. `on_messages` is called after a run has left messages in
        the outbox.
        """
        self._log = log
        self._tools = tools
        self._replays_only = replays_only
        self._recorder = Recorder(log, clock, counts, on_messages)
        self._handlers: dict[str, Handler] = {}
        self._clock = clock
        self._owner = owner
        self._randomness = randomness
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = Places(counts)
        self._promising: list[str] = []
        """Handlers that may have due runs, in the order in which they are asked."""
        self._caught_up: set[str] = set()
        """Handlers of which no run is due, as far as is known."""
        self._room: asyncio.Future[None] | None = None
        self._sweep = Sweep("dispatch", self._claim, on_sweep=lambda: self.wake(set(self._handlers)))
        self.replace(handlers, concurrency=concurrency)
        self._recovered = False
        self._stopping = False
        self._logger = logs.get("dispatch")
        self._traces = traces

    def replace(self, handlers: Sequence[Handler], *, concurrency: int | None = None) -> None:
        """Use these handlers from the next claim on; attempts under way end with the ones they began with."""
        self._handlers = {
            handler.name: handler for handler in handlers if handler.enabled and not handler.paused
        }
        if concurrency is not None:
            self._concurrency = concurrency
        self._places.replace(self._handlers.values(), self._concurrency)
        self._promising = []
        self.wake(set(self._handlers))

    def wake(self, names: set[str]) -> None:
        """These handlers may have due runs."""
        self._caught_up -= names
        self._ask(names)

    def _ask(self, names: Collection[str]) -> None:
        for name in names:
            if name in self._handlers and name not in self._promising:
                self._promising.append(name)
        self._sweep.wake()

    async def room(self) -> None:
        """Wait until quick handlers have caught up and there is room for their next runs; not for long.

        Runs that are made sooner wait in the log and have to be looked for there, which costs more.
        """
        if self._has_room():
            return
        self._room = asyncio.get_running_loop().create_future()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._room
        self._room = None

    def _has_room(self) -> bool:
        return self._places.room >= self._concurrency and all(
            name in self._caught_up or not self._places.is_quick(name) for name in self._handlers
        )

    def reserve(self) -> Reserved:
        """Room for some of the runs that are about to be made: those of handlers that have caught up.

        Runs that are due already come first. `take` gives it back, with those that were made as ours.
        """
        may = self._recovered and not self._replays_only and not self._stopping
        may = may and not self._places.capacity(set(self._promising) - self._caught_up)
        names = [name for name in self._handlers if name in self._caught_up] if may else []
        return Reserved(self._owner, self._places.reserve(names), self._handlers)

    def take(self, reserved: Reserved, claimed: Sequence[Claimed]) -> None:
        """Make these runs."""
        self._places.release(reserved.capacity)
        for run in claimed:
            self._places.enter(run, reserved.handlers[run.handler])
        self._begin()

    async def run(self) -> None:
        """Dispatch until cancelled, or until the log is broken."""
        await self._sweep.run()

    async def _recover(self) -> None:
        """Take back what a process that died was about, once."""
        recovered = await self._log.recover(self._owner, now_ms=self._clock.now_ms())
        self._recovered = True
        if recovered:
            self._logger.warning("took back runs of a process that died", runs=recovered)

    async def _follow(self, jump_ms: int) -> None:
        """The wall clock was set: what waits goes on waiting as long as it would have."""
        self._clock.follow(jump_ms)  # first, since what is recorded from now on must not be shifted
        try:
            await self._log.follow_clock(jump_ms, now_ms=self._clock.now_ms())
        except LogUnavailable:
            self._clock.follow(-jump_ms)
            raise
        self._logger.warning("the clock was set", forward_s=round(jump_ms / 1000, 1))

    async def stop(self, grace_seconds: float) -> None:
        """Let running handlers end within the grace time, then cancel them and give their runs back."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        late = len(self._tasks)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            # One that swallows its cancellation is left behind; its run is given back all the same.
            await asyncio.wait(self._tasks, timeout=1)
        self._recorder.stop()
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                given_back = await self._log.release(self._owner, now_ms=self._clock.now_ms())
        except (TimeoutError, LogUnavailable):
            return  # the next start takes them back
        if running := min(late, given_back):  # beside them, runs are given back that had not begun
            self._logger.warning(
                "handlers did not end in time; their runs wait for the next start", runs=running
            )

    async def _claim(self) -> bool:
        """Fill the free places once; whether it makes sense to ask again at once."""
        if (
            not self._recovered
        ):  # here, since a full disk may refuse it at the start, and then it is tried again
            await self._recover()
        if jump_ms := self._clock.jump_ms():
            await self._follow(jump_ms)
        capacity = self._places.capacity(self._promising)
        if not capacity:
            return False
        for name in capacity:
            self._promising.remove(name)
        self._caught_up |= capacity.keys()  # unless there is news of them meanwhile
        handlers = self._handlers  # those of this claim, should they be replaced meanwhile
        self._places.hold(capacity)
        try:
            claimed = await self._log.claim(
                self._owner,
                capacity,
                now_ms=self._clock.now_ms(),
                replays=None if self._replays_only else self._places.for_replays(capacity),
                live=not self._replays_only,
            )
        except LogUnavailable:
            self.wake(set(capacity))
            raise
        finally:
            self._places.release(capacity)
        taken = Counter(run.handler for run in claimed)
        # Where everything asked for was there, there may be more: ask again, behind the others.
        self.wake({name for name, most in capacity.items() if taken[name] == most})
        for run in claimed:
            self._places.enter(run, handlers[run.handler])
        self._begin()
        return bool(self._promising)

    def _begin(self) -> None:
        """Call the handlers of those that have a place now."""
        if not self._stopping:
            for run, handler in self._places.admit():
                self._start(run, handler)
        if self._promising:  # there may be room for them now
            self._sweep.wake()
        if self._room is not None and not self._room.done() and self._has_room():
            self._room.set_result(None)

    def _start(self, run: Claimed, handler: Handler) -> None:
        task = asyncio.create_task(self._execute(run, handler), name=f"{run.handler} {run.event_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _free(self, run: Claimed) -> None:
        self._places.leave(run)
        self._begin()
        if run.handler not in self._caught_up or self._places.waiting(run.handler) > 0:
            self._ask({run.handler})

    async def _execute(self, run: Claimed, handler: Handler) -> None:
        """One attempt from claim to record."""
        attempt = Attempt(handler, run, self._tools, self._randomness)
        began = time.monotonic()
        try:
            with self._traces.attempt(run) as ended:
                ending = await attempt.make(stopping=lambda: self._stopping)
                ended(ending.state)
        finally:
            self._places.took(run.handler, time.monotonic() - began)
            thread = attempt.thread
            if thread is None or thread.done.done():
                self._free(run)
            else:
                # The thread cannot be stopped. It keeps its place, so that hanging calls cannot pile up.
                self._logger.error(
                    "handler runs on after its time", handler=run.handler, event_id=run.event_id
                )
                thread.done.add_done_callback(lambda _: self._free(run))
        # The place is free already, so that one commit can record this run and claim the next.
        await self._record(run, time.monotonic() - began, ending, handler.code_version)

    async def _record(self, run: Claimed, seconds: float, ending: Ending, code_version: str) -> None:
        finished = await self._recorder.record(run, seconds, ending, code_version)
        self._places.ended(run)
        if finished is Finished.CONFLICT:
            self.wake({run.handler})
        elif ending.wait is not None and ending.wait < SWEEP_SECONDS:
            # Sooner than the sweep would find it.
            asyncio.get_running_loop().call_later(ending.wait, self.wake, {run.handler})
