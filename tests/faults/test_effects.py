"""Effects under kills: stores and messages come out exactly once, and in order, whatever died when."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import defaultdict
from contextlib import closing
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port

from tests.support.klen import webhook
from tests.support.ledger import Ledger
from tests.support.service import Process, write_config, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

APPOINTMENTS = 200
KILLS = 5
PLUGIN = """
import os, random
from receiver import AnyEvent, Context, on

@on(AnyEvent)
async def effects(event: AnyEvent, ctx: Context) -> None:
    uuid, title = event.calendar_event.uuid, event.calendar_event.title
    if random.random() < 0.0003: os._exit(1)
    if random.random() < 0.05: raise ValueError
    total = await ctx.store.get("total", 0)
    seen = await ctx.store.get(uuid, [])
    ctx.store.set("total", total + 1)
    ctx.store.set(uuid, [*seen, title])
    ctx.outbox.post("{url}", json={{"uuid": uuid, "title": title}})
    if random.random() < 0.0003: os._exit(1)
"""


@pytest.mark.timeout(300)
async def test_each_effect_happens_once_and_in_order(tmp_path: Path) -> None:
    """After kills at random moments and a handler that kills the process and fails at random.

    Each event counts once in the store, each calendar event's titles are in the order of the log, and each
    message was received under one key, in that order too.
    """
    received: dict[str, tuple[str, str]] = {}
    order: dict[str, list[str]] = defaultdict(list)

    async def receive(request: web.Request) -> web.Response:
        message = await request.json()
        key = request.headers["Idempotency-Key"]
        if key not in received:  # what a receiver does that honours the key
            received[key] = (message["uuid"], message["title"])
            order[message["uuid"]].append(message["title"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"

    port = unused_port()
    write_config(
        tmp_path,
        "[dispatch]\nconcurrency = 8\nretry = {tries = 50, base = 0.02, cap = 0.1}\n[outbound]\nallow = ['127.0.0.1']\n"
        "[logging]\nlevel = 'error'\n",
        port=port,
    )
    write_plugin(tmp_path, PLUGIN.format(url=url))
    numbers = iter(range(10**6))

    def body() -> bytes:
        number = next(numbers)
        about = UUID(int=number % APPOINTMENTS, version=4)
        return webhook("calendar.updated", id=number % APPOINTMENTS + 1, uuid=str(about), title=f"n{number}")

    ledger = Ledger(body)
    for _ in range(KILLS):
        with Process(tmp_path, port=port) as process:
            while process.alive and not process.is_ready():
                await asyncio.sleep(0.02)  # the handler may kill it before it is ready
            stop = asyncio.Event()
            load = asyncio.create_task(ledger.load(port, stop))
            await asyncio.sleep(random.uniform(0.1, 0.3))  # noqa: S311 -- a moment, not a secret
            stop.set()
            await load
            await asyncio.sleep(random.uniform(0.0, 0.8))  # noqa: S311 -- as above
            process.kill()

    await _until_all_is_done(tmp_path, port)
    await runner.cleanup()
    with closing(sqlite3.connect(f"file:{tmp_path / 'klenhook.db'}?mode=ro", uri=True)) as log:
        events = log.execute("SELECT calendar_event_uuid, title FROM events ORDER BY seq").fetchall()
        store = {key: json.loads(value) for key, value in log.execute("SELECT key, value FROM store")}
        runs = dict(log.execute("SELECT state, count(*) FROM runs GROUP BY state").fetchall())
    expected: dict[str, list[str]] = defaultdict(list)
    for about, title in events:
        expected[about].append(title)
    assert len(ledger.acked) <= len(events)
    assert {"done": len(events)} == runs
    assert len(events) == store.pop("total")
    assert expected == store
    assert len(events) == len(received)
    assert expected == order
    assert len(events) > 300, "the load was too small to show anything"


async def _until_all_is_done(folder: Path, port: int) -> None:
    """Start the service again and again, as a supervisor would, until nothing is left to do."""
    for _ in range(60):
        with Process(folder, port=port) as process:
            for _ in range(600):
                if not process.alive:
                    break
                if process.is_ready() and not _left(folder):
                    process.terminate()
                    return
                await asyncio.sleep(0.1)
    raise AssertionError("it never came to an end")


def _left(folder: Path) -> int:
    with closing(sqlite3.connect(f"file:{folder / 'klenhook.db'}?mode=ro", uri=True)) as log:
        queries = (
            "SELECT count(*) FROM runs WHERE state IN ('pending', 'running', 'retrying')",
            "SELECT count(*) FROM messages WHERE state IN ('pending', 'running', 'retrying')",
            "SELECT count(*) FROM events WHERE runs = '{}'",
        )
        return sum(int(log.execute(query).fetchone()[0]) for query in queries)
