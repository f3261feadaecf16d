"""Effects under kills: stores and messages come out exactly once, and in order, whatever died when."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import defaultdict
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.faults import ledger
from tests.faults.trial import Trial

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.conftest import Figure, Size

CONFIG = """
[dispatch]
concurrency = 8
retry = {tries = 50, base = 0.02, cap = 0.1}
[outbound]
allow = ["127.0.0.1"]
"""
PLUGIN = """
import os, random
from pathlib import Path
from receiver import AnyEvent, Context, on

effects = os.open(Path(__file__).with_name("effects"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

@on(AnyEvent, stale="run")
async def ledger(event: AnyEvent, ctx: Context) -> None:
    uuid, title = event.calendar_event.uuid, event.calendar_event.title
    if random.random() < 0.0003: os._exit(1)
    if random.random() < 0.05: raise ValueError
    os.write(effects, f"{ctx.event_id}\\n".encode())
    ctx.store.set("total", await ctx.store.get("total", 0) + 1)
    ctx.store.set(uuid, [*await ctx.store.get(uuid, []), title])
    ctx.outbox.post("URL", json={"uuid": uuid, "title": title})
    if random.random() < 0.0003: os._exit(1)
"""
"""Every run writes one key, so that runs about different calendar events get in each other's way."""


class Messages:
    """What the other side of the outbox has received."""

    def __init__(self) -> None:
        self.by_key: dict[str, str] = {}
        self.in_order: dict[str, list[str]] = defaultdict(list)

    async def receive(self, request: web.Request) -> web.Response:
        """Take a message once for each key, as a receiver does that honours it."""
        message = await request.json()
        key = request.headers["Idempotency-Key"]
        if key not in self.by_key:
            self.by_key[key] = message["title"]
            self.in_order[message["uuid"]].append(message["title"])
        return web.Response()


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[str, Messages]]:
    """A server for messages, and its address."""
    messages = Messages()
    app = web.Application()
    app.router.add_post("/", messages.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", messages
    finally:
        await runner.cleanup()


@pytest.mark.timeout(1200)
async def test_each_effect_happens_once_and_in_order(
    tmp_path: Path, size: Size, moments: random.Random, figure: Figure
) -> None:
    """After kills at random moments, and with a handler that kills the process and fails at random.

    Each event counts once in the store, each calendar event's titles are in the order of the log, and each
    message was received under one key, in that order too.
    """
    async with receiving() as (url, messages):
        trial = Trial(tmp_path, CONFIG, plugin=PLUGIN.replace("URL", url))
        kills = size(5, 60)
        with trial.sending("book", "--connections", "4", "--pause", "0.02"):
            for _ in range(kills):
                with trial.service() as process:
                    while process.alive and not await asyncio.to_thread(process.is_ready):
                        await asyncio.sleep(0.02)  # the handler may kill it before it is ready
                    await asyncio.sleep(moments.uniform(0.1, 1.0))
                    process.kill()
        await asyncio.to_thread(_settle, trial)

    with closing(sqlite3.connect(f"file:{trial.log}?mode=ro", uri=True)) as log:
        events = log.execute("SELECT calendar_event_uuid, title FROM events ORDER BY seq").fetchall()
        store = {key: json.loads(value) for key, value in log.execute("SELECT key, value FROM store")}
    expected: dict[str, list[str]] = defaultdict(list)
    for about, title in events:
        expected[about].append(title)
    assert len(events) == store.pop("total")
    assert expected == store
    assert len(events) == len(messages.by_key)
    assert expected == messages.in_order
    assert len(events) > kills * 10, "the load was too small to show anything"
    figure(f"{kills} kills, {len(events):,} events, each effect once")


def _settle(trial: Trial) -> None:
    """Start the service again and again, as a supervisor would, until nothing is left to do."""
    for _ in range(60):
        with trial.service() as process:
            while process.alive:
                if process.is_ready() and not ledger.left(trial.log):
                    process.terminate()
                    return trial.check(ended=True)
                time.sleep(0.1)
    raise AssertionError("it never came to an end")
