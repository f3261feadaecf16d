"""The ledger rule is no formality: each way to break it is found."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.faults import ledger
from tests.faults.trial import Trial

if TYPE_CHECKING:
    from pathlib import Path

TAMPERING = {
    "missing": "DELETE FROM event WHERE seq = 3",
    "foreign": "UPDATE event SET body = x'00', body_sha256 = "
    "x'6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d' WHERE seq = 3",
    "twice": "INSERT INTO event SELECT 999999, 'another', source_id, origin, received_at, delivery_id, "
    "provenance_id, event_type, calendar_event_uuid, calendar_event_id, call_id, occurred_at, title, status, "
    "start_at, end_at, flags, body_sha256, body FROM event WHERE seq = 3",
    "altered": "UPDATE event SET body = x'00' WHERE seq = 3",
    "unfinished": "UPDATE run SET state = 'pending' WHERE seq = 3",
    "without_effect": "UPDATE run SET state = 'done'",
    "miscounted": "UPDATE store SET value = '[]' WHERE key = (SELECT max(key) FROM store)",
    "damage": "a page of the file is overwritten",
}


@pytest.fixture(name="trial", scope="module")
def _trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A log that is all right, with its book."""
    trial = Trial(tmp_path_factory.mktemp("trial"))
    with trial.service() as process:
        process.wait_ready()
        with trial.sending():
            time.sleep(0.5)
        process.terminate()
    trial.settle()
    return trial


@pytest.mark.parametrize("kind", TAMPERING)
def test_a_broken_rule_is_found(tmp_path: Path, trial: Trial, kind: str) -> None:
    """A log that lost, invented, doubled, changed or forgot something is told from a good one."""
    copy = tmp_path / "copy.db"
    shutil.copy(trial.log, copy)
    effects = tmp_path / "effects"
    lines = trial.effects.read_text().splitlines(keepends=True)
    effects.write_text("".join(lines[:-1] if kind == "without_effect" else lines))
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        if kind == "damage":
            _damage(copy, connection)
        else:
            connection.execute(TAMPERING[kind])

    findings = ledger.check(trial.book(), copy, effects, ended=True)

    assert getattr(findings, kind), findings
    assert not trial.findings(ended=True)


def _damage(log: Path, connection: sqlite3.Connection) -> None:
    """Overwrite a page in the middle of the file."""
    pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    with log.open("r+b") as file:
        file.seek(pages // 2 * size)
        file.write(b"\xff" * size)
