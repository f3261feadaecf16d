"""`kill -9` while the log is looked after: pruning and backups are whole or have not happened."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.faults import ledger
from tests.faults.sender import body_of
from tests.faults.trial import Trial
from tests.support.klen import post
from tests.support.service import klenhook

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.faults.conftest import Figure, Size

AGAIN = 50
"""Events that are sent once more after they were pruned."""


def command(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A command of ours, at work."""
    return subprocess.Popen(
        [sys.executable, "-m", "receiver", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def filled(folder: Path) -> Trial:
    """A log with some hundred events, all of them handled."""
    trial = Trial(folder)
    with trial.service() as process:
        process.wait_ready()
        with trial.sending("book", "--repeat", "0", "--connections", "8"):
            time.sleep(0.5)
    trial.settle()
    return trial


@pytest.mark.timeout(1200)
def test_a_kill_while_it_prunes_forgets_no_identity(
    tmp_path: Path, size: Size, moments: random.Random, figure: Figure
) -> None:
    """What is left is whole, and what went is still recognised when it is delivered once more."""
    trial, kills = filled(tmp_path), size(2, 60)
    acked = list(trial.book().acked)
    for number in range(kills):
        with trial.service() as process:
            if number % 2:  # the service does it, and is killed; else the command does
                process.wait_ready()
            else:
                process.kill()
            prune = command(tmp_path, "db", "prune", "--older-than", "0s", "--yes")
            time.sleep(moments.uniform(0.4, 1.0))
            process.kill()
            prune.kill()
            prune.wait()
        _check_pruned(trial)
    klenhook(tmp_path, "db", "prune", "--older-than", "0s", "--yes")
    _check_pruned(trial)
    with trial.service() as process:
        process.wait_ready()
        for number in acked[:AGAIN]:
            answer = asyncio.run(post(trial.port, body_of(number, 0), delivery_id=f"delivery-{number}"))
            assert answer.json["status"] == "duplicate"
        assert process.terminate() == 0
    figure(f"{kills} kills while it prunes")


def _check_pruned(trial: Trial) -> None:
    """As the ledger has it, but for what may be missing."""
    findings = ledger.check(trial.book(), trial.log)
    findings.missing.clear()
    assert not findings, findings
    klenhook(trial.folder, "db", "check")


@pytest.mark.timeout(1200)
def test_a_kill_of_a_backup_leaves_a_whole_one_or_none(
    tmp_path: Path, size: Size, moments: random.Random, figure: Figure
) -> None:
    """Under load, too: a backup that is there has everything that was acknowledged before it was asked for."""
    trial = Trial(tmp_path)
    backup = tmp_path / "backup.db"
    backups, made = size(4, 80), 0
    with trial.service() as process:
        process.wait_ready()
        with trial.sending("book", "--connections", "2", "--pause", "0.01"):
            for number in range(backups):
                before = trial.book() if (tmp_path / "book").stat().st_size else None
                copying = command(tmp_path, "db", "backup", str(backup))
                if number % 4 < 3:
                    time.sleep(moments.uniform(0.3, 2))
                    copying.kill()
                copying.wait(60)
                if not backup.exists():
                    continue
                made += 1
                with closing(sqlite3.connect(backup)) as copy:
                    assert copy.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
                    stored = {event_id for (event_id,) in copy.execute("SELECT event_id FROM event")}
                acked = {
                    event_id for sent in (before.acked.values() if before else ()) for event_id in sent.acked
                }
                assert acked <= stored
                backup.unlink()
        process.terminate()
    assert made, "no backup was ever finished"
    trial.settle()
    figure(f"{backups} backups, {made} of them in time")
