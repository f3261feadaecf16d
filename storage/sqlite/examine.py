"""A look at the file's structure while the service runs, and the memory of one that was not sound.

The rule easiest to break: a log that was found damaged takes nothing in again before it was found sound, also
after a restart. So the finding is left beside the log, in a file.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

from storage.errors import LogDamaged, LogUnavailable
from storage.sqlite.check import structure
from storage.sqlite.connection import connect_reader

if TYPE_CHECKING:
    from pathlib import Path

    from storage.records import Damage


class Examiner:
    """Reads the file through, in whatever thread it is called, on a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def examine(self) -> list[Damage]:
        """What is wrong; it is noted beside the log.

        Raises:
            LogUnavailable: it could not be read to the end.
        """
        try:
            with closing(connect_reader(self._path)) as connection:
                with self._lock:
                    if self._stopped:
                        raise LogUnavailable("The log is closing.")
                    self._connection = connection
                try:
                    found = list(structure(connection))
                finally:
                    with self._lock:
                        self._connection = None
        except sqlite3.Error as error:
            raise LogUnavailable(f"The log cannot be read: {error}.") from error
        if found:
            with contextlib.suppress(OSError):  # the finding itself counts
                _note(self._path).write_text(f"{found[0].message}\n", "utf-8")
        return found

    def stop(self) -> None:
        """Break off: the log closes."""
        with self._lock:
            self._stopped = True
            if self._connection is not None:
                self._connection.interrupt()


def refuse_damaged(path: Path) -> None:
    """Where a log was found damaged, look whether it still is.

    Raises:
        LogDamaged: it is.
    """
    note = _note(path)
    if not note.exists():
        return
    with closing(connect_reader(path)) as connection:
        if damage := next(structure(connection), None):
            raise LogDamaged(
                f"{path} is damaged: {damage.message}. It takes nothing in. `klenhook db check` names what "
                "is damaged; storage/README.md says how to restore a backup."
            )
    note.unlink(missing_ok=True)


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")
