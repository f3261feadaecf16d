"""An endpoint for webhooks that keeps what it gets and answers as it is told."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.support.klen import signature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping


HANG = -1


@dataclass(frozen=True)
class Got:
    """One request."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        return str(self.json["event_type"])

    def is_signed_with(self, secret: str) -> bool:
        return self.headers["X-Klen-Signature"] == signature(self.body, secret)


class Endpoint:
    """Answers with the next of `answers`, then with 200; to `HANG`, not at all."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.answers: list[int] = []
        self.url = ""

    def __iter__(self) -> Iterator[Got]:
        return iter(self.got)

    @property
    def kinds(self) -> list[str]:
        return [got.kind for got in self.got]

    async def receive(self, request: web.BaseRequest) -> web.Response:
        self.got.append(Got(request.headers, await request.read()))
        status = self.answers.pop(0) if self.answers else 200
        if status == HANG:
            await asyncio.sleep(3600)
        # A sender that followed it would come back.
        headers = {"Location": self.url} if status in range(300, 400) else {}
        return web.Response(status=status, headers=headers, text="thank you")


@asynccontextmanager
async def endpoint() -> AsyncIterator[Endpoint]:
    """On a free port."""
    there = Endpoint()
    runner = web.ServerRunner(web.Server(there.receive), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    there.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/klen"
    try:
        yield there
    finally:
        await runner.cleanup()
