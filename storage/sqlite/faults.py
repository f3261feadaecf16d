"""What a failure of SQLite means: whose it is, and whether to wait, refuse or stop.

The rule easiest to break: after a failed sync nothing may be acknowledged any more. The kernel may have
marked the pages clean, so a second sync succeeds without having written them (Rebello et al., "Can
Applications Recover from fsync Failures?", USENIX ATC 2020). Only a restart and recovery can tell.
"""

from __future__ import annotations

import sqlite3
from enum import Enum
from typing import Final


class Fault(Enum):
    """What to do about a failed transaction."""

    ROW = "one operation is at fault; the others can go on"
    WAIT = "somebody else holds the lock; try again"
    REFUSE = "the log cannot be written now; refuse, and try again each second"
    STOP = "the log must not be written any more"


_STOP: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
        sqlite3.SQLITE_READONLY_DBMOVED,
    }
)
_PRIMARY: Final = {
    sqlite3.SQLITE_BUSY: Fault.WAIT,
    sqlite3.SQLITE_LOCKED: Fault.WAIT,
    sqlite3.SQLITE_FULL: Fault.REFUSE,
    sqlite3.SQLITE_READONLY: Fault.REFUSE,
    sqlite3.SQLITE_IOERR: Fault.REFUSE,
    sqlite3.SQLITE_CANTOPEN: Fault.REFUSE,
    sqlite3.SQLITE_NOMEM: Fault.REFUSE,
    sqlite3.SQLITE_PROTOCOL: Fault.REFUSE,
    sqlite3.SQLITE_PERM: Fault.REFUSE,
    sqlite3.SQLITE_CORRUPT: Fault.STOP,
    sqlite3.SQLITE_NOTADB: Fault.STOP,
}


def classify(error: Exception) -> Fault:
    """What kind of fault an exception of the writer is. Anything that is not the database's is the row's."""
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return Fault.ROW
    if code in _STOP:
        return Fault.STOP
    return _PRIMARY.get(code & 0xFF, Fault.ROW)


def name_of(error: Exception) -> str:
    """The error as SQLite calls it, such as `SQLITE_FULL`, for the log."""
    return str(getattr(error, "sqlite_errorname", type(error).__name__))
