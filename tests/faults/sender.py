"""The sender, a process of its own: `python -m tests.faults.sender PORT BOOK`, until SIGTERM.

It says that it is `sending`, and goes on where the book ends.
It behaves as the vendor does, in a hurry: an event that was not answered 200 is sent again up to three
times, under its delivery id, every second time with a renewed timestamp; some that were are sent again all
the same. It is not impressed by a service that goes away: it connects again.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from tests.faults.book import BookWriter, read_book
from tests.support.klen import Answer, headers, read_answer, request, webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

PAUSES: Final = (0.3, 1.0, 3.0)
"""Seconds before each retry; the vendor's are 1, 5 and 30 minutes."""
PATIENCE: Final = 10.0
"""How long an answer may take, as with the vendor."""
SIDE_BY_SIDE: Final = 50
EVENTS_EACH: Final = 20
"""So many calendar events at a time, with so many events each."""


def about(number: int) -> int:
    """The calendar event that an event is about."""
    return number % SIDE_BY_SIDE + number // (SIDE_BY_SIDE * EVENTS_EACH) * SIDE_BY_SIDE + 1


def body_of(number: int, attempt: int) -> bytes:
    """One event's body; every second retry has a timestamp of its own, and is the same event all the same."""
    milliseconds = number * 4 + attempt // 2
    day, rest = divmod(milliseconds, 86_400_000)
    seconds, thousandths = divmod(rest, 1000)
    clock = time.strftime("%H:%M:%S", time.gmtime(seconds))
    subject = about(number)
    return webhook(
        "calendar.updated",
        id=subject,
        uuid=str(UUID(int=subject, version=4)),
        title=f"n{number}",
        timestamp=f"2025-05-{day + 1:02}T{clock}.{thousandths:03}Z",
    )


@dataclass(order=True, slots=True)
class Delivery:
    """One event that is to be sent (again)."""

    due: float
    number: int
    attempt: int = 0


class Sender:
    """Sends events over some connections, and keeps the book."""

    def __init__(self, port: int, book: BookWriter, *, first: int, repeat: float, pause: float) -> None:
        """Send the events from `first` on.

        `repeat` is the share of acknowledged events that are sent again; `pause` is seconds between events.
        """
        self._port = port
        self._book = book
        self._repeat = repeat
        self._pause = pause
        self._numbers: Iterator[int] = itertools.count(first)
        self._due: asyncio.PriorityQueue[Delivery] = asyncio.PriorityQueue()
        self.stopping = False

    async def connection(self) -> None:
        """Send one after the other on one connection, again and again."""
        while not self.stopping:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            try:
                while not self.stopping:
                    await self._send(self._next(), reader, writer)
                    if self._pause:
                        await asyncio.sleep(self._pause)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                pass
            finally:
                writer.close()

    def _next(self) -> Delivery:
        """A retry that is due, or a new event."""
        if not self._due.empty():
            delivery = self._due.get_nowait()
            if delivery.due <= time.monotonic():
                return delivery
            self._due.put_nowait(delivery)
        return Delivery(0, next(self._numbers))

    async def _send(
        self, delivery: Delivery, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        body = body_of(delivery.number, delivery.attempt)
        await self._book.write(event=delivery.number, digest=hashlib.sha256(body).hexdigest())
        started = time.monotonic()
        try:
            writer.write(request(body, headers(body, delivery_id=f"delivery-{delivery.number}")))
            async with asyncio.timeout(PATIENCE):
                answer = await read_answer(reader)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self._again(delivery)
            await self._book.write(event=delivery.number, lost=True)
            raise
        await self._note(delivery, answer, started)
        if answer.headers.get("connection") == "close":
            raise ConnectionResetError

    async def _note(self, delivery: Delivery, answer: Answer, started: float) -> None:
        told = {
            "at": time.time(),
            "ms": round((time.monotonic() - started) * 1000, 2),
            "status": answer.status,
        }
        if answer.status == 200:
            report = answer.json
            await self._book.write(
                event=delivery.number, event_id=report["event_id"], outcome=report["status"], **told
            )
            if random.random() < self._repeat:  # noqa: S311 -- a choice, not a secret
                self._again(delivery)
        else:
            self._again(delivery)
            await self._book.write(
                event=delivery.number, retry_after=answer.headers.get("retry-after"), **told
            )

    def _again(self, delivery: Delivery) -> None:
        if delivery.attempt < len(PAUSES):
            due = time.monotonic() + PAUSES[delivery.attempt]
            self._due.put_nowait(Delivery(due, delivery.number, delivery.attempt + 1))


async def main() -> None:
    """Send until told to stop; requests under way are finished."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("book", type=Path)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--repeat", type=float, default=0.05)
    parser.add_argument("--pause", type=float, default=0.0)
    options = parser.parse_args()
    first = max(read_book(options.book).events, default=-1) + 1 if options.book.exists() else 0
    sender = Sender(
        options.port, BookWriter(options.book), first=first, repeat=options.repeat, pause=options.pause
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: setattr(sender, "stopping", True))
    print("sending", flush=True)
    await asyncio.gather(*(sender.connection() for _ in range(options.connections)))


if __name__ == "__main__":
    asyncio.run(main())
