"""The sandbox as one object: built here, started, stopped.

The rule easiest to break: with a seed, the same requests give the same world; so everything that is drawn
comes from generators seeded here, one for each use, and never from the time.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

from aiohttp import web

from receiver.events import EVENT_TYPES
from receiver.sandbox.agenda import Agenda
from receiver.sandbox.api import CalendarAPI
from receiver.sandbox.application import application
from receiver.sandbox.clock import SandboxClock
from receiver.sandbox.courier import Courier
from receiver.sandbox.errors import SandboxError
from receiver.sandbox.keys import DEFAULT_KEYS, KeyRing
from receiver.sandbox.management import ManagementAPI
from receiver.sandbox.webhooks import Webhooks
from receiver.sandbox.world import World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from receiver.sandbox.keys import APIKey
    from receiver.sandbox.webhooks import Webhook
    from receiver.sandbox.world import Happening


class Sandbox:
    """A local Klen: `async with Sandbox(port=0) as sandbox`, or `start()` and `stop()`."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: SandboxClock | None = None,
        seed: int | None = None,
        keys: Iterable[APIKey] = DEFAULT_KEYS,
    ) -> None:
        """Port 0 lets the system choose. Without `seed` one is drawn; it is then in `seed`."""
        self.host = host
        self.port = port
        self.seed = secrets.randbits(32) if seed is None else seed
        self.clock = clock or SandboxClock()
        self.keys = KeyRing(keys, self.clock)
        self.world = World(self._rng("world"))
        self.webhooks = Webhooks(self._rng("webhooks"))
        self.courier = Courier(self.webhooks, self.clock, self._rng("deliveries"), on_retry=self._wake)
        self._agenda = Agenda(self.clock, (self, self.courier))
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
        """Listen; returns when requests are answered.

        Raises:
            SandboxError: the address is taken, or not ours.
        """
        calendar = CalendarAPI(self.world, self.keys, self.clock, self.publish)
        management = ManagementAPI(self.webhooks, self.keys, self.clock)
        await self.courier.start()
        self._stack.push_async_callback(self.courier.stop)
        app = application([*calendar.routes(), *management.routes()], host=self.host)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError as error:
            await self.stop()
            raise SandboxError(
                f"Cannot listen on {self.host}:{self.port}: {error.strerror or error}. "
                "Is another sandbox running? Choose another address with --listen."
            ) from error
        self.host, self.port = runner.addresses[0][:2]
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
        """Tell it to whoever has subscribed to it."""
        self.courier.publish(happening)
        self._wake()

    def register(
        self, url: str, events: Iterable[str] = tuple(EVENT_TYPES), *, secret: str | None = None
    ) -> Webhook:
        """Have webhooks sent to this URL. Its secret is in the answer."""
        return self.webhooks.create("Sandbox", url, events, now=self.clock.now(), secret=secret)

    async def jump(self, by: timedelta) -> None:
        """Let this much sandbox time pass at once, with all that happens in it."""
        await self.idle()
        await self._agenda.jump(by, self.idle)

    async def idle(self) -> None:
        """Wait until nothing is being sent."""
        await self.courier.idle()

    def next_due(self) -> datetime | None:
        """When the next reminder or completion is due."""
        return self.world.next_due()

    def do_due(self, now: datetime) -> None:
        """Send the reminders and complete the appointments whose time has come."""
        while (happening := self.world.fall_due(now=now)) is not None:
            self.courier.publish(happening)

    def _wake(self) -> None:
        self._agenda.wake()

    def _rng(self, use: str) -> random.Random:
        return random.Random(f"{self.seed} {use}")  # noqa: S311 -- a sandbox that can be repeated
