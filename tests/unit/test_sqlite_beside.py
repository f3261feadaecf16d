"""The process that writes: it does what the thread does, and lives and dies with the service."""

# ruff: noqa: ASYNC220 -- nothing else runs in the loop of a test

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # its stubs are not installed
import pytest

from storage import open_log, start_writer
from storage.errors import LogBroken, LogUnavailable, LogUnusable
from storage.records import Selection
from storage.sqlite.beside import ProcessWriter, WriterProcess
from storage.sqlite.frames import Frames, frame
from storage.sqlite.log import SqliteLog
from tests.support.logs import new_event

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVICE = """\
import asyncio, os, sys, time
from storage import open_log, start_writer
from tests.support.logs import new_event

async def main():
    log = await open_log(sys.argv[1], beside=start_writer())
    await log.append(new_event("acknowledged"))
    if "fork" in sys.argv and os.fork() == 0:
        time.sleep(60)
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    """A new log that a process writes."""
    log = await SqliteLog.open(str(tmp_path / "log.db"), beside=WriterProcess())
    yield log
    await log.aclose()


def process_of(log: SqliteLog) -> subprocess.Popen[bytes]:
    """What writes the log."""
    assert isinstance(log._writer, ProcessWriter)
    return log._writer._process


async def test_much_at_once_is_written_in_order(log: SqliteLog) -> None:
    """Many events, with bodies larger than the pipe holds, are written in the order in which they came."""
    events = [new_event(f"{number} " + "x" * (400_000 if number % 50 == 0 else 100)) for number in range(400)]

    told = await asyncio.gather(*(log.append(event) for event in events))

    assert [one.event_id for one in told] == [event.event_id for event in events]
    records = await log.unrouted(500)
    assert [record.event_id for record in records] == [event.event_id for event in events]


async def test_its_death_breaks_the_log(log: SqliteLog) -> None:
    """When the process dies, nothing that was not acknowledged is acknowledged any more, and the log says why."""
    await log.append(new_event())
    process_of(log).send_signal(signal.SIGSTOP)
    waiting = [asyncio.ensure_future(log.append(new_event())) for _ in range(40)]
    await asyncio.sleep(0.05)
    process_of(log).kill()

    assert isinstance(await log.stopped(), LogBroken)
    for one in [*waiting, log.append(new_event())]:
        with pytest.raises(LogBroken, match="has died"):
            await one
    assert not log.healthy
    assert await log.count(Selection()) == 1


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_signals_are_for_the_service(log: SqliteLog, name: signal.Signals) -> None:
    """What a terminal or a supervisor sends to all processes does not end it."""
    process_of(log).send_signal(name)

    assert not (await log.append(new_event())).duplicate
    assert process_of(log).poll() is None


async def test_closing_folds_the_log_and_ends_it(tmp_path: Path) -> None:
    """What waits is written, the write-ahead file is folded in, the lock is free, and the process has ended."""
    path = tmp_path / "log.db"
    log = await SqliteLog.open(str(path), beside=WriterProcess())
    waiting = [asyncio.ensure_future(log.append(new_event())) for _ in range(100)]
    await asyncio.sleep(0)

    await log.aclose()

    await asyncio.gather(*waiting)
    assert process_of(log).returncode == 0
    assert not path.with_name("log.db-wal").exists()
    async with asyncio.timeout(5):
        again = await open_log(f"sqlite:///{path}")
    assert await again.count(Selection()) == 100
    assert not again.recovered
    await again.aclose()


@pytest.mark.parametrize("holding", ["alone", "fork"])
async def test_it_ends_with_a_service_that_is_killed(tmp_path: Path, holding: str) -> None:
    """A killed service leaves no process behind, and the next start waits for that one and has everything.

    So it is when a process that a handler has forked still holds the other end of its pipe.
    """
    address = f"sqlite:///{tmp_path}/log.db"
    command = [sys.executable, "-c", SERVICE, address, holding]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "ready\n"
        children = psutil.Process(service.pid).children()
        [writer] = [child.pid for child in children if "storage.sqlite.writing" in child.cmdline()]
        service.kill()
        service.wait()

    log = await open_log(address, beside=start_writer())

    assert (await log.append(new_event("acknowledged"))).duplicate
    await log.aclose()
    assert all(has_ended(child) for child in children if child.pid == writer)
    for child in children:
        if not has_ended(child):
            child.kill()


def has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more; somebody else may still have to take note of it."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def test_what_cannot_be_sent_is_its_callers_mistake(log: SqliteLog) -> None:
    """An operation that is no function of a module fails, and those after it are not held up."""

    def local(_connection: sqlite3.Connection, items: list[int]) -> list[int]:
        return items

    wrong = log._writer.do(local, 1)
    await asyncio.sleep(0)
    right = log.append(new_event())

    with pytest.raises(AttributeError, match="local object"):
        await wrong
    assert not (await right).duplicate


async def test_a_log_that_is_refused_leaves_no_process(tmp_path: Path) -> None:
    """The reason reaches whoever opens it, and the process has ended."""
    path = tmp_path / "log.db"
    path.write_text("not a database, and long enough to have a header of its own: " + "x" * 100)
    started = WriterProcess()

    with pytest.raises(LogUnusable, match="is not a SQLite database"):
        await SqliteLog.open(str(path), beside=started)
    assert started.process.returncode == 0


async def test_a_process_that_does_not_start_is_told(tmp_path: Path) -> None:
    """If it dies before the log is open, the start fails with a sentence."""
    started = WriterProcess()
    started.process.kill()

    with pytest.raises(LogUnusable, match="did not start"):
        await SqliteLog.open(str(tmp_path / "log.db"), beside=started)


async def test_a_writer_that_nobody_uses_ends() -> None:
    """A service that ends before it opens its log leaves no process."""
    started = WriterProcess()
    started.socket.close()

    assert started.process.wait(10) == 0


async def test_a_foreign_lock_is_waited_for_and_told(log: SqliteLog, tmp_path: Path) -> None:
    """While another program writes, the log says that it cannot be written; then what waited is written."""
    await log.append(new_event())
    command = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
    command += "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", command, str(tmp_path / "log.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        waiting = asyncio.ensure_future(log.append(new_event()))
        async with asyncio.timeout(10):
            while log.healthy:
                await asyncio.sleep(0.05)
        pulse = log.pulse
        other.stdin.close()

    assert not (await waiting).duplicate
    await log.append(new_event())
    assert log.pulse > pulse
    assert (await log.status()).events == 3


def test_messages_come_whole_whatever_the_parts() -> None:
    """A stream in any parts gives the messages that were put in."""
    messages: list[object] = [None, ([], "state"), b"x" * 10_000, LogUnavailable("text")]
    stream = b"".join(frame(message) for message in messages)

    for size in (1, 7, 4096, len(stream)):
        frames = Frames()
        found = [one for at in range(0, len(stream), size) for one in frames.read(stream[at : at + size])]
        assert [repr(one) for one in found] == [repr(message) for message in messages]


async def test_the_lock_of_the_living_is_not_waited_for(log: SqliteLog, tmp_path: Path) -> None:
    """A second service on the log of a running one is refused at once, with the service's process id."""
    await log.append(new_event())
    began = time.monotonic()

    with pytest.raises(Exception, match=f"in use by another klenhook \\(process {os.getpid()}\\)"):
        await open_log(f"sqlite:///{tmp_path}/log.db", beside=start_writer())
    assert time.monotonic() - began < 4
