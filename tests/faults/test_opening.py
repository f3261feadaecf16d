"""Every call to the disk fails, one after the other: opening, recovering, migrating, working and closing survive it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from storage.sqlite.connection import SCHEMA_VERSION
from tests.faults.shim import ALL_CALLS, FOREVER, KILL, Shim
from tests.faults.trial import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Figure, Size

STATES = ["new", "crashed", *(str(version) for version in range(1, SCHEMA_VERSION))]
"""Where it begins: with no file, with one that a crash left, with one of each earlier version."""
OURS = {"ok", "LogUnusable", "LogUnavailable", "LogBroken"}


def fail_each_call(folder: Path, library: Path, state: str, error: int, last: int, step: int) -> Counter[str]:
    """Let every `step`th call fail; how often each ending was seen."""
    folder.mkdir()
    log = folder / "klenhook.db"
    with Shim(library, log) as shim:
        arguments = [state, str(log), *(str(number) for number in (int(ALL_CALLS), error, last, step))]
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.opening", *arguments],
            env=os.environ | shim.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    endings: Counter[str] = Counter()
    for line in done.stdout.splitlines():
        report = json.loads(line)
        assert not report["wrong"], report
        endings[report["ending"]] += 1
    return endings


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("state", STATES)
def test_a_kill_at_any_call_is_survived(
    tmp_path: Path, library: Path, size: Size, figure: Figure, state: str
) -> None:
    """The next start finds a log of the old or the new version, with everything that was acknowledged."""
    endings = fail_each_call(tmp_path / "log", library, state, KILL, 0, size(13 if state == "new" else 9, 1))

    assert set(endings) == {"SIGKILL", "ok"}
    figure(f"{endings['SIGKILL']} kills from {state}")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("error", "last"),
    [
        (errno.EIO, 0),
        (errno.ENOSPC, FOREVER),
        *(
            pytest.param(error, last, marks=pytest.mark.prove)
            for error, last in [
                (errno.EIO, FOREVER),
                (errno.ENOSPC, 0),
                (errno.EROFS, 0),
                (errno.EROFS, FOREVER),
                (errno.EACCES, 0),
                (errno.EACCES, FOREVER),
            ]
        ),
    ],
)
def test_an_error_at_any_call_is_told_and_survived(
    tmp_path: Path, library: Path, size: Size, figure: Figure, error: int, last: int
) -> None:
    """It ends with one of our own errors or with none; the next start finds everything acknowledged."""
    total = 0
    for state in STATES:
        step = size(19 if state == "new" else 11, 1)
        endings = fail_each_call(tmp_path / state, library, state, error, last, step)
        assert set(endings) <= OURS, endings
        total += endings.total()
    figure(f"{errno.errorcode[error]} {'for ever' if last else 'once'} at {total} calls")
