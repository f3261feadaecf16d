"""The book that a sender keeps: each attempt and each answer is a line on disk before anything follows from it.

It is JSON Lines, synced once per turn of the event loop, so that many connections share one sync. The rule
easiest to break: an attempt is in the book before its first byte is sent, or `stored ⊆ sent` says nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class BookWriter:
    """Appends lines, durably."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lines: list[str] = []
        self._synced: asyncio.Future[None] | None = None

    async def write(self, **line: Any) -> None:
        """Add one line; returns when it is on disk."""
        self._lines.append(json.dumps(line))
        if self._synced is None:
            loop = asyncio.get_running_loop()
            self._synced = loop.create_future()
            loop.call_soon(self._sync)
        await self._synced

    def _sync(self) -> None:
        lines, self._lines = self._lines, []
        synced, self._synced = self._synced, None
        os.write(self._descriptor, "".join(f"{line}\n" for line in lines).encode())
        os.fdatasync(self._descriptor)
        assert synced is not None
        synced.set_result(None)


@dataclass(slots=True)
class Sent:
    """One event as its sender knows it, over all attempts."""

    digests: set[str] = field(default_factory=set)
    """SHA-256 of each body it was sent as: a retry may have a new timestamp."""
    acked: set[str] = field(default_factory=set)
    """The ids it was acknowledged under; more than one is a fault."""
    accepted: int = 0
    """How often the answer said that it was new."""


@dataclass(slots=True)
class Book:
    """What a sender's book says."""

    events: dict[int, Sent] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    """Every answer: `status`, `ms`, and `retry_after` of refusals."""
    lost: int = 0
    """Attempts that had no answer."""

    @property
    def acked(self) -> dict[int, Sent]:
        """The events that were acknowledged."""
        return {number: sent for number, sent in self.events.items() if sent.acked}


def read_book(path: Path) -> Book:
    """Read a book, of a sender that still writes or has ended; a line that is not complete yet is left out."""
    book = Book()
    content = path.read_bytes()
    for text in content[: content.rfind(b"\n") + 1].splitlines():
        line = json.loads(text)
        sent = book.events.setdefault(line["event"], Sent())
        if "digest" in line:
            sent.digests.add(line["digest"])
        elif "status" in line:
            book.answers.append(line)
            if line["status"] == 200:
                sent.acked.add(line["event_id"])
                sent.accepted += line["outcome"] == "accepted"
        else:
            book.lost += 1
    return book
