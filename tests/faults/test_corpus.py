"""Hostile input: whatever arrives, the answer is one of our own, nothing breaks, nothing grows."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.corpus.make import CORPUS, files
from tests.faults.trial import Trial
from tests.support.klen import distinct, headers, post, read_answer, request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Figure, Size
    from tests.support.service import Process

OUTCOMES: dict[str, list[str]] = json.loads((CORPUS / "outcomes.json").read_text())
SIDE_BY_SIDE = 60
QUIET_SECONDS = 0.1
"""After the first answer: what else comes on the connection."""
MOST_GROWTH = 32 * 2**20
PLUGIN = """
from receiver import AnyEvent, on

@on(AnyEvent, stale="run")
async def reader(event: AnyEvent) -> None:
    repr(event)
    str(event.raw)
"""
"""A handler that reads everything there is to read."""


def test_the_corpus_is_what_its_script_writes() -> None:
    """Each file and each outcome comes from `python -m tests.corpus.make`; there are hundreds."""
    made = files()
    there = {
        str(path.relative_to(CORPUS)) for folder in ("bodies", "http") for path in (CORPUS / folder).iterdir()
    }

    assert made.keys() == there == OUTCOMES.keys()
    assert len(made) >= 200
    for path, (content, allowed) in made.items():
        assert content == (CORPUS / path).read_bytes(), path
        assert list(allowed) == OUTCOMES[path], path


async def play(port: int, data: bytes) -> list[str]:
    """Send bytes on a connection of their own: the status of each answer, `closed` if there was none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    statuses: list[str] = []
    try:
        writer.write(data)
        async with asyncio.timeout(20):
            statuses.append(str((await read_answer(reader, body=b"HEAD " not in data[:5])).status))
        while True:
            async with asyncio.timeout(QUIET_SECONDS):
                statuses.append(str((await read_answer(reader)).status))
    except (OSError, asyncio.IncompleteReadError, TimeoutError):
        return statuses or ["closed"]
    finally:
        writer.close()


async def play_all(port: int, folder: str = "") -> dict[str, list[str]]:
    """Play the whole corpus, or one folder of it: what came of each file."""
    places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(path: str) -> tuple[str, list[str]]:
        content = (CORPUS / path).read_bytes()
        data = request(content, headers(content)) if path.startswith("bodies") else content
        async with places:
            return path, await play(port, data)

    return dict(await asyncio.gather(*(one(path) for path in OUTCOMES if path.startswith(folder))))


@pytest.mark.timeout(1200)
async def test_hostile_input_changes_nothing(tmp_path: Path, size: Size, figure: Figure) -> None:
    """No 5xx, no traceback, no growth; what is answered 200 is in the log, what is 400 and signed is kept."""
    trial = Trial(tmp_path, plugin=PLUGIN)
    with trial.service(env={"KLENHOOK_SERVER__BODY_TIMEOUT_SECONDS": "1"}) as process:
        await asyncio.to_thread(process.wait_ready)
        played = [await play_all(trial.port)]
        before = await settled_memory(trial, process)
        # Connections that run into their time limit take ten seconds, so the short form leaves them out.
        played += [await play_all(trial.port, "" if number else "bodies") for number in range(size(1, 50))]
        grown = await settled_memory(trial, process) - before
        assert (await post(trial.port, distinct())).status == 200
        assert await asyncio.to_thread(process.terminate) == 0

    unexpected = {
        path: statuses
        for outcomes in played
        for path, statuses in outcomes.items()
        if statuses[0] not in OUTCOMES[path]
    }
    assert unexpected == {}
    assert not {
        status
        for outcomes in played
        for statuses in outcomes.values()
        for status in statuses
        if status[0] == "5"
    }
    assert "Traceback" not in process.output.read_text()
    assert grown < MOST_GROWTH
    _check_log(trial, {path: statuses[0] for path, statuses in played[0].items()})
    figure(f"{len(OUTCOMES)} files, played {len(played)} times, memory grew by {grown / 2**20:.1f} MiB")


async def settled_memory(trial: Trial, process: Process) -> int:
    """Resident memory when every handler has ended."""
    async with asyncio.timeout(60):
        while _unfinished(trial):
            await asyncio.sleep(0.1)
    return process.resident_bytes()


def _unfinished(trial: Trial) -> bool:
    with closing(sqlite3.connect(f"file:{trial.log}?mode=ro", uri=True)) as log:
        states = {state for (state,) in log.execute("SELECT DISTINCT state FROM runs")}
        unrouted = log.execute("SELECT count(*) FROM events WHERE runs = '{}'").fetchone()[0]
    return bool(unrouted or states - {"done", "discarded", "skipped"})


def _check_log(trial: Trial, outcomes: dict[str, str]) -> None:
    """The log agrees with the answers, to the byte."""
    with closing(sqlite3.connect(trial.log)) as log:
        assert log.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        known = {bytes(digest).hex() for (digest,) in log.execute("SELECT body_sha256 FROM event")}
        kept = {bytes(digest).hex() for (digest,) in log.execute("SELECT body_sha256 FROM refused")}
        for digest, body in log.execute(
            "SELECT body_sha256, body FROM event UNION ALL SELECT body_sha256, body FROM refused"
        ):
            assert hashlib.sha256(body).digest() == digest
    for path, status in outcomes.items():
        if path.startswith("bodies"):
            digest = hashlib.sha256((CORPUS / path).read_bytes()).hexdigest()
            assert digest in (known if status == "200" else kept), path


@pytest.mark.timeout(1200)
async def test_each_answer_is_quick(tmp_path: Path) -> None:
    """Alone on its connection, each signed body is answered in far less than the sender's patience."""
    trial = Trial(tmp_path, plugin="")
    slowest = (0.0, "")
    with trial.service() as process:
        await asyncio.to_thread(process.wait_ready)
        reader, writer = await asyncio.open_connection("127.0.0.1", trial.port)
        for path in OUTCOMES:
            if path.startswith("bodies"):
                content = (CORPUS / path).read_bytes()
                started = time.monotonic()
                writer.write(request(content, headers(content)))
                await read_answer(reader)
                slowest = max(slowest, (time.monotonic() - started, path))
        writer.close()
    assert slowest[0] < 2, slowest
