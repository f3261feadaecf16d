"""A sandbox for tests, and somebody who asks its API."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp

from receiver.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

THEN = datetime(2025, 4, 25, 10, 15, 30, tzinfo=UTC)
"""When the vendor's first example was booked."""

CALENDAR = "/api/v1/calendar"
MEETING = {
    "title": "Client Meeting",
    "start_time": "2025-05-01T14:00:00.000Z",
    "end_time": "2025-05-01T15:00:00.000Z",
}


@dataclass(frozen=True)
class Answer:
    """What the API said."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, code and message; there must be nothing else."""
        assert set(self.json) == {"error", "message"}, self.text
        return self.status, self.json["error"], self.json["message"]


class Asker:
    """Sends requests to a sandbox with one key."""

    def __init__(
        self, sandbox: Sandbox, session: aiohttp.ClientSession, key: str = "klen_sandbox_full"
    ) -> None:
        self.sandbox = sandbox
        self.session = session
        self.headers = {"Authorization": f"Bearer {key}"}

    def using(self, key: str) -> Asker:
        """The same with another key."""
        return Asker(self.sandbox, self.session, key)

    async def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        """Ask; the path is below the calendar's unless it begins with `/api` or `/calendar`."""
        path = (
            path
            if path == "/" or path.startswith(("/api", "/calendar/", "/sandbox", "/page"))
            else f"{CALENDAR}{path}"
        )
        options.setdefault("headers", self.headers)
        if isinstance(body, bytes):
            options["data"] = body
        elif body is not None:
            options["json"] = body
        async with self.session.request(method, f"{self.sandbox.url}{path}", **options) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.text())

    async def book(self, **fields: Any) -> Any:
        """Create an appointment; the answer."""
        answer = await self("POST", "/events/create", MEETING | fields)
        assert answer.status == 201, answer.text
        return answer.json


@asynccontextmanager
async def asking(sandbox: Sandbox | None = None, *, start: datetime = THEN) -> AsyncIterator[Asker]:
    """A running sandbox whose clock stands still at `start`, and somebody to ask it."""
    sandbox = sandbox or Sandbox(speed=0, start=start, seed=1)
    async with sandbox, aiohttp.ClientSession() as session:
        yield Asker(sandbox, session)
