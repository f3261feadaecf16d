"""All that works on recorded events: routing, dispatch, replays, the outbox, and what handlers may use.

They are built, started, changed over and stopped together. The rule easiest to break: when the service
stops, the loops end first, then messages and handlers under way get their time, and only then is what is
left given back to the log.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Final, Self

from receiver import logs
from receiver.asof import StatesAsOf
from receiver.attempt import Tools
from receiver.clock import SteadyClock
from receiver.dispatch import Dispatcher
from receiver.forks import guard
from receiver.isolation.pool import Isolated
from receiver.klen import Accounts
from receiver.klen.schedule import Reconciler
from receiver.outbound import Outbound
from receiver.outbox import Sender
from receiver.overdue import Watch
from receiver.replay import Replayer
from receiver.retry import RetryPolicy
from receiver.route import Router
from receiver.watchdog import Watchdog
from storage.errors import LogBroken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.clock import Clock
    from receiver.config import Config
    from receiver.counts import Counts
    from receiver.plugins import Handler
    from receiver.traces import Traces
    from storage.log import EventLog

SWITCH_SECONDS: Final = 0.0002
"""How long a plain handler that computes may keep Python's lock from the loop, which takes it several times
for each answer. It would wait for Python's own 5 ms each time."""


class Workers:
    """The working half of the service; the other half takes events in."""

    def __init__(
        self,
        config: Config,
        log: EventLog,
        handlers: Sequence[Handler],
        clock: Clock,
        counts: Counts,
        traces: Traces,
        *,
        replays_only: bool = False,
        trusted: asyncio.Event | None = None,
    ) -> None:
        """`trusted` is what handlers wait for before they begin; nothing if it is None.

        `replays_only`: replays get their runs and have them made, and nothing else is touched.
        """
        self._config = config
        self._log = log
        self._handlers = handlers
        self._clock = clock
        self._counts = counts
        self._traces = traces
        self._replays_only = replays_only
        self._trusted = trusted
        self._stack = AsyncExitStack()
        self._names: dict[str, list[str]] = {}
        """The handlers of each plugin's file, for the watchdog."""
        self.tasks: list[asyncio.Task[None]] = []
        """They end only when something is wrong."""

    async def __aenter__(self) -> Self:
        """Start."""
        config, log, handlers, clock = self._config, self._log, self._handlers, self._clock
        counts = self._counts
        counts.unfinished.update(await log.unfinished())
        owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        http = await self._stack.enter_async_context(Outbound(config.outbound.allow, clock=clock))
        self._accounts = await self._stack.enter_async_context(Accounts(config.sources, clock))
        self._isolated = Isolated(
            allow=config.outbound.allow, log_level=config.logging.level, log_format=config.logging.format
        )
        self._stack.push_async_callback(self._isolated.aclose)
        self._stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_SECONDS)
        guard(asyncio.get_running_loop())
        watchdog = Watchdog(asyncio.get_running_loop(), self._names, logs.get("watchdog"))
        watchdog.start()
        self._stack.callback(watchdog.stop)
        steady = SteadyClock(clock)
        self._sender = Sender(log, http, steady, owner=owner, policy_of=self._policy_of, counts=counts)
        self._dispatcher = Dispatcher(
            log,
            handlers,
            steady,
            Tools(
                log=log, states=StatesAsOf(log), http=http, accounts=self._accounts, isolated=self._isolated
            ),
            owner=owner,
            concurrency=config.dispatch.concurrency,
            replays_only=self._replays_only,
            counts=counts,
            traces=self._traces,
            on_messages=self._sender.wake,
        )
        self.router = Router(log, handlers, steady, counts=counts, dispatcher=self._dispatcher)
        self.replayer = Replayer(log, handlers, steady, on_runs=self._dispatcher.wake, counts=counts)
        self.reconciler = Reconciler(
            log,
            self._accounts,
            clock,
            counts,
            every_seconds=config.reconcile.every_seconds,
            on_events=self.router.wake,
        )
        self.overdue = Watch(log, config.overdue, handlers, clock, counts, on_events=self.router.wake)
        loops = [self._dispatch(), self.replayer.run()]
        if not self._replays_only:
            loops += [self.router.run(), self._sender.run(), self.reconciler.run()]
            loops += [self.reconciler.keep_time(), self.overdue.run()]
        self.tasks = [asyncio.create_task(loop) for loop in loops]
        self._watch_names()
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop."""
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with suppress(asyncio.CancelledError, LogBroken):
                await task
        await self._sender.stop()
        with suppress(LogBroken):
            await self._dispatcher.stop(self._config.dispatch.shutdown_grace_seconds)
        await self._stack.aclose()

    def replace(self, config: Config, handlers: Sequence[Handler]) -> None:
        """Go on with these from the next event and the next run on."""
        self._config, self._handlers = config, handlers
        self._isolated.renew()
        self._accounts.replace(config.sources)
        self.reconciler.every_seconds = config.reconcile.every_seconds
        self.router.replace(handlers)
        self.overdue.replace(config.overdue, handlers)
        self.replayer.replace(handlers)
        self._dispatcher.replace(handlers, concurrency=config.dispatch.concurrency)
        self._watch_names()

    async def _dispatch(self) -> None:
        if self._trusted is not None:
            await self._trusted.wait()
        await self._dispatcher.run()

    def _watch_names(self) -> None:
        """Tell the watchdog whose code is whose."""
        self._names.clear()
        for handler in self._handlers:
            self._names.setdefault(str(handler.file), []).append(handler.name)

    def _policy_of(self, name: str) -> RetryPolicy:
        """The retry policy of a handler's messages: its own, or the default for one that is gone."""
        for handler in self._handlers:
            if handler.name == name:
                return handler.retry
        return RetryPolicy(**self._config.dispatch.retry.model_dump())
