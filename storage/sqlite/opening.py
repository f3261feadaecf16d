"""How a log is opened for writing: whose it is, whether it is sound, then its schema brought up to date.

The rule easiest to break: what is refused is left as it was, byte for byte, so every doubt comes before the
first write.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.errors import LogUnusable
from storage.sqlite import append, search, vitals
from storage.sqlite.connection import (
    SCHEMA_VERSION,
    check_header,
    check_version,
    connect_reader,
    connect_writer,
    make_private,
    user_version,
)
from storage.sqlite.examine import refuse_damaged
from storage.sqlite.lock import ServiceLock
from storage.sqlite.migrations import migrate, prepare
from storage.sqlite.operations import WritingConnection

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Opened:
    """A log that may be written."""

    path: Path
    connection: WritingConnection
    lock: ServiceLock
    migrated: list[str]
    recovered: bool

    def close(self) -> None:
        """Let go of it. The last connection to close folds the write-ahead file in and removes it."""
        self.connection.close()
        self.lock.release()


def open_file(path: Path, pid: int) -> Opened:
    """Open or make the log at an absolute path, for the service with this process id.

    Raises:
        LogLocked: another service has it open.
        LogUnusable: it is not ours, too new, damaged, or cannot be written. It is left untouched.
        LogDamaged: an examination found it damaged, and it still is.
    """
    exists = check_header(path, SCHEMA_VERSION)
    make_private(path)
    lock = ServiceLock(path, pid)
    connection: WritingConnection | None = None
    recovered = vitals.size(path.with_name(path.name + "-wal")) > 0
    try:
        if not exists:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as new:
                prepare(new)
        elif path.with_name(path.name + "-wal").exists():
            # A crash may have left a newer number there than in the header.
            with contextlib.closing(connect_reader(path)) as left:
                check_version(path, user_version(left), SCHEMA_VERSION)
        refuse_damaged(path)
        connection = connect_writer(path, WritingConnection)
        migrated = migrate(connection)
        append.prepare(connection)
        search.prepare(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        lock.release()
        if isinstance(error, sqlite3.Error):
            raise LogUnusable(f"{path} cannot be used: {error}.") from error
        raise
    return Opened(path, connection, lock, migrated, recovered)
