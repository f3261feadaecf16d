"""A sender that keeps book: what it sent, and what was acknowledged. Nothing it was told may be lost."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from tests.support.klen import distinct, headers, read_answer, request

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 16


class Ledger:
    """What was sent, and what was acknowledged under which id."""

    def __init__(self, make: Callable[[], bytes] = distinct) -> None:
        """`make` gives the next body to send."""
        self._make = make
        self.sent: set[str] = set()
        self.acked: dict[str, str] = {}

    async def load(self, port: int, stop: asyncio.Event) -> None:
        """Send distinct events on many connections until told to stop; a lost connection ends its sender."""
        await asyncio.gather(*(self._sender(port, stop) for _ in range(CONNECTIONS)))

    async def _sender(self, port: int, stop: asyncio.Event) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        try:
            while not stop.is_set():
                body = self._make()
                digest = hashlib.sha256(body).hexdigest()
                self.sent.add(digest)
                writer.write(request(body, headers(body, delivery_id=digest[:12])))
                answer = await read_answer(reader)
                if answer.status == 200:
                    self.acked[digest] = answer.json["event_id"]
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
