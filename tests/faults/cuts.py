"""Cuts the power at many moments of one trace, and looks what is left: `python -m tests.faults.cuts ...`.

Prints one JSON object. Each cut is a moment and one model of what the disk kept; the log is then opened as
after any crash, and every event that was acknowledged up to that moment has to be in it, whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from storage import open_log
from storage.errors import StorageError
from tests.faults import ledger
from tests.faults.book import read_book
from tests.faults.ledger import Findings
from tests.faults.powercut import MODELS, Disk
from tests.faults.shim import read_trace

if TYPE_CHECKING:
    from tests.faults.shim import Record

OPENED: Final = 20
"""Every so many cuts, and always before the first answer, the service's own code opens the log as well."""
WORKED: Final = 5
"""Every so many cuts, what handlers have done is compared as well."""
ROOT: Final = Path(__file__).resolve().parents[2]

_acknowledged = re.compile(rb'"status": "(?:accepted|duplicate)", "event_id": "([0-9a-f-]{36})"')


@dataclass(slots=True)
class Tally:
    """How many cuts there were, and what was wrong after them."""

    cuts: int = 0
    wrong: int = 0
    lost: int = 0
    """The most acknowledged events that one cut lost."""
    by_model: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODELS, 0))
    """How many went wrong under each model."""
    examples: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another's cuts in."""
        self.cuts += other.cuts
        self.wrong += other.wrong
        self.lost = max(self.lost, other.lost)
        for model, wrong in other.by_model.items():
            self.by_model[model] += wrong
        self.examples += other.examples


def cut(trace: Path, book: Path, cuts: int, seed: int, *, side_by_side: int = 2) -> Tally:
    """Make this many cuts, in processes side by side."""
    shares = [cuts // side_by_side + (number < cuts % side_by_side) for number in range(side_by_side)]
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.faults.cuts",
                str(trace),
                str(book),
                str(share),
                str(seed + number),
            ],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        for number, share in enumerate(shares)
    ]
    total = Tally()
    for worker in workers:
        output, _ = worker.communicate()
        assert worker.returncode == 0, "the cutting failed"
        total.add(Tally(**json.loads(output)))
    return total


class Cutter:
    """Walks along a trace and cuts where it is told."""

    def __init__(self, log: Path, numbers: dict[str, int], choice: random.Random) -> None:
        """`log` is where the outcomes are written; `numbers` are the events that were sent, by their hash."""
        self._log = log
        self._numbers = numbers
        self._choice = choice
        self._disk = Disk()
        self._acknowledged: set[str] = set()
        self.tally = Tally()

    def take(self, record: Record) -> None:
        """Go on by one record."""
        if record.call == "A":
            self._acknowledged.update(match.decode() for match in _acknowledged.findall(record.data))
        else:
            self._disk.take(record)

    def cut(self) -> None:
        """Cut the power now, and judge what is left."""
        tally = self.tally
        model = MODELS[tally.cuts % len(MODELS)]
        self._disk.cut(self._log, model, self._choice)
        findings = Findings()
        if not self._acknowledged or tally.cuts % OPENED == 0:
            self._open(findings)
        if self._acknowledged:
            self._judge(findings)
        tally.cuts += 1
        tally.lost = max(tally.lost, len(findings.missing))
        if findings:
            tally.wrong += 1
            tally.by_model[model] += 1
            if len(tally.examples) < 3:
                tally.examples.append(f"{model}: {findings}")

    def _open(self, findings: Findings) -> None:
        """As the service does at its start, migrations and all."""

        async def opening() -> None:
            log = await open_log(f"sqlite:///{self._log}")
            await log.aclose()

        try:
            asyncio.run(opening())
        except StorageError as error:
            findings.damage.append(f"refused: {error}")

    def _judge(self, findings: Findings) -> None:
        try:
            with closing(ledger.open_log(self._log)) as connection:
                verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
                if verdict != "ok":
                    findings.damage.append(str(verdict))
                stored = dict(ledger.check_stored(connection, self._numbers, findings))
                if self.tally.cuts % WORKED == 0:
                    ledger.check_work(connection, None, findings, ended=False)
        except sqlite3.Error as error:
            findings.damage.append(f"{type(error).__name__}: {error}")
        else:
            findings.missing += sorted(self._acknowledged - stored.keys())


def main() -> None:
    """Cut at random moments, the same ones for the same seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("trace", type=Path)
    parser.add_argument("book", type=Path)
    parser.add_argument("cuts", type=int)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    choice = random.Random(options.seed)  # noqa: S311 -- moments, not secrets
    records = list(read_trace(options.trace))
    moments = sorted(choice.choices(range(len(records)), k=options.cuts))
    book = read_book(options.book)
    numbers = {digest: number for number, sent in book.events.items() for digest in sent.digests}
    memory = Path("/dev/shm")  # noqa: S108 -- a private folder is made in it
    with tempfile.TemporaryDirectory(prefix="cuts-", dir=memory if memory.is_dir() else None) as folder:
        cutter = Cutter(Path(folder).resolve() / "klenhook.db", numbers, choice)
        at = 0
        for index, record in enumerate(records):
            cutter.take(record)
            while at < len(moments) and moments[at] == index:
                cutter.cut()
                at += 1
    print(json.dumps(asdict(cutter.tally)))


if __name__ == "__main__":
    main()
