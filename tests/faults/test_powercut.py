"""The power is cut: whatever the disk kept of what was not synced, no acknowledged event is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.cuts import Tally, cut
from tests.faults.shim import Shim
from tests.faults.trial import Trial

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.faults.conftest import Figure, Size

LOAD_SECONDS = 1.0


def record(folder: Path, library: Path, *how: str) -> tuple[Path, Path]:
    """The trace of a service from its first start over a load and a stop to a second load, and the book."""
    trial = Trial(folder)
    command = (sys.executable, "-m", "tests.faults.weakened", *how) if how else None
    with Shim(library, trial.log, trace=True) as shim:
        for again in (False, True):
            with trial.service(env=shim.env, command=command) as process:
                process.wait_ready()
                with trial.sending("book", *(["--repeat", "0"] if how else [])):
                    time.sleep(LOAD_SECONDS / (1 + again))
                process.kill() if again else process.terminate()
        return shim.trace, folder / "book"


@pytest.mark.timeout(14_400)
def test_no_cut_loses_what_was_acknowledged(
    tmp_path: Path, library: Path, size: Size, moments: random.Random, figure: Figure
) -> None:
    """At any moment, from the first start on, under every model of what the disk kept; and the log is whole."""
    total = Tally()
    for number in range(size(1, 20)):
        folder = tmp_path / str(number)
        folder.mkdir()
        trace, book = record(folder, library)
        total.add(cut(trace, book, size(1_000, 5_000), moments.randrange(2**31)))
    assert total.wrong == 0, total
    figure(f"{total.cuts:,} cuts, {total.wrong} lost or damaged anything")


@pytest.mark.timeout(3600)
def test_a_cut_while_the_log_is_made_leaves_none_or_one(
    tmp_path: Path, library: Path, size: Size, moments: random.Random, figure: Figure
) -> None:
    """After a cut at any moment of the very first start, the next one makes the log, or goes on with it."""
    trial = Trial(tmp_path)
    with Shim(library, trial.log, trace=True) as shim:
        subprocess.run(
            [sys.executable, "-m", "receiver", "db", "migrate"],
            cwd=tmp_path,
            env=os.environ | shim.env,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    (tmp_path / "book").touch()
    total = cut(shim.trace, tmp_path / "book", size(600, 20_000), moments.randrange(2**31))
    assert total.wrong == 0, total
    figure(f"{total.cuts:,} cuts")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["synchronous-normal", "answer-first"])
def test_the_cut_convicts_a_service_that_cheats(
    tmp_path: Path, library: Path, moments: random.Random, figure: Figure, how: str
) -> None:
    """A service that does not sync its commits, or answers before them, is seen to lose events."""
    trace, book = record(tmp_path, library, how)
    total = cut(trace, book, 60, moments.randrange(2**31))
    assert total.wrong > total.cuts // 4, total
    assert total.lost > 0, total
    figure(f"{how}: {total.wrong} of {total.cuts} cuts, up to {total.lost} events lost")
