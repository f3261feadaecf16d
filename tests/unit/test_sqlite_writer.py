"""The one thread that writes: group commit, and what becomes of waiters when the disk says no."""

# ruff: noqa: ASYNC221 -- nothing else runs in the loop of a test

from __future__ import annotations

import asyncio
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage import open_log, open_reader
from storage.errors import LogBroken, LogUnavailable
from storage.records import Appended, Selection
from storage.sqlite import writer
from storage.sqlite.faults import Fault, classify, name_of
from storage.sqlite.log import SqliteLog
from storage.sqlite.writer import ThreadWriter
from storage.work import NewRun
from tests.support.logs import claim, new_event, new_refused, outcome, route_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from storage.sqlite.operations import WritingConnection

ROOT = Path(__file__).resolve().parents[2]
PYTHON = [sys.executable, "-c"]
STRACE = shutil.which("strace")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log of a test is."""
    return tmp_path / "log.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[SqliteLog]:
    """A new log."""
    log = await SqliteLog.open(str(path))
    yield log
    await log.aclose()


def connection_of(log: SqliteLog) -> WritingConnection:
    """What the writer's thread writes on."""
    assert isinstance(log._writer, ThreadWriter)
    return log._writer._opened.connection


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is true that nothing announces."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


class Held:
    """Stops the writer's thread when it is about to commit for the first time.

    To be made while the thread is idle: SQLite holds the connection's mutex while it calls back.
    """

    def __init__(self, log: SqliteLog) -> None:
        self.there, self.go_on = threading.Event(), threading.Event()
        self.statements: list[str] = []
        """What the writer has begun to run since."""
        connection_of(log).set_trace_callback(self._before)

    def _before(self, statement: str) -> None:
        self.statements.append(statement)
        if statement == "COMMIT" and not self.go_on.is_set():
            self.there.set()
            self.go_on.wait(20)


class TestBatches:
    """Many operations, one transaction."""

    async def test_nobody_hears_of_success_before_the_commit(self, log: SqliteLog) -> None:
        """While the transaction is not committed, no waiter has an answer and no reader sees a row."""
        held = Held(log)
        waiting = [asyncio.ensure_future(log.append(new_event())) for _ in range(20)]
        await until(held.there.is_set)
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in waiting)
        assert await log.count(Selection()) == 0

        held.go_on.set()
        await asyncio.gather(*waiting)
        assert await log.count(Selection()) == 20

    async def test_what_waits_travels_together(self, log: SqliteLog) -> None:
        """What gathers during one commit goes into the next one, up to its bound, and each kind of verb with it."""
        held = Held(log)
        waiting = [asyncio.ensure_future(log.append(new_event()))]
        await until(held.there.is_set)
        waiting += [asyncio.ensure_future(log.append(new_event())) for _ in range(500)]
        wrong = asyncio.create_task(log.quarantine(replace(new_refused(), received_at_ms=2**70)))
        kept = asyncio.create_task(log.quarantine(new_refused()))
        await asyncio.sleep(0.05)
        held.go_on.set()

        await asyncio.gather(*waiting)
        assert await kept == 1
        with pytest.raises(OverflowError):
            await wrong
        assert held.statements.count("COMMIT") == 2
        assert await log.count(Selection()) == 501

    async def test_an_action_is_done_between_transactions(self, log: SqliteLog) -> None:
        """What runs alone runs in its turn, outside any transaction, and what it raises reaches its caller."""
        held = Held(log)
        before = [asyncio.ensure_future(log.append(new_event())) for _ in range(3)]
        await until(held.there.is_set)
        seen = asyncio.ensure_future(
            log._writer.alone(lambda connection: (connection.in_transaction, connection.total_changes))
        )
        wrong = asyncio.ensure_future(log._writer.alone(lambda connection: connection.execute("NONSENSE")))
        after = [asyncio.ensure_future(log.append(new_event())) for _ in range(3)]
        await asyncio.sleep(0.05)
        held.go_on.set()

        in_transaction, changes = await seen
        assert not in_transaction
        assert changes > 0
        with pytest.raises(sqlite3.OperationalError):
            await wrong
        await asyncio.gather(*before, *after)
        assert await log.count(Selection()) == 6

    async def test_an_event_that_is_redone_does_not_count_as_its_own_predecessor(
        self, log: SqliteLog
    ) -> None:
        """A delivery beside a bad item is stored at the second go, and its id is not one that came back."""

        def fail(_connection: sqlite3.Connection, _items: list[None]) -> list[None]:
            raise KeyError

        appended, _ = await asyncio.gather(
            log.append(new_event(delivery_id="d-1")), log._writer.do(fail, None), return_exceptions=True
        )

        assert isinstance(appended, Appended)
        assert (appended.duplicate, appended.id_reused) == (False, False)

    async def test_one_bad_item_never_sinks_its_batch(self, log: SqliteLog) -> None:
        """An operation that fails half-way leaves nothing of its item behind, and the others are done."""

        def add(connection: sqlite3.Connection, names: list[str]) -> list[str]:
            for name in names:
                connection.execute("INSERT INTO source (name) VALUES (?)", (name,))
                if name == "bad":
                    raise KeyError(name)
            return names

        results = await asyncio.gather(
            *(log._writer.do(add, name) for name in ("a", "b", "bad", "a", "c")),
            log.append(new_event(source="d")),
            return_exceptions=True,
        )

        assert [type(result).__name__ for result in results] == [
            "str",
            "str",
            "KeyError",
            "IntegrityError",
            "str",
            "Appended",
        ]
        assert (await log.sql("SELECT name FROM source ORDER BY name"))[1] == [("a",), ("b",), ("c",), ("d",)]
        assert log.healthy

    async def test_what_waits_is_bounded(self, log: SqliteLog, monkeypatch: pytest.MonkeyPatch) -> None:
        """Above the bound callers wait for room and keep no place in the queue; all are served in the end."""
        monkeypatch.setattr(writer, "QUEUE_ROWS", 10)
        held = Held(log)
        first = asyncio.ensure_future(log.append(new_event()))
        await until(held.there.is_set)
        waiting = [asyncio.ensure_future(log.append(new_event())) for _ in range(100)]
        await asyncio.sleep(0.1)
        assert log._writer.queue_rows == 11
        held.go_on.set()
        await asyncio.gather(first, *waiting)
        assert await log.count(Selection()) == 101

    async def test_only_its_thread_writes(self, log: SqliteLog) -> None:
        """Whatever the verb, the writing connection is used by the writer's thread alone."""
        threads: set[str] = set()
        connection_of(log).set_trace_callback(lambda _: threads.add(threading.current_thread().name))

        await log.append(new_event())
        await route_all(log, NewRun("hello"))
        [run] = await claim(log)
        await log.release("owner", now_ms=run.received_at_ms)
        [run] = await claim(log)
        await log.finish(outcome(run))
        await log.recover("owner", now_ms=0)
        await log.page(Selection())
        await log.status()
        await log.sql("SELECT * FROM events")

        assert threads == {"klenhook-writer"}


class TestRefusing:
    """Faults that pass: the log refuses, tries by itself, and goes on."""

    @contextmanager
    def no_space(self, path: Path) -> Iterator[None]:
        """The kernel lets no file of ours grow beyond what the write-ahead file has."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = path.with_name("log.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    async def test_a_disk_without_space_heals(self, log: SqliteLog, path: Path) -> None:
        """While nothing can be written all are refused and reading goes on; with space it goes on by itself."""
        await log.append(new_event())
        event = new_event("refused", "d-1", source="new", headers='{"a": "new"}')
        with self.no_space(path):
            for _ in range(3):
                with pytest.raises(LogUnavailable, match="SQLITE_IOERR_WRITE"):
                    await log.append(event)
            assert not log.healthy
            await asyncio.sleep(1.2)
            assert not log.healthy
            assert await log.count(Selection()) == 1

        await until(lambda: log.healthy, 3)
        assert not (await log.append(event)).duplicate
        assert (await log.append(event)).duplicate
        assert await log.count(Selection()) == 2

    async def test_a_full_database_heals(self, log: SqliteLog) -> None:
        """SQLite's own "full", which has rolled back by itself already, is refused and passes like any other."""

        def most_pages(connection: sqlite3.Connection, numbers: list[int]) -> list[int]:
            return [
                connection.execute(f"PRAGMA max_page_count = {number}").fetchone()[0] for number in numbers
            ]

        await log._writer.do(most_pages, 1)
        big = new_event("x" * 500_000, source="new")

        with pytest.raises(LogUnavailable, match="SQLITE_FULL"):
            await log.append(big)

        await log._writer.do(most_pages, 1_000_000)
        assert not (await log.append(big)).duplicate
        assert log.healthy

    @contextmanager
    def foreign_lock(self, path: Path) -> Iterator[None]:
        """Another program in the middle of writing."""
        code = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
            "c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read(); c.execute('ROLLBACK')"
        )
        command = [*PYTHON, code, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            assert other.stdout.readline() == "locked\n"
            try:
                yield
            finally:
                other.stdin.close()

    async def test_a_foreign_lock_is_waited_out(self, log: SqliteLog, path: Path) -> None:
        """While another program writes, senders wait and readers do not; then everything is stored."""
        reader = await open_reader(f"sqlite:///{path}")
        with self.foreign_lock(path):
            waiting = [asyncio.ensure_future(log.append(new_event())) for _ in range(10)]
            await until(lambda: not log.healthy)
            assert not any(task.done() for task in waiting)
            assert await reader.count(Selection()) == 0

        results = await asyncio.wait_for(asyncio.gather(*waiting), 5)

        assert not any(result.duplicate for result in results)
        assert log.healthy
        await reader.aclose()

    async def test_who_does_not_wait_is_not_waited_for(self, log: SqliteLog, path: Path) -> None:
        """A sender that gives up during a foreign lock gets its own error; the log goes on afterwards."""
        with self.foreign_lock(path), pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await log.append(new_event("late"))

        await until(lambda: log.healthy)
        assert not (await asyncio.wait_for(log.append(new_event()), 5)).duplicate


class TestBroken:
    """Faults after which nothing may be acknowledged any more."""

    @pytest.mark.parametrize("name", ["log.db", "log.db-wal"])
    @pytest.mark.parametrize("replaced", [False, True])
    async def test_files_that_were_taken_away(self, path: Path, name: str, *, replaced: bool) -> None:
        """When the log or its write-ahead file is deleted or replaced, nothing is acknowledged after it."""
        log = await open_log(f"sqlite:///{path}")
        await log.append(new_event())
        victim = path.with_name(name)
        victim.rename(path.with_name("moved"))
        if replaced:
            shutil.copy(path.with_name("moved"), victim)

        results = await asyncio.gather(*(log.append(new_event()) for _ in range(10)), return_exceptions=True)

        assert {type(result) for result in results} == {LogBroken}
        assert not log.healthy
        broken = await asyncio.wait_for(log.stopped(), 5)
        assert broken is not None
        assert f"{name} was moved, replaced or deleted" in str(broken)
        for verb in (log.append(new_event()), log.claim("o", {}, now_ms=0), log.release("o", now_ms=0)):
            with pytest.raises(LogBroken):
                await verb
        await asyncio.wait_for(log.aclose(), 5)

    async def test_closing_a_broken_log_touches_nothing(self, path: Path) -> None:
        """A log that took the place of ours is left alone, its write-ahead file too, when ours is closed."""
        log = await open_log(f"sqlite:///{path}")
        other = path.parent / "other"
        other.mkdir()
        theirs = await open_log(f"sqlite:///{other}/log.db")
        await theirs.append(new_event())
        for name in ("log.db", "log.db-wal"):
            shutil.copy(other / name, path.with_name(name + ".new"))
            path.with_name(name + ".new").replace(path.with_name(name))
        await theirs.aclose()
        before = {name: path.with_name(name).read_bytes() for name in ("log.db", "log.db-wal")}

        with pytest.raises(LogBroken):
            await log.append(new_event())
        await log.aclose()

        assert {name: path.with_name(name).read_bytes() for name in before} == before

    async def test_a_broken_log_is_not_folded_in_at_exit(self, path: Path) -> None:
        """When the process of a broken log ends, the write-ahead file stays for recovery, which finds every event."""
        code = """
import asyncio, os, sys, storage
from storage.errors import LogBroken
from tests.support.logs import new_event
async def main(path):
    log = await storage.open_log(f"sqlite:///{path}")
    await log.append(new_event("one"))
    os.rename(path, path + ".away")
    try:
        await log.append(new_event("two"))
    except LogBroken:
        print("broken")
    os.rename(path + ".away", path)
    await log.aclose()
asyncio.run(main(sys.argv[1]))
"""
        run = subprocess.run(
            [*PYTHON, code, str(path)], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT
        )
        assert run.stdout == "broken\n"
        assert path.with_name("log.db-wal").stat().st_size > 0

        log = await open_log(f"sqlite:///{path}")
        assert (await log.append(new_event("one"))).duplicate
        await log.aclose()

    async def test_a_damaged_page_stops_the_log(self, path: Path) -> None:
        """A destroyed page that is met while writing stops the log."""
        log = await open_log(f"sqlite:///{path}")
        [(page,)] = (await log.sql("SELECT rootpage FROM sqlite_schema WHERE name = 'identity'"))[1]
        await log.aclose()
        with path.open("r+b") as file:
            file.seek((page - 1) * 4_096)
            file.write(b"\xff" * 4_096)
        log = await open_log(f"sqlite:///{path}")

        with pytest.raises(LogBroken, match="SQLITE_CORRUPT"):
            await log.append(new_event())
        await log.aclose()

    @pytest.mark.skipif(STRACE is None, reason="strace is not installed")
    def test_a_failed_sync_stops_the_log(self, path: Path) -> None:
        """After a sync that failed nothing is acknowledged any more, even when the next one would succeed."""
        code = """
import asyncio, sys, storage
from storage.errors import StorageError
from tests.support.logs import new_event
async def main(path):
    log = await storage.open_log(f"sqlite:///{path}")
    for _ in range(3):
        try:
            await log.append(new_event())
            print("acknowledged")
        except StorageError as error:
            print(type(error).__name__)
    await log.aclose()
asyncio.run(main(sys.argv[1]))
"""
        asyncio.run(open_and_close(path))
        calls = "fsync,fdatasync"
        command = [str(STRACE), "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-P", f"{path}-wal"]
        command += ["-e", f"inject={calls}:error=EIO:when=2", *PYTHON, code, str(path)]

        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        if run.returncode and "ptrace" in run.stderr.lower():
            pytest.skip("tracing is not allowed here")

        assert run.stdout.split() in (["LogBroken"] * 3, ["acknowledged", "LogBroken", "LogBroken"])


async def open_and_close(path: Path) -> None:
    await (await open_log(f"sqlite:///{path}")).aclose()


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_the_disk_has_it_before_anybody_hears(path: Path) -> None:
    """For each acknowledgement the write-ahead file was written, and synced after that, before it was given."""
    code = """
import asyncio, os, sys, storage
from tests.support.logs import new_event
async def main(path):
    log = await storage.open_log(f"sqlite:///{path}")
    for n in range(5):
        await log.append(new_event())
        os.write(1, b"acknowledged")
    await log.aclose()
asyncio.run(main(sys.argv[1]))
"""
    asyncio.run(open_and_close(path))
    trace = path.with_name("trace")
    command = [str(STRACE), "-f", "-y", "-o", str(trace), "-e", "trace=pwrite64,fsync,fdatasync,write"]
    run = subprocess.run(
        [*command, *PYTHON, code, str(path)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    if run.returncode and "ptrace" in run.stderr.lower():
        pytest.skip("tracing is not allowed here")
    assert run.stdout == "acknowledged" * 5

    story = ""
    for line in trace.read_text().splitlines():
        if re.search(r"pwrite64\(\d+<[^>]*-wal>", line):
            story += "w"
        elif re.search(r"(fdatasync|fsync)(\(\d+<[^>]*-wal>\)| resumed>\)).*= 0", line):
            story += "s"
        elif "acknowledged" in line and "write(1" in line:
            story += "A"

    assert re.fullmatch(r"([ws]*ws+A){5}[ws]*", story), story


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("SQLITE_BUSY", Fault.WAIT),
        ("SQLITE_BUSY_SNAPSHOT", Fault.WAIT),
        ("SQLITE_LOCKED", Fault.WAIT),
        ("SQLITE_FULL", Fault.REFUSE),
        ("SQLITE_IOERR", Fault.REFUSE),
        ("SQLITE_IOERR_WRITE", Fault.REFUSE),
        ("SQLITE_READONLY", Fault.REFUSE),
        ("SQLITE_CANTOPEN", Fault.REFUSE),
        ("SQLITE_IOERR_FSYNC", Fault.STOP),
        ("SQLITE_IOERR_DIR_FSYNC", Fault.STOP),
        ("SQLITE_CORRUPT", Fault.STOP),
        ("SQLITE_CORRUPT_INDEX", Fault.STOP),
        ("SQLITE_NOTADB", Fault.STOP),
        ("SQLITE_READONLY_DBMOVED", Fault.STOP),
        ("SQLITE_CONSTRAINT_UNIQUE", Fault.ROW),
        ("SQLITE_TOOBIG", Fault.ROW),
    ],
)
def test_each_fault_has_its_answer(name: str, fault: Fault) -> None:
    """Locks are waited out, full disks refused, damage and failed syncs stop the log; the rest is a row's own."""
    error = sqlite3.OperationalError("text")
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name

    assert classify(error) is fault
    assert name_of(error) == name


def test_an_error_of_no_database_is_the_rows() -> None:
    """What Python itself cannot bind is the fault of the row."""
    assert classify(OverflowError()) is Fault.ROW
    assert name_of(OverflowError()) == "OverflowError"
