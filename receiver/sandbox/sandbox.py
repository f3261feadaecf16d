"""The sandbox as one object: built here, started, stopped, and told what to do from outside the API.

The rule easiest to break: everything that happens goes through `publish`, which keeps and sends it.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from aiohttp import web

from receiver import logs
from receiver.events import EVENT_TYPES
from receiver.sandbox.account import Account
from receiver.sandbox.agenda import Agenda
from receiver.sandbox.api import CalendarAPI
from receiver.sandbox.application import application, http_logger
from receiver.sandbox.archive import Archive, Kept
from receiver.sandbox.clock import SandboxClock
from receiver.sandbox.control import Control
from receiver.sandbox.courier import Courier
from receiver.sandbox.errors import SandboxError
from receiver.sandbox.faults import Faults
from receiver.sandbox.keys import DEFAULT_KEYS, KeyRing
from receiver.sandbox.management import ManagementAPI
from receiver.sandbox.page import Page
from receiver.sandbox.webhooks import Webhook, Webhooks
from receiver.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from receiver.sandbox.appointment import Appointment
    from receiver.sandbox.delivery import Delivery
    from receiver.sandbox.keys import APIKey
    from receiver.sandbox.world import Happening


class Sandbox:
    """A local Klen: `async with Sandbox() as sandbox`, or `start()` and `stop()`."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        speed: float = 1.0,
        start: datetime | None = None,
        seed: int | None = None,
        faults: Faults | None = None,
        keys: Iterable[APIKey] = DEFAULT_KEYS,
        db: Path | None = None,
    ) -> None:
        """Build it; nothing is sent or answered yet.

        Args:
            host: Where to listen. Its keys are published: keep it on loopback.
            port: 0 lets the system choose; then it is in `port` after the start.
            speed: Sandbox seconds in a second; 0 stands still and moves by `jump` alone.
            start: What its clock shows at first; the time it is, or was in `db`, if None.
            seed: Makes the same requests give the same ids, secrets and faults; drawn if None.
            faults: What goes wrong with deliveries.
            keys: Who may ask.
            db: A file to keep everything in.

        Raises:
            SandboxError: the file cannot be used.
        """
        self.host = host
        self.port = port
        self._archive = Archive(db) if db else None
        kept = self._archive.kept if self._archive else Kept(None, None, [], [], [])
        self.seed = next(one for one in (seed, kept.seed, secrets.randbits(32)) if one is not None)
        now = start or datetime.now(UTC)
        self.clock = SandboxClock(speed=speed, start=max(now, kept.now or now))
        self.keys = KeyRing(keys, self.clock)
        self.world = World(self.seed, appointments=kept.appointments)
        self.webhooks = Webhooks(self.seed, webhooks=kept.webhooks)
        self.courier = Courier(
            self.webhooks, self.clock, self.seed, faults or Faults(), on_change=self._delivery_changed
        )
        self.account = Account(self.world, self.clock, self.publish)
        self._agenda = Agenda(self.clock, (self, self.courier))
        self._jumping = asyncio.Lock()
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def api_url(self) -> str:
        """What `api_url` of a source is for this sandbox."""
        return f"{self.url}/api/v1"

    async def start(self) -> None:
        """Listen and send; returns when requests are answered.

        Raises:
            SandboxError: the address is taken, or not ours, or the file is damaged.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        if self._archive:
            self._stack.callback(self._archive.close)
            self._stack.callback(self._keep_clock)
        await self.courier.start(self._archive.kept.deliveries if self._archive else ())
        self._stack.push_async_callback(self.courier.stop)
        calendar = CalendarAPI(self.account, self.keys)
        management = ManagementAPI(self, self.keys)
        routes = [*calendar.routes(), *management.routes(), *Control(self).routes(), *Page(self).routes()]
        runner = web.AppRunner(
            application(routes, host=self.host),
            access_log=None,
            handle_signals=False,
            logger=http_logger(),
            shutdown_timeout=1,
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError as error:
            raise SandboxError(
                f"Cannot listen on {self.host}:{self.port}: {error.strerror or error}. "
                "Is another sandbox running? Choose another address with --listen."
            ) from error
        self.host, self.port = runner.addresses[0][:2]
        self._keep_clock()
        running = asyncio.create_task(self._agenda.run())
        self._stack.callback(running.cancel)

    async def stop(self) -> None:
        """Stop listening and sending."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    def publish(self, happening: Happening) -> None:
        """Keep what happened, and tell it to whoever has subscribed to it."""
        self._keep(happening.appointment)
        self.courier.publish(happening)
        self._agenda.wake()

    def register(
        self,
        url: str,
        events: Iterable[str] = tuple(EVENT_TYPES),
        *,
        name: str = "Sandbox",
        secret: str | None = None,
    ) -> Webhook:
        """Have webhooks sent to this URL.

        Without a secret one is made; it is in the answer.
        """
        webhook = self.webhooks.create(name, url, events, now=self.clock.now(), secret=secret)
        self._keep(webhook)
        return webhook

    def unregister(self, webhook: Webhook) -> None:
        """Send it nothing more."""
        self.webhooks.delete(webhook)
        if self._archive:
            self._archive.forget(webhook)

    def rotate(self, webhook: Webhook) -> Webhook:
        """Give a webhook another secret; from now on everything is signed with that."""
        rotated = self.webhooks.rotate(webhook)
        self._keep(rotated)
        return rotated

    def outage(self, span: timedelta) -> datetime:
        """Let no webhook reach its endpoint for this long, from now; when it ends."""
        self.courier.outage_until = self.clock.now() + span
        return self.courier.outage_until

    async def jump(self, by: timedelta) -> None:
        """Let this much sandbox time pass at once, with all that happens in it."""
        async with self._jumping:
            await self.idle()
            await self._agenda.jump(by, self.idle)
            self._keep_clock()

    async def idle(self) -> None:
        """Wait until nothing is being sent; retries may be due later."""
        await self.courier.idle()

    async def finish(self) -> None:
        """Let time pass until nothing is left to be sent, retries included."""
        await self.idle()
        while (due := self.courier.next_due()) is not None:
            await self.jump(due - self.clock.now())

    def next_due(self) -> datetime | None:
        """When the next reminder or completion is due."""
        return self.world.next_due()

    def do_due(self, now: datetime) -> None:
        """Send the reminders and complete the appointments whose time has come."""
        while (happening := self.world.fall_due(now=now)) is not None:
            self.publish(happening)

    def _delivery_changed(self, delivery: Delivery) -> None:
        self._keep(delivery)
        self._keep_clock()
        self._agenda.wake()

    def _keep(self, item: Appointment | Delivery | Webhook) -> None:
        """In the file, if there is one. The sandbox goes on without it when it cannot be written."""
        if self._archive:
            try:
                self._archive.save(item)
            except sqlite3.Error as error:
                logs.get("sandbox").error("the state is not kept", error=str(error))

    def _keep_clock(self) -> None:
        if self._archive:
            with suppress(sqlite3.Error):  # the item before it has told
                self._archive.save_clock(self.seed, self.clock.now())
