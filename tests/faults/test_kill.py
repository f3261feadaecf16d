"""`kill -9` under load: what was acknowledged is in the log after the restart, once, and is handled."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import unused_port

from tests.support.ledger import Ledger
from tests.support.service import Process, write_config, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 4


@pytest.mark.timeout(180)
async def test_nothing_acknowledged_is_lost_and_everything_is_handled(tmp_path: Path) -> None:
    """Acked ⊆ stored ⊆ sent after every kill; in the end each stored event had at least one effect."""
    port = unused_port()
    write_config(tmp_path, port=port)
    write_plugin(
        tmp_path,
        "import hashlib\n"
        "from pathlib import Path\n"
        "from receiver import AnyEvent, Context, on\n"
        "effects = (Path(__file__).with_name('effects')).open('a', buffering=1)\n"
        "@on(AnyEvent)\n"
        "async def note(event: AnyEvent, ctx: Context) -> None:\n"
        "    print(ctx.event_id, file=effects)\n",
    )
    ledger = Ledger()
    seed = random.randrange(2**32)  # noqa: S311 -- moments, not secrets
    moments = random.Random(seed)  # noqa: S311 -- as above
    for _ in range(KILLS):
        with Process(tmp_path, port=port) as process:
            process.wait_ready()
            stop = asyncio.Event()
            load = asyncio.create_task(ledger.load(port, stop))
            await asyncio.sleep(moments.uniform(0.2, 1.5))
            process.kill()
            stop.set()
            await load
        _check(tmp_path, ledger, seed)

    with Process(tmp_path, port=port) as process:
        process.wait_ready()
        for _ in range(300):
            if not _unfinished(tmp_path):
                break
            await asyncio.sleep(0.1)
        assert process.terminate() == 0
    _check(tmp_path, ledger, seed)
    assert len(ledger.acked) > 100, "the load was too small to show anything"
    effects = set((tmp_path / "plugins" / "effects").read_text().split())
    assert set(ledger.acked.values()) <= effects


def _check(folder: Path, ledger: Ledger, seed: int) -> None:
    with closing(sqlite3.connect(f"file:{folder / 'klenhook.db'}?mode=ro", uri=True)) as log:
        stored = dict(log.execute("SELECT body_sha256, event_id FROM events").fetchall())
        bodies = log.execute("SELECT body_sha256, body FROM event").fetchall()
        assert log.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    missing = {
        digest: event_id for digest, event_id in ledger.acked.items() if stored.get(digest) != event_id
    }
    assert missing == {}, f"seed {seed}"
    assert set(stored) <= ledger.sent
    assert len(bodies) == len(stored)
    assert all(hashlib.sha256(body).digest() == digest for digest, body in bodies)


def _unfinished(folder: Path) -> int:
    with closing(sqlite3.connect(f"file:{folder / 'klenhook.db'}?mode=ro", uri=True)) as log:
        runs = log.execute(
            "SELECT count(*) FROM runs WHERE state IN ('pending', 'running', 'retrying')"
        ).fetchone()
        events = log.execute("SELECT count(*) FROM events WHERE runs = '{}'").fetchone()
    return int(runs[0]) + int(events[0])
