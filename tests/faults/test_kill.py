"""`kill -9` at random moments: what was acknowledged is in the log after the restart, once, and is handled."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # its stubs are not installed
import pytest

from tests.faults.trial import Trial

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.faults.conftest import Figure, Size

BATCH = 50
"""Kills on one log, before the next trial begins with an empty one."""


@pytest.mark.timeout(3600)
def test_a_kill_under_load_loses_nothing(
    tmp_path: Path, size: Size, moments: random.Random, figure: Figure
) -> None:
    """Acked ⊆ stored ⊆ sent, each stored once and handled, and the next start is ready within two seconds.

    Every second kill comes while it starts and takes back what the one before has left, or just after that.
    """
    kills, acked, starts = size(50, 800), 0, [1.0]
    for first in range(0, kills, BATCH):
        folder = tmp_path / str(first)
        folder.mkdir()
        trial = Trial(folder)
        with trial.sending():
            for number in range(min(BATCH, kills - first)):
                with trial.service() as process:
                    if number % 2:
                        time.sleep(moments.uniform(0.2, 1.1) * starts[-1])
                    else:
                        started = time.monotonic()
                        process.wait_ready()
                        starts.append(time.monotonic() - started)
                        time.sleep(moments.uniform(0.0, 0.4))
                    process.kill()
        trial.check()
        trial.settle()
        assert "Traceback" not in (folder / "serve.log").read_text()
        acked += len(trial.book().acked)
    assert acked > kills * 20, "the load was too small to show anything"
    assert max(starts) < 30, "a start takes too long"  # other programs may share the machine
    figure(f"{kills} kills, {acked:,} acknowledged, 0 missing, slowest start {max(starts[1:]):.1f} s")


@pytest.mark.timeout(1200)
def test_a_kill_of_the_writer_alone_loses_nothing(
    tmp_path: Path, size: Size, moments: random.Random, figure: Figure
) -> None:
    """Without the process that writes, nothing is acknowledged any more: the service ends with status 1."""
    trial, kills = Trial(tmp_path), size(4, 60)
    with trial.sending():
        for _ in range(kills):
            with trial.service() as process:
                process.wait_ready()
                [writer] = psutil.Process(process.pid).children()
                time.sleep(moments.uniform(0.0, 0.4))
                writer.kill()
                assert process.wait(30) == 1
    trial.check()
    trial.settle()
    figure(f"{kills} kills of the writer")


@pytest.mark.timeout(1200)
def test_a_kill_while_it_stops_loses_nothing(
    tmp_path: Path, size: Size, moments: random.Random, figure: Figure
) -> None:
    """The same for kills at random moments after SIGTERM, while requests and handlers are finished."""
    trial, kills = Trial(tmp_path), size(5, 120)
    with trial.sending():
        for _ in range(kills):
            with trial.service() as process:
                process.wait_ready()
                time.sleep(moments.uniform(0.05, 0.2))
                process.send_signal(signal.SIGTERM)
                time.sleep(moments.uniform(0.0, 0.25))
                process.kill()
    trial.check()
    trial.settle()
    figure(f"{kills} kills while it stops")


@pytest.mark.timeout(1200)
def test_a_kill_during_a_replay_makes_each_run_once(
    tmp_path: Path, size: Size, moments: random.Random, figure: Figure
) -> None:
    """A replay that was cut off goes on after the restart, and its runs take effect exactly once each."""
    trial, kills = Trial(tmp_path), size(4, 80)
    with trial.sending(), trial.service() as process:
        process.wait_ready()
        time.sleep(0.5)
    for _ in range(kills):
        with trial.service() as process:
            process.wait_ready()
            replay = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "receiver",
                    "replay",
                    "--yes",
                    "--to",
                    "ledger",
                    "--type",
                    "calendar.*",
                ],
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(moments.uniform(0.4, 1.2))
            process.kill()
            replay.kill()
            replay.wait()
    trial.check()
    trial.settle()
    figure(f"{kills} kills during a replay")
