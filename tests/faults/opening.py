"""Opens a log, works on it and closes it, again and again, each time with another call to the disk failing.

`python -m tests.faults.opening STATE LOG CALLS ERROR LAST STEP`, with the library of `shim.py` preloaded, prints
one JSON object for each call that was made to fail. Every time is a process of its own, forked from one that
has imported everything, so that a failure costs milliseconds. After each, a process without any failure opens
the log again and looks whether everything acknowledged is there.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
import traceback
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlite_utils import Database

import storage.sqlite.log  # noqa: F401 -- once, before the forks
from storage import open_log
from storage.errors import StorageError
from storage.sqlite.migrations import migrations, prepare
from tests.faults.shim import FOREVER, Call, Shim
from tests.support.logs import START, claim, new_event, outcome, route_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from storage.log import EventLog

LONGEST: Final = 30
"""Seconds until a process that hangs is ended."""
BODY: Final = b"an event of an earlier version"


async def work(log: EventLog, acked: int) -> None:
    """What a service does: take in, route, claim, finish. Whatever returned is noted."""
    for _ in range(2):
        appended = await log.append(new_event())
        os.write(acked, f"{appended.event_id}\n".encode())
    await route_all(log)
    for run in await claim(log):
        await log.finish(outcome(run))
        os.write(acked, f"{run.event_id}\n".encode())


async def open_and_work(path: Path, acked: int) -> None:
    log = await open_log(f"sqlite:///{path}")
    try:
        await work(log, acked)
    finally:
        await log.aclose()


async def open_and_die(path: Path, acked: int) -> None:
    """Leave everything as a crash does."""
    log = await open_log(f"sqlite:///{path}")
    await work(log, acked)
    os._exit(0)


def earlier_version(path: Path, applied: int) -> None:
    """A log as an earlier version has left it, with one event in it."""
    names = [migration.name for migration in migrations._migrations]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare(connection)
        connection.execute("PRAGMA journal_mode = wal")
        migrations.apply(Database(connection, execute_plugins=False), stop_before=[*names, ""][applied])
        connection.execute("INSERT INTO source VALUES (1, 'klen')")
        connection.execute("INSERT INTO provenance VALUES (1, '{}', '')")
        connection.execute(
            "INSERT INTO event (event_id, source_id, origin, received_at, provenance_id, body_sha256, body) "
            "VALUES ('earlier', 1, 'webhook', ?, 1, ?, ?)",
            (START, sha256(BODY).digest(), BODY),
        )
        connection.execute(f"PRAGMA user_version = {applied}")


def forked(act: Callable[[], Awaitable[None]]) -> tuple[str, str]:
    """Run it in a process of its own: how that ended, and what it said."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LONGEST)
        try:
            asyncio.run(act())  # type: ignore[arg-type]  # a coroutine function
            ending = "ok"
        except StorageError as error:
            ending = f"{type(error).__name__}\n{error}"
        except BaseException:  # noqa: BLE001 -- whatever it is, it is to be told
            ending = f"traceback\n{traceback.format_exc()}"
        os.write(theirs, ending.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        told = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        return signal.Signals(-status).name if status < 0 else f"exit {status}", ""
    kind, _, message = told.partition("\n")
    return kind, message


def restore(base: Path, log: Path) -> None:
    """The files as they were at the beginning."""
    for file in log.parent.glob(f"{log.name}*"):
        file.unlink()
    for file in base.iterdir():
        shutil.copy(file, log.parent)


def look(log: Path, acked: set[str]) -> str:
    """What is wrong with the log, for one that has just been opened; nothing if it is all right."""
    with closing(sqlite3.connect(log)) as connection:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        stored = connection.execute("SELECT event_id, body_sha256, body FROM event").fetchall()
    if verdict != "ok":
        return str(verdict)
    if missing := acked - {event_id for event_id, _, _ in stored}:
        return f"{len(missing)} acknowledged events are missing"
    if any(sha256(body).digest() != digest for _, digest, body in stored):
        return "a body has changed"
    return ""


def main() -> None:
    """One line of JSON for each call."""
    state, log, calls, error, last, step = (
        sys.argv[1],
        Path(sys.argv[2]),
        *(int(text) for text in sys.argv[3:]),
    )
    base, notes = log.with_name("base"), log.with_name("acked")
    acked = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if state == "crashed":
        forked(lambda: open_and_die(log, acked))
    elif state.isdigit():
        earlier_version(log, int(state))
        os.write(acked, b"earlier\n")
    base.mkdir()
    for file in log.parent.glob(f"{log.name}*"):
        shutil.copy(file, base)
    before = notes.read_bytes()
    with Shim(Path(os.environ["LD_PRELOAD"]), log) as shim:
        number = 1
        while True:
            restore(base, log)
            os.ftruncate(acked, 0)
            os.write(acked, before)
            shim.fail(Call(calls), error, first=number, last=min(number + last, FOREVER))
            ending, message = forked(lambda: open_and_work(log, acked))
            reached = shim.counted >= number
            shim.heal()
            told = set(notes.read_text().split())
            again, why = forked(lambda: open_and_work(log, acked))
            wrong = look(log, told) if again == "ok" else f"{again}: {why}"
            print(
                json.dumps({"call": number, "ending": ending, "message": message, "wrong": wrong}), flush=True
            )
            if not reached:
                return
            number += step


if __name__ == "__main__":
    main()
