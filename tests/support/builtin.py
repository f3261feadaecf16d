"""A built-in handler as the service would load and call it, and a web server for it to reach."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from receiver import logs
from receiver.config import load_config
from receiver.effects import Outbox, Staged, Store
from receiver.events import parse_event
from receiver.klen import Klen, NoTransport
from receiver.outbound import Outbound
from receiver.plugins import Context, Handler, load_handlers, survey_handlers
from receiver.threads import ThreadCall
from storage.work import StoredValue
from tests.support.service import write_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from receiver.events import AnyEvent

EVENT_ID = "0196f0a1-0000-7000-8000-000000000001"


async def _nothing(_key: str) -> StoredValue:
    return StoredValue(None, None)


@dataclass
class Builtin:
    """A loaded handler; `await builtin(body)` calls it for an event with this body."""

    handler: Handler
    http: Outbound
    event_id: str = EVENT_ID

    async def __call__(self, body: bytes, *, attempt: int = 1) -> None:
        staged = Staged()
        context = Context(
            event_id=self.event_id,
            attempt=attempt,
            handler=self.handler.name,
            settings=self.handler.settings,
            log=logs.get("handler"),
            store=Store(staged, _nothing),
            outbox=Outbox(staged),
            http=self.http,
            klen=Klen(NoTransport("This is a test.")),
        )
        if inspect.iscoroutinefunction(self.handler.function):
            await self.handler.function(self.event(body), context)
        else:
            await ThreadCall(self.handler.function, self.event(body), context, name="test").result()

    def event(self, body: bytes) -> AnyEvent:
        return parse_event(
            body, event_id=self.event_id, source="klen", received_at=datetime(2025, 5, 1, 10, 16, tzinfo=UTC)
        )


@asynccontextmanager
async def builtin(
    folder: Path, toml: str, *, allow: tuple[str, ...] = ("127.0.0.1",)
) -> AsyncIterator[Builtin]:
    """The one handler that this part of a configuration switches on."""
    loaded = load_handlers(load_config(write_config(folder, toml)))
    assert loaded.broken == ()
    (handler,) = loaded.handlers
    async with Outbound(allow, timeout_seconds=5) as http:
        yield Builtin(handler, http)


@dataclass(frozen=True)
class Request:
    """What the server got."""

    path: str
    headers: dict[str, str]
    body: bytes


class Site:
    """A web server that keeps its requests and answers each path with a status of its own."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.statuses: dict[str, int] = {}
        self.headers: dict[str, str] = {}
        self.url = ""

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        named = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append(Request(request.path, named, await request.read()))
        return web.Response(status=self.statuses.get(request.path, 204), headers=self.headers)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Site]:
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


def mistakes(folder: Path, toml: str) -> list[str]:
    """What `config check` would say about this part of a configuration."""
    return survey_handlers(load_config(write_config(folder, toml)))[1]
