"""A wall clock that is set while the service runs, or while it is down: nothing starves, storms or is thrown away."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults import ledger
from tests.faults.shim import Shim
from tests.faults.trial import Trial
from tests.support.service import klenhook, records

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Figure
    from tests.support.service import Process

DAY: Final = 86_400
SOON: Final = 2.0
"""Seconds that `soon` waits; `late` waits for an hour."""
PLUGIN: Final = (
    ledger.PLUGIN
    + f"""
import time
from receiver import Retry

attempts = os.open(Path(__file__).with_name("attempts"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

def note(ctx: Context, handler: str) -> None:
    os.write(attempts, f"{{handler}} {{ctx.event_id}} {{time.monotonic()}}\\n".encode())

@on(AnyEvent, stale="run", ordered=False)
async def soon(event: AnyEvent, ctx: Context) -> None:
    note(ctx, "soon")
    if ctx.attempt == 1:
        raise Retry(after={SOON})

@on(AnyEvent, stale="run", ordered=False)
async def late(event: AnyEvent, ctx: Context) -> None:
    note(ctx, "late")
    raise Retry(after=3600)
"""
)
DECADE: Final = 3650 * DAY


class Attempts:
    """What the handlers have noted of their attempts, by the clock that nobody sets."""

    def __init__(self, trial: Trial) -> None:
        self._file = trial.folder / "plugins" / "attempts"

    def of(self, handler: str) -> dict[str, list[float]]:
        """When each event was tried."""
        found: dict[str, list[float]] = {}
        for line in self._file.read_text().splitlines():
            name, event_id, moment = line.split()
            if name == handler:
                found.setdefault(event_id, []).append(float(moment))
        return found

    def wait_until_ended(self, process: Process, seconds: float = 45) -> None:
        """Until `soon` was called twice for each event."""
        until = time.monotonic() + seconds
        while not all(len(moments) == 2 for moments in self.of("soon").values()):
            assert process.alive
            assert time.monotonic() < until, "what waits for its time starves"
            time.sleep(0.1)


def send(trial: Trial, seconds: float) -> None:
    """A few events."""
    with trial.sending("book", "--connections", "2", "--pause", "0.03"):
        time.sleep(seconds)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "jump",
    [DAY, -DAY, DECADE, pytest.param(-DECADE, marks=pytest.mark.prove)],
    ids=["a day on", "a day back", "ten years on", "ten years back"],
)
def test_a_clock_that_is_set_changes_no_wait(
    tmp_path: Path, library: Path, figure: Figure, jump: int
) -> None:
    """What waits for its next attempt waits as long as was decided; what is due runs; nothing old is removed."""
    trial = Trial(tmp_path, plugin=PLUGIN)
    attempts = Attempts(trial)
    with Shim(library, trial.log) as shim, trial.service(env=shim.env) as process:
        process.wait_ready()
        send(trial, 0.5)
        shim.set_clock(jump)
        send(trial, 1.5)
        attempts.wait_until_ended(process)
        shim.set_clock(0)
        send(trial, 0.5)
        attempts.wait_until_ended(process)
        shim.set_clock(jump)
        klenhook(tmp_path, "replay", "--yes", "--to", "ledger", "--type", "calendar.*")
        klenhook(tmp_path, "db", "prune", "--yes")
        assert process.terminate() == 0
    trial.check()
    assert [one["seq"] for one in records(tmp_path, "--after", "0")] == list(range(1, _events(trial) + 1))
    waits = [second - first for first, second in attempts.of("soon").values()]
    assert min(waits) > SOON * 0.9
    assert Counter(len(moments) for moments in attempts.of("late").values()) == {1: _events(trial)}
    figure(f"{jump / DAY:+,.0f} days: {len(waits)} retries after {min(waits):.1f} to {max(waits):.1f} s")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "jump",
    [-DAY, pytest.param(-DECADE, marks=pytest.mark.prove)],
    ids=["a day back", "ten years back"],
)
def test_a_clock_that_is_set_back_while_it_is_down_starves_nothing(
    tmp_path: Path, library: Path, jump: int
) -> None:
    """What a killed service left with a time to come, by the clock it had, waits no longer than was decided."""
    trial = Trial(tmp_path, plugin=PLUGIN)
    attempts = Attempts(trial)
    with Shim(library, trial.log) as shim:
        with trial.service(env=shim.env) as process:
            process.wait_ready()
            send(trial, 1.0)
            process.kill()
        shim.set_clock(jump)
        with trial.service(env=shim.env) as process:
            process.wait_ready()
            attempts.wait_until_ended(process)
            process.kill()
    with closing(sqlite3.connect(trial.log)) as log:
        latest = log.execute("SELECT max(due_at) FROM run").fetchone()[0]
    assert latest < (time.time() + jump + 3700) * 1000
    trial.check()


def _events(trial: Trial) -> int:
    return int(json.loads(klenhook(trial.folder, "log", "list", "--count").stdout))
