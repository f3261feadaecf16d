"""`klenhook db`: migrate and status."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import TYPE_CHECKING

import pytest

from storage import open_log
from tests.support.commands import Commands, change, fill
from tests.support.service import klenhook, write_config

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    write_config(tmp_path)
    return Commands(tmp_path, monkeypatch, capfd)


def test_migrate_says_what_it_applied(run: Commands) -> None:
    """`db migrate` makes a log or brings it up to date, and names each migration; then there is nothing to do."""
    first = run("db", "migrate")
    second = run("db", "migrate")

    assert (first.status, second.status) == (0, 0)
    assert first.out.splitlines()[0] == "applied 0001_first"
    assert "applied" not in second.out
    assert second.out.endswith("nothing was missing.\n")


async def test_migrate_is_refused_while_a_service_runs(run: Commands) -> None:
    """A log that is in use is left alone: exit status 1, and what to do."""
    log = await open_log(f"sqlite:///{run.folder}/klenhook.db")
    try:
        done = klenhook(run.folder, "db", "migrate", status=1)
    finally:
        await log.aclose()

    assert done.stdout == ""
    assert "Stop the service first. Nothing was changed." in done.stderr


def test_status_has_counts_sizes_versions_and_settings(run: Commands) -> None:
    """`db status --json` is one object with everything; without `--json` the same for people."""
    change(run.folder, fill)
    found = json.loads(run("db", "status", "--json").out)

    assert found["path"] == str(run.folder / "klenhook.db")
    assert (found["events"], found["last_seq"], found["unrouted"]) == (4, 4, 1)
    assert found["runs"] == {"dead": 1, "done": 2, "pending": 1}
    assert found["quarantined"] == 2
    assert found["size_bytes"] >= 4096
    assert found["sqlite_version"] == sqlite3.sqlite_version
    assert found["settings"]["journal_mode"] == "wal"
    lines = run("db", "status").out.splitlines()
    assert "events      4, the last is number 4, 1 not yet routed" in lines
    assert "runs        dead 1, done 2, pending 1" in lines


@pytest.mark.parametrize("command", ["status", "migrate"])
def test_what_is_no_log_of_ours_is_left_alone(run: Commands, command: str) -> None:
    """Another program's database is exit status 2, and not a byte of it changes."""
    file = run.folder / "klenhook.db"
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE theirs (a)")
    other.close()
    before = hashlib.sha256(file.read_bytes()).digest()
    done = run("db", command)

    assert (done.status, done.out) == (2, "")
    assert "database of another program" in done.err
    assert before == hashlib.sha256(file.read_bytes()).digest()


def test_status_makes_no_log(run: Commands) -> None:
    """Where there is no log, asking for its status is exit status 2, and makes none."""
    assert run("db", "status").status == 2
    assert list(run.folder.glob("klenhook.db*")) == []
