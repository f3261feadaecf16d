"""`kill -9` while the log is compared with a local Klen: what was missed is found in the end, each once."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from receiver.sandbox import APIKey, Sandbox
from receiver.sandbox.burst import burst
from tests.faults import ledger
from tests.faults.ledger import Findings
from tests.faults.trial import Trial
from tests.support.service import klenhook

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.faults.conftest import Figure, Size

KEY = APIKey("klen_sandbox_test", frozenset({"can_read_calendar"}), requests_per_minute=100_000)
NEW = 30
"""Appointments that are booked, unseen, before each comparison."""
TWICE = (
    "SELECT calendar_event_uuid, json_extract(CAST(body AS TEXT), '$.calendar_event.title') AS title "
    "FROM event GROUP BY 1, 2 HAVING count(*) > 1"
)


@pytest.mark.timeout(1800)
async def test_a_kill_while_it_reconciles_finds_each_event_once(
    tmp_path: Path, size: Size, moments: random.Random, figure: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of bookings and of changes, in the command and in the service; handlers get each exactly once."""
    trial = Trial(tmp_path)
    async with Sandbox(seed=1, keys=[KEY]) as sandbox:
        monkeypatch.setenv("KLENHOOK_SOURCES__KLEN__API_URL", sandbox.api_url)
        monkeypatch.setenv("KLENHOOK_SOURCES__KLEN__API_KEY", KEY.key)
        monkeypatch.setenv("KLENHOOK_SOURCES__KLEN__API_REQUESTS_PER_MINUTE", "3_000")
        known = burst(sandbox, NEW)
        kills, broken_off = size(12, 100), 0
        for number in range(kills):
            for one in known:
                sandbox.account.update(one.uuid, {"title": f"Round {number}"})
            known = burst(sandbox, NEW)
            await _killed(trial, moments.uniform(0.0, 0.7), by_service=number % 2 == 1)
            broken_off += await asyncio.to_thread(_is_under_way, trial)
        for _ in range(2):  # the first ends what was broken off, and what it had compared may have changed
            await asyncio.to_thread(klenhook, tmp_path, "reconcile")
        again = await asyncio.to_thread(klenhook, tmp_path, "reconcile", "--json")
        assert again.stdout == "", "what was recorded is found missing once more"
        titles = {one.uuid: one.title for one in sandbox.world}
    monkeypatch.undo()
    await asyncio.to_thread(_settle, trial)
    with closing(ledger.open_log(trial.log)) as log:
        assert log.execute(TWICE).fetchall() == []
        assert dict(log.execute("SELECT calendar_event_uuid, title FROM calendar_events")) == titles
        [found] = log.execute("SELECT count(*) FROM event").fetchone()
    assert broken_off, "no kill came at the right moment"
    figure(f"{kills} kills, {broken_off} comparisons broken off, {found:,} events found, each once")


async def _killed(trial: Trial, seconds: float, *, by_service: bool) -> None:
    """A comparison, and its end so many seconds after it was begun."""
    if by_service:
        with trial.service() as process:
            await asyncio.to_thread(process.wait_ready)
            asked = _asking(trial)
            await _begun(trial)
            await asyncio.sleep(seconds)
            process.kill()
    else:
        asked = _asking(trial)
        await _begun(trial)
        await asyncio.sleep(seconds)
    asked.kill()
    await asyncio.to_thread(asked.wait)


async def _begun(trial: Trial) -> None:
    """Until a comparison is under way; one that has ended before anybody looked is waited for in vain."""
    until = time.monotonic() + 3
    while time.monotonic() < until and not _is_under_way(trial):
        await asyncio.sleep(0.02)


def _asking(trial: Trial) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "receiver", "reconcile"],
        cwd=trial.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _is_under_way(trial: Trial) -> bool:
    """Whether the latest comparison has begun, and has not ended."""
    try:
        with closing(sqlite3.connect(f"file:{trial.log}?mode=ro", uri=True)) as log:
            [latest] = log.execute(
                "SELECT finished_at FROM reconciliation ORDER BY reconciliation_id DESC LIMIT 1"
            ).fetchall()
    except (sqlite3.OperationalError, ValueError):
        return False
    return bool(latest == (None,))


def _settle(trial: Trial) -> None:
    """Let the handlers end their work, and compare what they did with the log."""
    trial.work_off()
    klenhook(trial.folder, "db", "check")
    findings = Findings()
    with closing(ledger.open_log(trial.log)) as log:
        ledger.check_work(log, set(trial.effects.read_text().split()), findings, ended=True)
    assert not findings, findings
