"""The one place that builds the running service, starts it in order and stops it in order.

Starting: the log, then the handlers, then the listener, so that nothing is accepted that could not be kept.
Stopping: the listener, then the handlers, then the log, so that everything accepted is answered and what
was not finished waits in the log.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self

from receiver import logs
from receiver.clock import SystemClock
from receiver.config import Address
from receiver.counts import Counts
from receiver.descriptors import share
from receiver.listener import Listener
from receiver.listening import ListenError, listen, readiness
from receiver.metrics import Metrics
from receiver.ops import LARGEST_BODY, Doers, Ops
from receiver.plugins import load_handlers
from receiver.reload import ReloadError, changed_keys, prepare, restart_keys
from receiver.retention import Retention
from receiver.selfwatch import Selfwatch
from receiver.signing import Verifier
from receiver.supervisor import Supervisor
from receiver.taking import Intake, Source
from receiver.threads import ThreadCall
from receiver.traces import open_traces
from receiver.web import routes
from receiver.workers import Workers
from storage import open_log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web

    from receiver.clock import Clock
    from receiver.config import Config
    from receiver.listener import Handler, Routes
    from receiver.plugins import Loaded
    from receiver.reload import Fresh
    from receiver.replay import Replayer
    from storage.log import EventLog

DRAIN_SECONDS: Final = 10.0
"""What requests in flight get when the service stops; longer than storing may take."""
PRIVATE_CONNECTIONS: Final = 16
YOUNG_OBJECTS: Final = 10_000
"""New objects after which the collector looks through them: those of many requests, not of a few."""


class Service:
    """A running klenhook: `async with Service(config) as service`, or `await Service(config).run()`."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        replays_only: bool = False,
        opener: Callable[[str], Awaitable[EventLog]] = open_log,
    ) -> None:
        """`replays_only` is no service for others: it listens nowhere, and everything but replays waits.

        `opener` opens the log at an address.
        """
        self.config = config
        """What is in effect, but for keys that need a restart."""
        self._started_with = config
        self._clock = clock or SystemClock()
        self._replays_only = replays_only
        self._open_log = opener
        self._stack = AsyncExitStack()
        self._logger = logs.get("service")
        self._beside: list[asyncio.Future[None]] = []
        self._reloading = asyncio.Lock()
        self._refused: ReloadError | None = None
        """Why the last reload was refused."""
        self._retired: Loaded | None = None
        """What was replaced last: its functions may still run."""
        self._routes: dict[str, Mapping[str, Handler]] = {}
        self._supervisor = Supervisor()
        self.counts = Counts()
        self.log: EventLog
        self.loaded: Loaded
        self.host = ""
        self.port = 0
        """Where it really listens; the port is the chosen one if the configuration says 0."""

    async def __aenter__(self) -> Self:
        """Start; returns when requests are answered.

        Raises:
            ConfigError: a handler's settings are wrong.
            LogLocked, LogUnusable: the log cannot be opened.
            ListenError: the address is taken, or not ours.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Stop gracefully."""
        await self._stack.aclose()

    async def _start(self) -> None:
        config = self.config
        self.loaded = load_handlers(config)
        for broken in self.loaded.broken:
            self._logger.error(
                "plugin does not load", file=str(broken.file), line=broken.line, error=broken.kind
            )
        self._traces = open_traces()
        self._stack.push_async_callback(self._traces.aclose)
        self.log = await self._open_log(config.storage_url)
        self._stack.push_async_callback(self.log.aclose)
        self._selfwatch = Selfwatch(self.log, self.counts, self._clock, self._supervisor)
        self._workers = await self._stack.enter_async_context(
            Workers(
                config,
                self.log,
                self.loaded.handlers,
                self._clock,
                self.counts,
                self._traces,
                replays_only=self._replays_only,
                trusted=None if self._replays_only else self._selfwatch.trusted,
            )
        )
        if self._replays_only:
            return
        self._retention = Retention(self.log, lambda: self.config, self._clock)
        self._intake = Intake(
            log=self.log,
            clock=self._clock,
            max_body_bytes=config.server.max_body_bytes,
            body_timeout_seconds=config.server.body_timeout_seconds,
            store_timeout_seconds=config.server.store_timeout_seconds,
            on_event=self._workers.router.wake,
            readiness=self._readiness,
            counts=self.counts,
            traces=self._traces,
        )
        await self._listen()
        await self._listen_privately()
        self._run_beside(self._selfwatch.probe())
        self._run_beside(self._selfwatch.examine())
        self._run_beside(self._retention.run())
        self._supervisor.ready()
        self._logger.info(
            "listening",
            url=f"http://{self.host}:{self.port}",
            sources={name: source.path for name, source in config.sources.items()},
            handlers=[handler.name for handler in self.loaded.handlers if handler.enabled],
            log=config.storage_url,
        )

    @property
    def replayer(self) -> Replayer:
        """Gives recorded events to handlers once more."""
        return self._workers.replayer

    async def _listen(self) -> None:
        config = self.config
        self._routes.update(self._routes_of(config))
        connections, burst = share()
        listener = Listener(
            self._routes,
            self.counts.deliveries,
            max_body_bytes=config.server.max_body_bytes,
            most_connections=connections,
        )
        try:
            runner = await listen(listener, config.server.listen, drain_seconds=DRAIN_SECONDS, backlog=burst)
        except ListenError as error:
            advice = "Is another program using the port? Set server.listen to a free address of this machine."
            raise ListenError(f"{error} {advice}") from error
        self._stack.push_async_callback(self._stop_listening, runner)
        self.host, self.port = runner.addresses[0][:2]

    async def _listen_privately(self) -> None:
        """Commands that change the log come in here, by the address that is left beside the log."""
        config = self.config.ops
        table = Ops(
            self.log,
            Doers(self.replayer, self._retention, self._workers.reconciler),
            self._handler_names,
            Metrics(self.counts, self.log, self._clock, self._handler_names),
            self._clock,
            token=config.token.get_secret_value(),
            hosts=[config.listen.host, *config.hosts],
        )
        listener = Listener(
            table, Counter(), max_body_bytes=LARGEST_BODY, most_connections=PRIVATE_CONNECTIONS
        )
        try:
            runner = await listen(listener, config.listen, drain_seconds=1)
        except ListenError as error:
            if "listen" in config.model_fields_set:
                raise ListenError(f"{error} Set ops.listen to a free address of this machine.") from error
            self._logger.warning(
                "no private listener, so commands cannot reach this service; set ops.listen",
                reason=str(error),
            )
            return
        self._stack.push_async_callback(runner.cleanup)
        await self.log.announce(str(Address(*runner.addresses[0][:2])))

    def _handler_names(self) -> set[str]:
        return {handler.name for handler in self.loaded.handlers}

    async def _stop_listening(self, runner: web.ServerRunner) -> None:
        for site in list(runner.sites):
            await site.stop()
        self._intake.hurry()
        await runner.cleanup()
        self._logger.info(
            "stopped", **+self.counts.deliveries, **{f"runs_{k}": v for k, v in self._runs_by_state().items()}
        )

    def _runs_by_state(self) -> Counter[str]:
        states: Counter[str] = Counter()
        for (_, state), number in self.counts.runs.items():
            states[state] += number
        return +states

    def _routes_of(self, config: Config) -> Routes:
        return routes(self._intake, {name: _source(name, source) for name, source in config.sources.items()})

    async def reload(self) -> ReloadError | None:
        """Read the configuration again and load the plugins again. If anything is wrong, nothing changes.

        Returns when the next request and the next run go by the new ones; requests and runs under way end
        with the old ones. Gives the reason if it was refused.
        """
        async with self._reloading:
            try:
                fresh = await ThreadCall(prepare, self.config.path, name="klenhook-reload").result()
                new_routes = self._routes_of(fresh.config)
            except ReloadError as error:
                self._refused = error
                self.counts.reloads["refused"] += 1
                self._logger.error("reload refused, the old state stays", mistakes=str(error))  # noqa: TRY400 -- the mistakes say it
                return error
            self._adopt(fresh, new_routes)
            self.counts.reloads["done"] += 1
            return None

    def _adopt(self, fresh: Fresh, new_routes: Routes) -> None:
        """Change over, in one step of the event loop: nobody sees half of it."""
        old, config = self.config, fresh.config
        if self._retired:
            self._retired.forget()
        self._retired, self.loaded, self.config, self._refused = self.loaded, fresh.loaded, config, None
        self._intake.max_body_bytes = config.server.max_body_bytes
        self._intake.body_timeout_seconds = config.server.body_timeout_seconds
        self._intake.store_timeout_seconds = config.server.store_timeout_seconds
        self._routes.clear()
        self._routes.update(new_routes)
        self._workers.replace(config, self.loaded.handlers)
        for key in restart_keys(self._started_with, config):
            self._logger.warning("this key changes with a restart only", key=key)
        self._logger.info(
            "reloaded",
            changed=changed_keys(old, config),
            handlers=[handler.name for handler in self.loaded.handlers],
        )

    def _readiness(self) -> tuple[bool, Mapping[str, Any]]:
        return readiness(
            healthy=self.log.healthy,
            refused=self._refused,
            broken=self.loaded.broken,
            warnings=self._selfwatch.warnings,
        )

    async def run(self, *, beside: Callable[[Service], Awaitable[None]] | None = None) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends the process at once. SIGHUP reloads.

        `beside` runs as long as the service; if it fails, the service stops.

        Raises:
            LogBroken: the log must not be written any more. Nothing was acknowledged since.
        """
        stop, hangup = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if stop.is_set():
                os._exit(1)
            stop.set()

        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, on_signal)
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        async with self:
            # What has been built so far lives as long as the process; the collector need not look at it.
            gc.freeze()
            gc.set_threshold(YOUNG_OBJECTS)
            gc.enable()
            self._run_beside(self._reload_on(hangup))
            if beside:
                self._run_beside(beside(self))
            stopping = asyncio.create_task(stop.wait())
            broken = asyncio.create_task(self.log.stopped())
            watched: set[asyncio.Future[Any]] = {stopping, broken, *self._workers.tasks, *self._beside}
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            self._logger.info("stopping")
            self._supervisor.stopping()
            stopping.cancel()
            broken.cancel()
            for task in done:
                error = task.exception()
                if error is not None:
                    raise error
            if broken in done and (reason := broken.result()) is not None:
                raise reason

    def _run_beside(self, work: Awaitable[None]) -> None:
        """As one more task whose failure stops the service."""
        task = asyncio.ensure_future(work)
        self._beside.append(task)
        self._stack.callback(task.cancel)

    async def _reload_on(self, hangup: asyncio.Event) -> None:
        while True:
            await hangup.wait()
            hangup.clear()
            self._supervisor.reloading()
            await self.reload()
            self._supervisor.ready()


def _source(name: str, source: Any) -> Source:
    secrets_in_use = [secret.get_secret_value() for secret in source.secrets]
    verifier = Verifier(
        source.signature,
        secrets_in_use,
        header=source.signature_header or None,
        json_fallback=source.json_fallback,
    )
    return Source(name=name, path=source.path, style=source.signature, verifier=verifier)
