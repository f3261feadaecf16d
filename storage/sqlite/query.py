"""A person's own SQL: one statement that reads, and nothing else.

Three things each refuse writing by themselves: the file is opened read-only, the connection is
`query_only`, and this authorizer, which SQLite asks about every step while it compiles the statement. The
rule easiest to break: what is not listed here is refused, so that a new SQLite brings no new way out.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from storage.errors import QueryError
from storage.sqlite.connection import limit_time

_ALLOWED: Final = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}
_ALLOWED_PRAGMAS: Final = {"table_info", "table_xinfo", "table_list", "compile_options"}


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_PRAGMA:
        allowed = first in _ALLOWED_PRAGMAS
    elif action == sqlite3.SQLITE_FUNCTION:
        allowed = second != "load_extension"
    else:
        allowed = action in _ALLOWED
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def sql(
    connection: sqlite3.Connection, query: str, seconds: float
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Run one statement that reads.

    Raises:
        QueryError: it is wrong, wants to write, attach or set something, or takes longer than it may.
    """
    connection.set_authorizer(_authorize)
    limit_time(connection, seconds)
    try:
        cursor = connection.execute(query)
        rows = cursor.fetchall()
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        raise QueryError(_why_refused(error, seconds)) from error
    finally:
        connection.set_authorizer(None)
        connection.set_progress_handler(None, 0)
    if cursor.description is None:
        raise QueryError("The statement is empty. Expected one SELECT over the views of the log.")
    return [str(column[0]) for column in cursor.description], rows


def _why_refused(error: Exception, seconds: float) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_AUTH:
        return f"Only reading is allowed here ({error}). Expected one SELECT over the views of the log."
    if code == sqlite3.SQLITE_INTERRUPT:
        return f"The query took longer than {seconds:g} s. Narrow it, for example by seq or received_at."
    if code == sqlite3.SQLITE_READONLY:
        return "Only reading is allowed here. Expected one SELECT over the views of the log."
    return f"SQLite refused the query: {error}"
