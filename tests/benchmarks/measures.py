"""What is measured, in interleaved rounds, and the floor of each figure.

A figure that compares is computed within its round: one machine, one minute, one client, so that whatever
else the machine does touches both sides. The rule easiest to break: a contender's turn ends only when the
service is idle again, or its backlog slows down whoever comes next.
"""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.benchmarks.processes import KLENHOOK, NO_OP, Server, run_module, service, yardstick

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that is told, and how good it has to be."""

    name: str
    title: str
    floor: float | None = None
    at_most: bool = False
    """The floor is a ceiling."""

    def passes(self, value: float) -> bool:
        """Whether the figure is good enough."""
        if self.floor is None:
            return True
        return value <= self.floor if self.at_most else value >= self.floor


MEASURES: Final = (
    Measure("bare_rate", "bare aiohttp handler, requests/s"),
    Measure("commit_rate", "one commit per request, requests/s"),
    Measure("huey_rate", "huey enqueue, tasks/s"),
    Measure("intake_rate", "durable intake, requests/s"),
    Measure("handled_intake_rate", "durable intake with a handler, requests/s"),
    Measure("done_rate", "events to done, events/s"),
    Measure("intake_to_bare", "durable intake / bare aiohttp handler", 0.5),
    Measure("intake_to_commit", "durable intake / one commit per request", 3),
    Measure("handled_to_commit", "durable intake with a handler / one commit per request", 2),
    Measure("done_to_huey", "events to done / huey enqueue", 1),
    Measure("intake_p99_ms", "p99 of the answer, ms", 25, at_most=True),
    Measure("handled_p99_ms", "p99 of the answer with a handler, ms", 25, at_most=True),
    Measure("resident_mb", "resident memory after the load, MB", 120, at_most=True),
    Measure("start_s", "start to /readyz on an empty log, s", 1, at_most=True),
    Measure("help_s", "klenhook --help, s", 0.3, at_most=True),
)

RATIOS: Final = {
    "intake_to_bare": ("intake_rate", "bare_rate"),
    "intake_to_commit": ("intake_rate", "commit_rate"),
    "handled_to_commit": ("handled_intake_rate", "commit_rate"),
    "done_to_huey": ("done_rate", "huey_rate"),
}


def measured(folder: Path, wanted: Iterable[str], *, rounds: int, count: int) -> dict[str, list[float]]:
    """Each wanted figure, once per round. `count` is the requests of one turn.

    One more round, the first, warms everybody up and does not count.
    """
    needed = set(wanted)
    needed.update(name for ratio in needed & RATIOS.keys() for name in RATIOS[ratio])
    results: dict[str, list[float]] = defaultdict(list)
    with ExitStack() as stack:
        contenders = Contenders(folder, needed, stack)
        contenders.turn(0, count)
        for number in range(1, rounds + 1):
            turn = contenders.turn(number, count)
            turn |= {r: turn[a] / turn[b] for r, (a, b) in RATIOS.items() if turn.keys() >= {a, b}}
            for name, value in turn.items():
                results[name].append(value)
    return dict(results)


class Contenders:
    """Everything that takes part, side by side for the whole run."""

    def __init__(self, folder: Path, needed: set[str], stack: ExitStack) -> None:
        """Start the servers that are needed."""
        self._folder = folder
        self._needed = needed
        self._bare = self._commit = self._intake = self._handled = None
        if "bare_rate" in needed:
            self._bare = stack.enter_context(yardstick(folder, "bare"))
        if "commit_rate" in needed:
            self._commit = stack.enter_context(yardstick(folder, "commit", str(folder / "commit.db")))
        if needed & {"intake_rate", "intake_p99_ms", "resident_mb"}:
            self._intake = stack.enter_context(service(folder / "intake"))
        if needed & {"handled_intake_rate", "handled_p99_ms", "done_rate", "resident_mb"}:
            self._handled = stack.enter_context(service(folder / "handled", plugin=NO_OP))

    def turn(self, number: int, count: int) -> dict[str, float]:
        """One round: everybody once."""
        figures: dict[str, float] = {}
        if self._bare:
            figures["bare_rate"] = self._bare.load(count)["rate"]
        if self._intake:
            report = self._intake.load(count)
            self._intake.settle()
            figures |= {"intake_rate": report["rate"], "intake_p99_ms": report["p99_ms"]}
        if self._commit:
            figures["commit_rate"] = self._commit.load(count)["rate"]
        if self._handled:
            figures |= _handled(self._handled, count)
        if "huey_rate" in self._needed:
            file = str(self._folder / f"huey-{number}.db")
            figures["huey_rate"] = run_module("tests.benchmarks.yardsticks", "huey", file, str(count))["rate"]
        if self._intake and self._handled:
            figures["resident_mb"] = max(self._intake.resident_mb(), self._handled.resident_mb())
        if "start_s" in self._needed:
            figures["start_s"] = _start_seconds(self._folder / f"start-{number}")
        if "help_s" in self._needed:
            figures["help_s"] = _help_seconds()
        return figures


def _handled(server: Server, count: int) -> dict[str, float]:
    report = server.load(count)
    done_rate = count / (server.last_done() - report["started_at"])
    return {
        "handled_intake_rate": report["rate"],
        "handled_p99_ms": report["p99_ms"],
        "done_rate": done_rate,
    }


def _start_seconds(folder: Path) -> float:
    started = time.perf_counter()
    with service(folder, plugin=NO_OP):
        return time.perf_counter() - started


def _help_seconds() -> float:
    started = time.perf_counter()
    subprocess.run([str(KLENHOOK), "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
