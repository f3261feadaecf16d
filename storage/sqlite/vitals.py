"""How the log is doing: what waits, since when, and what room there is.

It is asked every few seconds, with ten million events in the log as with ten. The rule easiest to break:
each query here seeks in an index; none may look at more than what is unfinished.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from storage.errors import LogUnavailable

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path


def waiting(connection: sqlite3.Connection) -> dict[str, Any]:
    """What is not routed yet, and since when the oldest live run of each handler is due."""
    newest, routed = connection.execute(
        "SELECT (SELECT max(seq) FROM event), (SELECT max(seq) FROM routing)"
    ).fetchone()
    oldest = connection.execute(
        "SELECT received_at FROM event WHERE seq > ? ORDER BY seq LIMIT 1", (routed or 0,)
    ).fetchone()
    due = connection.execute(
        "SELECT name, (SELECT min(due_at) FROM run WHERE run.handler_id = handler.handler_id "
        "AND (replay_id IS NOT NULL) = 0 AND due_at IS NOT NULL) FROM handler"
    )
    return {
        "unrouted": (newest or 0) - (routed or 0) if oldest else 0,
        "unrouted_since_ms": oldest[0] if oldest else None,
        "due_since_ms": {name: since for name, since in due if since is not None},
    }


def room(path: Path) -> dict[str, Any]:
    """Sizes of the log's files, and what their file system has left.

    Raises:
        LogUnavailable: the folder is not there.
    """
    try:
        found = os.statvfs(path.parent)
    except OSError as error:
        raise LogUnavailable(f"{path.parent} cannot be read: {error.strerror}.") from error
    return {
        "size_bytes": size(path),
        "wal_bytes": size(path.with_name(path.name + "-wal")),
        "free_bytes": found.f_bavail * found.f_frsize,
        # Some file systems make them as they go, and say that they have none.
        "free_inodes": found.f_favail if found.f_files else None,
    }


def unfinished(connection: sqlite3.Connection) -> Counter[str]:
    """Runs that are not finished, by handler. Those in order are in one index, the others in two."""
    found: Counter[str] = Counter()
    for condition in _UNFINISHED:
        query = f"SELECT handler_id, count(*) AS runs FROM run WHERE {condition} GROUP BY handler_id"  # noqa: S608 -- constants
        rows = connection.execute(f"SELECT name, runs FROM ({query}) JOIN handler USING (handler_id)")  # noqa: S608 -- as above
        found.update(dict(rows.fetchall()))
    return found


_UNFINISHED: Final = (
    "subject_id IS NOT NULL AND state IN ('pending', 'running', 'retrying')",
    "subject_id IS NULL AND due_at IS NOT NULL",
    "subject_id IS NULL AND state = 'running'",
)
"""Each as an index has it."""


def probe(connection: sqlite3.Connection, items: list[None]) -> list[None]:
    """Write to the one row that is there for it. An operation of the writer."""
    connection.execute("UPDATE probe SET times = times + 1")
    return items


def size(file: Path) -> int:
    """Bytes; 0 for a file that is not there."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
