"""`klenhook db check` and `db backup`, and the way back from a backup as storage/README.md has it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage import back_up_log, check_log, open_log
from storage.records import Selection
from tests.support.commands import Commands, change, fill
from tests.support.klen import post, webhook
from tests.support.logs import new_event, route_all
from tests.support.service import klenhook, running, write_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.log import EventLog

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    write_config(tmp_path)
    change(tmp_path, fill)
    commands = Commands(tmp_path, monkeypatch, capfd)
    commands("db", "rebuild")  # rows made by hand have no states
    return commands


def damage(folder: Path) -> str:
    """Change one byte of a body; the event's id."""
    with closing(sqlite3.connect(folder / "klenhook.db", isolation_level=None)) as log:
        log.execute("UPDATE event SET body = CAST(replace(body, 'Client', 'Jlient') AS BLOB) WHERE seq = 1")
        return str(log.execute("SELECT event_id FROM event WHERE seq = 1").fetchone()[0])


def content(file: Path) -> dict[str, bytes]:
    """Every body of a log by its event's id; the log must be sound."""
    assert list(check_log(f"sqlite:///{file}")) == []
    with closing(sqlite3.connect(file)) as log:
        return dict(log.execute("SELECT event_id, body FROM event"))


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_sound_log_is_exit_status_0(run: Commands) -> None:
    """`db check` says so, and with `--json` prints nothing."""
    assert run("db", "check").status == 0
    assert (run("db", "check", "--json").out, run("db", "check").out) == ("", "")


def test_a_damaged_event_is_named(run: Commands) -> None:
    """Exit status 1, one line for each finding with the event's id, nothing of what is in it."""
    event_id = damage(run.folder)
    plain, as_json = run("db", "check"), run("db", "check", "--json")

    message = "the body is not the one that came: its SHA-256 differs"
    assert (plain.status, plain.out) == (1, f"{event_id}: {message}\n")
    assert json.loads(as_json.out) == {"kind": "event", "event_id": event_id, "message": message}
    assert "1 findings" in as_json.err


def test_a_backup_is_the_log(run: Commands) -> None:
    """One private file with every event; it may replace an older one, and nothing is left beside it."""
    before = files(run.folder)
    first = run("db", "backup", "copy.db")
    second = run("db", "backup", "copy.db", "--json")

    assert (first.status, first.out) == (0, "")
    assert "copy.db has 4 events in " in first.err
    assert json.loads(second.out)["events"] == 4
    assert content(run.folder / "copy.db") == content(run.folder / "klenhook.db")
    assert stat.S_IMODE((run.folder / "copy.db").stat().st_mode) == 0o600
    assert files(run.folder) - before == {"copy.db"}


def test_a_damaged_log_is_not_backed_up(run: Commands) -> None:
    """The backup from better days is left as it is: exit status 1."""
    run("db", "backup", "copy.db")
    before = (run.folder / "copy.db").read_bytes()
    damage(run.folder)
    done = run("db", "backup", "copy.db")

    assert done.status == 1
    assert "an older one was left as it is" in done.err
    assert (run.folder / "copy.db").read_bytes() == before
    assert not list(run.folder.glob(".copy.db*"))


def link(folder: Path) -> str:
    (folder / "other.db").symlink_to("klenhook.db")
    return "other.db"


def hard_link(folder: Path) -> str:
    (folder / "other.db").hardlink_to(folder / "klenhook.db")
    return "other.db"


def foreign(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "other.db")) as other:
        other.execute("CREATE TABLE theirs (a)")
    return "other.db"


def text(folder: Path) -> str:
    (folder / "other.db").write_text("my thesis")
    return "other.db"


@pytest.mark.parametrize(
    "make",
    [
        lambda _: "klenhook.db",
        lambda _: "klenhook.db-wal",
        lambda _: "klenhook.db.lock",
        lambda _: "/dev/null",
        link,
        hard_link,
        foreign,
        text,
    ],
)
def test_what_is_no_backup_is_not_overwritten(run: Commands, make: Callable[[Path], str]) -> None:
    """The log itself by any name, and what is somebody else's: exit status 2, and not a byte changes."""
    name = make(run.folder)
    before = {file: file.read_bytes() for file in run.folder.iterdir() if file.is_file()}
    done = run("db", "backup", name)

    assert done.status == 2, done.err
    assert before == {file: file.read_bytes() for file in run.folder.iterdir() if file.is_file()}


async def test_the_log_of_another_service_is_not_overwritten(run: Commands) -> None:
    """A log that a service holds is no backup, though it looks like one."""
    (run.folder / "other").mkdir()
    log = await open_log(f"sqlite:///{run.folder}/other/live.db")
    try:
        done = await asyncio.to_thread(klenhook, run.folder, "db", "backup", "other/live.db", status=2)
    finally:
        await log.aclose()

    assert "a log in use" in done.stderr


def test_a_folder_that_is_not_there(run: Commands) -> None:
    """Is told, with exit status 1."""
    done = run("db", "backup", "nowhere/copy.db")

    assert done.status == 1
    assert "No such file or directory. No backup was made." in done.err


def test_an_interrupted_backup_leaves_the_older_one(run: Commands) -> None:
    """Until the new one is complete, the old one is there, and the pieces are cleared away."""
    copy = run.folder / "copy.db"
    back_up_log(f"sqlite:///{run.folder}/klenhook.db", copy)
    before = files(run.folder), hashlib.sha256(copy.read_bytes()).digest()

    def interrupt(_part: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up_log(f"sqlite:///{run.folder}/klenhook.db", copy, on_progress=interrupt)
    assert before == (files(run.folder), hashlib.sha256(copy.read_bytes()).digest())


def test_a_killed_backup_leaves_the_older_one(run: Commands) -> None:
    """Killed at any moment, it leaves a sound backup, the older or the new one; the next clears its pieces away."""

    async def grow(log: EventLog) -> None:
        for _ in range(40):
            await asyncio.gather(*(log.append(new_event(None, variant="x" * 5_000)) for _ in range(100)))

    change(run.folder, grow)
    command = [sys.executable, "-m", "receiver", "db", "backup", "copy.db"]
    back_up_log(f"sqlite:///{run.folder}/klenhook.db", run.folder / "copy.db")
    for moment in range(6):
        making = subprocess.Popen(command, cwd=run.folder, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while making.poll() is None and time.monotonic() < deadline:
            if moment and list(run.folder.glob(".copy.db.*.partial")):
                time.sleep(moment * 0.04)
                making.kill()
        making.wait()
        assert len(content(run.folder / "copy.db")) == 4_004
    run("db", "backup", "copy.db")

    assert not list(run.folder.glob(".copy.db*"))


def test_no_room_for_a_backup(run: Commands) -> None:
    """If the disk does not take it, that is told with exit status 1, and nothing is left behind."""
    limited = f"ulimit -f 20; exec {sys.executable} -m receiver db backup copy.db"
    done = subprocess.run(
        ["bash", "-c", limited], cwd=run.folder, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 1, done.stderr
    assert done.stderr.endswith("No backup was made.\n")
    assert not [name for name in files(run.folder) if "copy.db" in name]


async def test_a_backup_under_load_is_the_log_of_one_moment(tmp_path: Path) -> None:
    """While events come in and are routed, each copy is sound and has all events up to some number."""
    log = await open_log(f"sqlite:///{tmp_path}/log.db")
    loop = asyncio.get_running_loop()
    try:
        for round_ in range(5):
            copying = loop.run_in_executor(
                None, back_up_log, f"sqlite:///{tmp_path}/log.db", tmp_path / f"copy{round_}.db"
            )
            before = await log.count(Selection())
            while not copying.done():
                await asyncio.gather(*(log.append(new_event("x" * 900)) for _ in range(100)), route_all(log))
                await log.append(new_event())
            made = await copying
            assert before <= made.events <= await log.count(Selection())
            with closing(sqlite3.connect(tmp_path / f"copy{round_}.db")) as copy:
                assert copy.execute("SELECT count(*), coalesce(max(seq), 0) FROM event").fetchone() == (
                    made.events,
                    made.events,
                )
    finally:
        await log.aclose()


async def test_the_way_back_from_a_backup(tmp_path: Path) -> None:
    """As it stands in storage/README.md: the service goes on from the moment of the backup."""
    write_config(tmp_path)
    async with running(tmp_path) as service:
        await post(service.port, webhook())
        await asyncio.to_thread(klenhook, tmp_path, "db", "backup", "backup.db")
        await post(service.port, webhook("calendar.updated"))
    (tmp_path / "klenhook.db").write_bytes(os.urandom(8192))
    readme = (ROOT / "storage" / "README.md").read_text("utf-8").partition("### Restore")[2]
    [script, *_] = re.findall(r"^```bash\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    environ = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-ec", script), cwd=tmp_path, env=environ, stderr=asyncio.subprocess.PIPE
    )
    _, told = await shell.communicate()

    assert (shell.returncode, told.decode()) == (
        0,
        "The log is sound: its structure, the hash of every body, and what is known of calendar events.\n",
    )
    assert stat.S_IMODE((tmp_path / "klenhook.db").stat().st_mode) == 0o600
    async with running(tmp_path) as service:
        assert (await post(service.port, webhook())).json["status"] == "duplicate"
        assert (await post(service.port, webhook("calendar.updated"))).json["status"] == "accepted"
