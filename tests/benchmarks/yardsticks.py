"""What the service is measured against, each a process of its own.

    python -m tests.benchmarks.yardsticks bare              a handler that only reads the body
    python -m tests.benchmarks.yardsticks commit FILE       sqlite3 in the loop, a synced commit per request
    python -m tests.benchmarks.yardsticks huey FILE COUNT   a task queue on SQLite, synced; only enqueues

The servers check no signature and read no JSON; they print their port. The queue prints its rate.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sqlite3
import sys
import time
from typing import TYPE_CHECKING

from aiohttp import web
from huey import SqliteHuey

from tests.benchmarks.requests import PATH, body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def bare() -> Callable[[web.Request], Awaitable[web.Response]]:
    """What aiohttp can do."""
    ids = itertools.count()

    async def receive(request: web.Request) -> web.Response:
        await request.read()
        return _accepted(next(ids))

    return receive


def commit_per_request(file: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The obvious durable server."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE event (event_id INTEGER PRIMARY KEY, body BLOB NOT NULL)")

    async def receive(request: web.Request) -> web.Response:
        content = await request.read()
        cursor = connection.execute("INSERT INTO event (body) VALUES (?)", (content,))
        return _accepted(cursor.lastrowid or 0)

    return receive


def _accepted(event_id: int) -> web.Response:
    return web.Response(
        body=b'{"status": "accepted", "event_id": "%d"}' % event_id, content_type="application/json"
    )


async def serve(receive: Callable[[web.Request], Awaitable[web.Response]]) -> None:
    """Serve until SIGTERM."""
    app = web.Application()
    app.router.add_post(PATH, receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()


def enqueue(file: str, count: int) -> float:
    """Tasks enqueued per second, one after the other."""
    huey = SqliteHuey(filename=file, fsync=True)

    def nothing(content: bytes) -> None:
        """Never called: enqueueing alone is measured."""

    task = huey.task()(nothing)
    bodies = [body(number) for number in range(count)]
    started = time.perf_counter()
    for content in bodies:
        task(content)
    return count / (time.perf_counter() - started)


def main(kind: str, *arguments: str) -> None:
    """Be the yardstick of that name."""
    if kind == "bare":
        asyncio.run(serve(bare()))
    elif kind == "commit":
        asyncio.run(serve(commit_per_request(*arguments)))
    else:
        file, count = arguments
        print(json.dumps({"rate": enqueue(file, int(count))}))


if __name__ == "__main__":
    main(*sys.argv[1:])
