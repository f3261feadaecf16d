"""A small stand-in for the vendor's API on this machine: it answers as it is told, and keeps what it was asked."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from receiver.clock import SystemClock
from receiver.config import Source
from receiver.klen import Accounts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from receiver.klen import Klen

API_KEY = "klen_0123456789abcdef"


@dataclass
class Asked:
    """One request."""

    line: str
    query: dict[str, str]
    headers: dict[str, str]
    json: Any


@dataclass
class Vendor:
    """`vendor.answers` is used up from the front; the last one stays."""

    answers: list[Any] = field(default_factory=lambda: [{}])
    """Each a JSON value, a pair of status and JSON value, a `web.Response`, or an exception to break off with."""
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(
            Asked(
                f"{request.method} {request.path}",
                dict(request.query),
                dict(request.headers),
                json.loads(body) if body else None,
            )
        )
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            assert request.transport is not None
            request.transport.abort()
            raise ConnectionError
        if callable(answer):
            answer = answer(self.asked[-1])
        if isinstance(answer, web.Response):
            return answer
        status, value = answer if isinstance(answer, tuple) else (200, answer)
        return web.json_response(value, status=status)

    @property
    def lines(self) -> list[str]:
        return [one.line for one in self.asked]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Vendor]:
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1"
        try:
            yield self
        finally:
            await runner.cleanup()

    def source(self, **more: Any) -> Source:
        """A source whose API is this one."""
        usual = {"secrets": ["a-long-enough-test-secret"], "api_url": self.url, "api_key": API_KEY}
        return Source.model_validate(usual | {"api_requests_per_minute": 60_000} | more)


@asynccontextmanager
async def client(vendor: Vendor, **more: Any) -> AsyncIterator[Klen]:
    """A client of this vendor."""
    async with vendor.running(), Accounts({"klen": vendor.source(**more)}, SystemClock()) as accounts:
        yield accounts.of("klen")
