"""Connections to the file, with the settings that the promises rest on, read back after they are set.

The rule easiest to break: only the writer's connection may write *or checkpoint*. SQLite before 3.51.3
(3.50.7, 3.44.6) can lose committed pages when two connections checkpoint at once (sqlite.org/wal.html,
"the WAL-reset bug"), so every other connection is opened read-only. And nothing may open and close the file
beside SQLite while this process has a connection to it: that drops SQLite's locks (see `in_use`).
"""

from __future__ import annotations

import math
import os
import sqlite3
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import quote

from storage.errors import LogUnusable

if TYPE_CHECKING:
    from pathlib import Path

Connection = TypeVar("Connection", bound=sqlite3.Connection)

APPLICATION_ID: Final = 0x6B6C686B
"""Marks a file as ours ("klhk"), in its header."""

SCHEMA_VERSION: Final = 7
"""The number of the last migration that this version knows."""

OLDEST_SQLITE: Final = (3, 37, 0)
"""The first with STRICT tables."""

BUSY_TIMEOUT_MS: Final = 1_000
"""How long one statement waits for a foreign lock. The writer tries again until its callers give up."""

AUTOCHECKPOINT_PAGES: Final = 2_000
"""8 MiB: small enough that little lies outside the main file, large enough that a checkpoint is rare."""

JOURNAL_SIZE_LIMIT: Final = 64 * 1024 * 1024
"""The write-ahead file is cut back to this after a long reader let it grow."""

CACHE_KIB: Final = 16_384
"""The pages that intake and routing come back to in a log of a million events, with room to spare. SQLite's
own 2 MiB hold a third of them, and the others would be read again with every batch."""

_WRITER_SETTINGS: Final[dict[str, int | str]] = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: each commit is synced before it is acknowledged
    "busy_timeout": BUSY_TIMEOUT_MS,
    "wal_autocheckpoint": AUTOCHECKPOINT_PAGES,
    "journal_size_limit": JOURNAL_SIZE_LIMIT,
    "cache_size": -CACHE_KIB,
    "mmap_size": 0,  # a stray write must not reach the file
    "foreign_keys": 1,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "secure_delete": 1,  # what is deleted is overwritten: bodies hold people's data
}
_HEADER: Final = struct.Struct(">16s44xI4xI")  # magic, user_version at 60, application_id at 68
_JOURNAL: Final = bytes.fromhex("d9d505f920a163d7")
"""How a rollback journal begins (sqlite.org/fileformat.html, 3)."""

in_use: Final[Counter[Path]] = Counter()
"""Logs that this process has open, and how often.

Closing any descriptor of a file drops all POSIX locks that the process has on it
(sqlite.org/howtocorrupt.html, 2.2). Without its lock another program would count itself the last to close,
and take the write-ahead file away.
"""


def connect_writer(path: Path, kind: type[Connection]) -> Connection:
    """The one connection that writes. Every setting is read back.

    Raises:
        LogUnusable: a setting does not hold, such as WAL on a network file system.
    """
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=256, factory=kind
    )
    try:
        _set_up(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> None:
    for name, value in _WRITER_SETTINGS.items():
        connection.execute(f"PRAGMA {name} = {value}")
    for name, value in _WRITER_SETTINGS.items():
        found = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if found != value:
            raise LogUnusable(
                f"{path}: SQLite answers {name} = {found!r} where {value!r} is needed. "
                "Is the file on a local disk? Network file systems cannot hold the log."
            )
    _refuse_unwritable(connection, path)


def _refuse_unwritable(connection: sqlite3.Connection, path: Path) -> None:
    """SQLite opens for reading what it cannot open for writing, and never tries again.

    Raises:
        LogUnusable: it did that.
    """
    number = connection.execute("PRAGMA user_version").fetchone()[0]
    try:
        connection.execute("BEGIN IMMEDIATE")  # on such a connection this begins to read, and says nothing
        connection.execute(f"PRAGMA user_version = {number}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY:
            raise LogUnusable(f"{path} cannot be written: {error}. Check its disk and mode.") from error
        # Anything else, such as a lock of somebody else, may go away by itself.
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that can only ask."""
    address = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA mmap_size = 0")
    return connection


def user_version(connection: sqlite3.Connection) -> int:
    """The schema number, of a log whose schema can be read."""
    connection.execute("SELECT name FROM sqlite_schema LIMIT 1")
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def limit_time(connection: sqlite3.Connection, seconds: float | None) -> None:
    """Interrupt what runs on this connection after so many seconds, since a long reader pins the WAL."""
    deadline = time.monotonic() + (math.inf if seconds is None else seconds)
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 20_000)


def check_header(path: Path, known_version: int) -> bool:
    """Whether there is a log; an empty file is none yet. Reads the header without SQLite, to touch nothing.

    Raises:
        LogUnusable: SQLite is too old, or the file is not ours, from a newer version, or unreadable.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise LogUnusable(f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or newer is needed.")
    if in_use[path]:
        return True
    try:
        if path.exists() and not path.is_file():  # a pipe would block, and /dev/null looks empty
            raise LogUnusable(f"{path} is not a file. It was left as it is; name another one.")
        with path.open("rb") as file:
            header = file.read(_HEADER.size)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LogUnusable(f"{path} cannot be read: {error.strerror}.") from error
    if not any(header) and (not header or _has_journal(path)):
        return False
    if len(header) < _HEADER.size or not header.startswith(b"SQLite format 3\0"):
        raise LogUnusable(f"{path} is not a SQLite database. It was left as it is; name another file.")
    _, version, application_id = _HEADER.unpack(header)
    if application_id != APPLICATION_ID:
        raise LogUnusable(
            f"{path} is a database of another program. It was left as it is; name another file."
        )
    check_version(path, version, known_version)
    return True


def _has_journal(path: Path) -> bool:
    """Whether a crash broke off the very first transaction; SQLite takes back what there is of it."""
    try:
        with path.with_name(path.name + "-journal").open("rb") as journal:
            return journal.read(len(_JOURNAL)) == _JOURNAL
    except OSError:
        return False


def check_version(path: Path, version: int, known_version: int) -> None:
    """Refuse a log that a newer klenhook has changed.

    Raises:
        LogUnusable: its schema number is higher than the ones this version knows.
    """
    if version > known_version:
        raise LogUnusable(
            f"{path} is from a newer klenhook (schema {version}; this one knows {known_version}). "
            "It was left as it is; upgrade klenhook."
        )


def make_private(path: Path) -> None:
    """Create the file, and its folder, readable by the owner only; SQLite gives its side files the same mode.

    Raises:
        LogUnusable: it cannot be created or written.
    """
    try:
        missing = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in missing:
            _sync_folder(folder.parent)
        if not path.exists():
            path.touch(0o600)
        path.chmod(0o600)
    except OSError as error:
        raise LogUnusable(f"{path} cannot be written: {error.strerror}. Check its owner and mode.") from error
    if not os.access(path, os.W_OK):
        raise LogUnusable(f"{path} cannot be written. Is its file system read-only?")


def _sync_folder(folder: Path) -> None:
    """SQLite syncs the log's own folder, but not those above: a power cut could take a new one away."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
