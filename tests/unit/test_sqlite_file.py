"""The log as a file: its settings, its marks, who may open it, and what it refuses to touch."""

# ruff: noqa: ASYNC221, ASYNC240 -- nothing else runs in the loop of a test

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from storage import open_log, open_reader, sqlite_path
from storage.errors import LogLocked, LogUnusable
from storage.records import Selection
from storage.sqlite.connection import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    connect_reader,
    connect_writer,
    make_private,
)
from storage.sqlite.log import SqliteLog
from storage.sqlite.migrations import migrations
from storage.sqlite.views import VIEWS
from tests.support.logs import new_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
PYTHON = [sys.executable, "-c"]

HOLD = """
import asyncio, sys, storage
async def main():
    log = await storage.open_log(sys.argv[1])
    print("open", flush=True)
    sys.stdin.read()
asyncio.run(main())
"""

OPEN_AS_NOBODY = """
import asyncio, os, sys, sqlite3, storage, storage.sqlite.log, storage.sqlite.opening
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    asyncio.run(getattr(storage, sys.argv[2])(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log of a test is, or will be."""
    return tmp_path / "log.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[SqliteLog]:
    """A new log."""
    log = await SqliteLog.open(str(path))
    yield log
    await log.aclose()


def pragmas(connection: sqlite3.Connection, *names: str) -> dict[str, Any]:
    return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


def edit(path: Path, *statements: str) -> None:
    """Change a file with SQLite itself, as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file of a folder by name: what is in it, and its mode."""
    return {
        found.name: (sha256(found.read_bytes()).hexdigest() if found.is_file() else "", found.lstat().st_mode)
        for found in sorted(folder.iterdir())
    }


class TestSettings:
    """What the promises rest on."""

    async def test_the_writer_has_each_setting(self, log: SqliteLog) -> None:
        """The one connection that writes syncs each commit, checkpoints by itself and guards its file."""
        wanted = {
            "journal_mode": "wal",
            "synchronous": 2,
            "wal_autocheckpoint": 2_000,
            "journal_size_limit": 64 * 1024 * 1024,
            "busy_timeout": 1_000,
            "mmap_size": 0,
            "foreign_keys": 1,
            "trusted_schema": 0,
            "cell_size_check": 1,
            "secure_delete": 1,
            "auto_vacuum": 2,
            "application_id": APPLICATION_ID,
            "user_version": SCHEMA_VERSION,
        }

        found = await log._writer.do(lambda connection, _: [pragmas(connection, *wanted)], None)

        assert found == wanted

    def test_a_setting_that_does_not_hold_is_refused(self) -> None:
        """Where SQLite cannot keep a write-ahead file, there is no log."""
        with pytest.raises(LogUnusable, match="answers journal_mode = 'memory' where 'wal' is needed"):
            connect_writer(Path(":memory:"), sqlite3.Connection)

    @pytest.mark.parametrize(
        "statement", ["INSERT INTO source (name) VALUES ('x')", "PRAGMA user_version = 9"]
    )
    async def test_readers_cannot_write(self, log: SqliteLog, path: Path, statement: str) -> None:
        """A reader's connection refuses to write twice over: by its setting, and by how it opened the file."""
        assert log.healthy
        with closing(connect_reader(path)) as connection:
            assert pragmas(connection, "query_only") == {"query_only": 1}
            for query_only in ("ON", "OFF"):
                connection.execute(f"PRAGMA query_only = {query_only}")
                with pytest.raises(sqlite3.OperationalError, match="readonly"):
                    connection.execute(statement)

    async def test_readers_do_not_checkpoint(self, log: SqliteLog, path: Path) -> None:
        """A reader leaves the write-ahead file as it is, when it is told to fold it in and when it closes."""
        await log.append(new_event())
        before = path.with_name("log.db-wal").read_bytes()

        with closing(connect_reader(path)) as connection:
            connection.execute("PRAGMA query_only = OFF")
            with pytest.raises(sqlite3.OperationalError):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

        assert path.with_name("log.db-wal").read_bytes() == before


class TestFiles:
    """What lies on the disk, and who can read it."""

    async def test_only_the_owner_can_read_them(self, path: Path) -> None:
        """Under an ordinary umask the log, its side files and its lock are 0600, and a folder made for them 0700."""
        before = os.umask(0o022)
        try:
            log = await open_log(f"sqlite:///{path.parent}/made/for it/log.db")
            await log.append(new_event())
        finally:
            os.umask(before)
        folder = path.parent / "made" / "for it"

        modes = {found.name: oct(stat.S_IMODE(found.stat().st_mode)) for found in folder.iterdir()}

        assert modes == dict.fromkeys(("log.db", "log.db-wal", "log.db-shm", "log.db.lock"), "0o600")
        assert oct(stat.S_IMODE(folder.stat().st_mode)) == "0o700"
        await log.aclose()
        assert sorted(found.name for found in folder.iterdir()) == ["log.db", "log.db.lock"]

    async def test_a_file_that_others_could_read_is_closed_to_them(self, path: Path) -> None:
        """An existing log that was readable by others is made private when it is opened."""
        await (await open_log(f"sqlite:///{path}")).aclose()
        path.chmod(0o644)

        log = await open_log(f"sqlite:///{path}")

        assert oct(stat.S_IMODE(path.stat().st_mode)) == "0o600"
        await log.aclose()

    async def test_an_empty_file_is_a_log_to_be(self, path: Path) -> None:
        """An empty file, as a crash at the very first start leaves it, becomes the log; to a reader it is none."""
        path.touch()
        with pytest.raises(LogUnusable, match="no log"):
            await open_reader(f"sqlite:///{path}")
        assert path.stat().st_size == 0

        log = await open_log(f"sqlite:///{path}")

        assert not (await log.append(new_event())).duplicate
        await log.aclose()

    @pytest.mark.parametrize("name", ["a b#c?d%41.db", "größe.db", "'; DROP TABLE event; --.db"])
    async def test_any_name_will_do(self, tmp_path: Path, name: str) -> None:
        """A file's name is taken literally, by the writer and by readers."""
        address = f"sqlite:///{tmp_path}/{name}"
        log = await open_log(address)
        await log.append(new_event())
        reader = await open_reader(address)

        assert await reader.count(Selection()) == 1
        assert (tmp_path / name).is_file()
        await reader.aclose()
        await log.aclose()

    def test_other_addresses_are_refused(self) -> None:
        """An address that is not one of SQLite is refused with an example of one that is."""
        assert sqlite_path("sqlite:///x.db") == "x.db"
        assert sqlite_path("sqlite:////srv/x.db") == "/srv/x.db"
        for wrong in ("", "x.db", "sqlite://x.db", "sqlite:///", "postgresql://localhost/x"):
            with pytest.raises(LogUnusable, match=r"sqlite:///klenhook\.db"):
                sqlite_path(wrong)


class TestLock:
    """One log belongs to one service."""

    @contextmanager
    def other_service(self, path: Path) -> Iterator[subprocess.Popen[str]]:
        """Another process that has the log open."""
        command = [*PYTHON, HOLD, f"sqlite:///{path}"]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "open\n"
            yield other
            other.kill()

    async def test_another_process_is_named(self, path: Path) -> None:
        """While another process has the log, opening it is refused with that process's number; reading is not."""
        with self.other_service(path) as other:
            with pytest.raises(LogLocked, match=rf"in use by another klenhook \(process {other.pid}\)"):
                await open_log(f"sqlite:///{path}")
            reader = await open_reader(f"sqlite:///{path}")
            assert await reader.count(Selection()) == 0
            await reader.aclose()

    async def test_a_dead_process_holds_nothing(self, path: Path) -> None:
        """However the other process died, the log can be opened at once."""
        with self.other_service(path) as other:
            os.kill(other.pid, signal.SIGKILL)
            other.wait()
            log = await open_log(f"sqlite:///{path}")
            assert not (await log.append(new_event())).duplicate
            await log.aclose()

    async def test_asking_does_not_take_the_log_from_us(self, log: SqliteLog, path: Path) -> None:
        """Readers and refused services of our own process leave us our locks.

        A descriptor of the file that is closed beside SQLite drops them, and the next program that opens the
        log and closes it would take the write-ahead file away from under us.
        """
        reader = await open_reader(f"sqlite:///{path}")
        await reader.aclose()
        with pytest.raises(LogLocked):
            await open_log(f"sqlite:///{path}")

        look = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM event'); c.close()"
        subprocess.run([*PYTHON, look, str(path)], check=True)

        assert path.with_name("log.db-wal").exists()
        assert not (await log.append(new_event())).duplicate


def newer(path: Path) -> None:
    edit(
        path,
        f"PRAGMA application_id = {APPLICATION_ID}",
        "CREATE TABLE event (x)",
        "PRAGMA user_version = 999",
    )


def foreign(path: Path) -> None:
    edit(path, "PRAGMA journal_mode = wal", "CREATE TABLE theirs (x)")


def text(path: Path) -> None:
    path.write_text("Not a database. " * 100, encoding="utf-8")


def cut_off(path: Path) -> None:
    newer(path)
    path.write_bytes(path.read_bytes()[:50])


def destroyed_header(path: Path) -> None:
    newer(path)
    path.write_bytes(bytes(16) + path.read_bytes()[16:])


def damaged(path: Path) -> None:
    edit(
        path,
        f"PRAGMA application_id = {APPLICATION_ID}",
        "CREATE TABLE event (x)",
        f"PRAGMA user_version = {SCHEMA_VERSION}",
    )
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 3_996 + path.read_bytes()[4_096:])


class TestRefused:
    """Files that are no log of ours are left exactly as they are."""

    @pytest.mark.parametrize("opener", [open_log, open_reader])
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (newer, r"from a newer klenhook \(schema 999; this one knows \d+\).*upgrade"),
            (foreign, "a database of another program"),
            (text, "not a SQLite database"),
            (cut_off, "not a SQLite database"),
            (destroyed_header, "not a SQLite database"),
            (Path.mkdir, "not a file"),
            (os.mkfifo, "not a file"),
        ],
        ids=lambda value: getattr(value, "__name__", None),
    )
    async def test_it_is_untouched(
        self, path: Path, make: Callable[[Path], None], message: str, opener: Callable[[str], Any]
    ) -> None:
        """What is foreign, newer or no database is refused; no byte or mode changes, and nothing is left beside it."""
        make(path)
        before = fingerprint(path.parent)

        with pytest.raises(LogUnusable, match=message):
            await opener(f"sqlite:///{path}")

        assert fingerprint(path.parent) == before

    async def test_a_device_is_untouched(self) -> None:
        """A device is no place for a log, however empty it looks."""
        before = Path(os.devnull).stat().st_mode
        with pytest.raises(LogUnusable, match="not a file"):
            await open_log(f"sqlite:///{os.devnull}")
        assert Path(os.devnull).stat().st_mode == before

    @pytest.mark.parametrize("opener", [open_log, open_reader])
    async def test_a_damaged_file_is_refused(self, path: Path, opener: Callable[[str], Any]) -> None:
        """A log whose first page is destroyed is refused in words, and keeps what bytes it has."""
        damaged(path)
        before = path.read_bytes()

        with pytest.raises(LogUnusable, match="malformed"):
            await opener(f"sqlite:///{path}")
        assert path.read_bytes() == before

    async def test_a_newer_number_that_a_crash_left_behind_counts(self, path: Path) -> None:
        """A newer version that is only in the write-ahead file yet is refused, and the file not folded in."""
        log = await SqliteLog.open(str(path))
        await log._writer.do(lambda connection, _: [connection.execute("PRAGMA user_version = 999")], None)
        crashed = path.parent / "crashed"
        crashed.mkdir()
        for name in ("log.db", "log.db-wal"):
            shutil.copy(path.with_name(name), crashed)
        await log.aclose()
        before = fingerprint(crashed)

        for opener in (open_log, open_reader):
            with pytest.raises(LogUnusable, match="from a newer klenhook"):
                await opener(f"sqlite:///{crashed}/log.db")

        after = fingerprint(crashed)
        assert {name: after[name][0] for name in before} == {name: before[name][0] for name in before}

    async def test_an_older_log_cannot_be_read_yet(self, path: Path) -> None:
        """A reader does not migrate; it says what does."""
        await (await open_log(f"sqlite:///{path}")).aclose()
        edit(path, "PRAGMA user_version = 0")

        with pytest.raises(LogUnusable, match=r"Run `klenhook db migrate`\."):
            await open_reader(f"sqlite:///{path}")

    @pytest.fixture
    def no_rights(self) -> Iterator[Path]:
        """A folder in which an ordinary user may read and not write; root becomes one for that."""
        folder = Path(tempfile.mkdtemp())
        yield folder
        folder.chmod(0o700)
        shutil.rmtree(folder)

    def open_without_rights(self, path: Path, opener: str) -> str:
        path.parent.chmod(0o555)
        command = [*PYTHON, OPEN_AS_NOBODY, f"sqlite:///{path}", opener]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        return run.stdout

    def test_a_folder_that_may_not_be_written(self, no_rights: Path) -> None:
        """In a folder without the right to write no log is made, and the message says whose right is missing."""
        said = self.open_without_rights(no_rights / "log.db", "open_log")

        assert said.startswith(f"LogUnusable {no_rights}/log.db cannot be written: Permission denied.")
        assert list(no_rights.iterdir()) == []

    async def test_a_file_that_may_not_be_written(self, no_rights: Path) -> None:
        """A log that may be read and not written is refused to a service, and untouched."""
        path = no_rights / "log.db"
        await (await open_log(f"sqlite:///{path}")).aclose()
        path.with_name("log.db.lock").unlink()
        path.chmod(0o444)
        before = fingerprint(no_rights)

        said = self.open_without_rights(path, "open_log")

        assert said.startswith(f"LogUnusable {path} cannot be written")
        assert fingerprint(no_rights) == before


class TestMigrations:
    """How the tables come to be."""

    async def test_each_migration_has_its_number(self, path: Path) -> None:
        """A new log names the migrations it went through; the second time there is nothing to do."""
        names = [migration.name for migration in migrations._migrations]
        assert [int(name[:4]) for name in names][-1] == SCHEMA_VERSION

        for expected in (names, []):
            log = await open_log(f"sqlite:///{path}")
            assert log.migrated == expected
            await log.aclose()

    async def test_a_log_that_is_up_to_date_is_not_changed(self, path: Path) -> None:
        """Opening and closing a log that misses nothing writes nothing."""
        await (await open_log(f"sqlite:///{path}")).aclose()
        before = path.read_bytes()

        await (await open_log(f"sqlite:///{path}")).aclose()

        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        "damage",
        ["DROP VIEW events", "PRAGMA user_version = 0", "CREATE VIEW runs2 AS SELECT 1"],
    )
    async def test_views_and_number_are_put_right(self, path: Path, damage: str) -> None:
        """Views, and the number that a crash kept from being written, are made anew at the next start."""
        await (await open_log(f"sqlite:///{path}")).aclose()
        edit(path, damage)

        log = await open_log(f"sqlite:///{path}")

        assert (await log.status()).version == SCHEMA_VERSION
        views = await log.sql("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name")
        assert [name for (name,) in views[1]] == sorted(VIEWS)
        assert await log.page(Selection()) == []
        await log.aclose()

    async def test_a_kill_at_any_statement_is_safe(self, tmp_path: Path) -> None:
        """Killed before any statement of its first start, a log opens the next time as if nothing had been."""
        kill = """
import asyncio, os, signal, sqlite3, sys, storage
left = 0
def count(statement):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
connect = sqlite3.connect
def traced(*args, **options):
    connection = connect(*args, **options)
    connection.set_trace_callback(count)
    return connection
sqlite3.connect = traced
import storage.sqlite.log
async def main(n):
    global left
    left = n
    await (await storage.open_log(f"sqlite:///{sys.argv[1]}/{n}/log.db")).aclose()
for n in range(1, 500):
    child = os.fork()
    if child == 0:
        asyncio.run(main(n))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(n)
"""
        run = subprocess.run([*PYTHON, kill, str(tmp_path)], capture_output=True, check=True, cwd=ROOT)
        times = int(run.stdout)
        assert 40 < times < 499

        for n in range(1, times):
            log = await open_log(f"sqlite:///{tmp_path}/{n}/log.db")
            assert not (await log.append(new_event())).duplicate
            status = await log.status()
            assert (status.version, status.events, status.settings["auto_vacuum"]) == (SCHEMA_VERSION, 1, 2)
            await log.aclose()


def test_new_folders_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that a new folder stands in is synced, or a power cut could take it away with the log in it."""
    synced: list[str] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(os.path.realpath(f"/dev/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    make_private(tmp_path / "new" / "deep" / "log.db")

    if Path("/proc/self/fd").exists():  # elsewhere the name of a descriptor cannot be asked for
        assert {str(tmp_path.resolve()), str(tmp_path.resolve() / "new")} == set(synced)
    assert len(synced) == 2
