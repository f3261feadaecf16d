"""When runs and messages are due, should the wall clock be set: no earlier and no later than was decided.

A due time is by the clock of the moment it was written. The rule easiest to break: what was due stays due,
or a clock that is set back by a day lets everything that waits wait for a day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

_OF_RUNS: Final = "handler_id IN (SELECT handler_id FROM handler) AND (replay_id IS NOT NULL) IN (0, 1) AND "
"""What an index needs to seek by the time; there are few handlers."""
_DECIDED: Final = (
    "SELECT {key}, :now + CASE state WHEN 'retrying' THEN max(0, due_at - coalesce({ended}, due_at)) "
    "ELSE 0 END AS due_at FROM {table} WHERE {seek}due_at > :now"
)
"""Rows that are due later than now, with the latest time that they can be due at."""
_ENDED: Final = (
    "(SELECT finished_at FROM attempt WHERE attempt.run_id = run.run_id AND attempt.attempt = run.attempt)"
)
_TABLES: Final = (
    {"table": "run", "key": "run_id", "ended": _ENDED, "seek": _OF_RUNS},
    {"table": "message", "key": "message_id", "ended": "finished_at", "seek": ""},
)
_LIMIT: Final = tuple(
    f"UPDATE {one['table']} SET due_at = decided.due_at FROM ({_DECIDED.format(**one)}) AS decided "  # noqa: S608 -- the constants above
    f"WHERE {one['table']}.{one['key']} = decided.{one['key']} AND decided.due_at < {one['table']}.due_at"
    for one in _TABLES
)
_SHIFT: Final = tuple(
    f"UPDATE {one['table']} SET due_at = CASE state WHEN 'retrying' THEN due_at + :by "  # noqa: S608 -- as above
    f"ELSE min(due_at, :now) END WHERE {one['seek']}due_at > min(:now, :now - :by)"
    for one in _TABLES
)


def limit(connection: sqlite3.Connection, moments: list[int]) -> list[None]:
    """Let nothing wait longer from now on than was decided when its last attempt ended.

    That is so unless the clock was set back while nobody watched it. An operation of the writer.
    """
    for now_ms in moments:
        for statement in _LIMIT:
            connection.execute(statement, {"now": now_ms})
    return [None] * len(moments)


def shift(connection: sqlite3.Connection, by_ms: int, now_ms: int) -> None:
    """Let everything wait as long as it would have, had the clock not been set; now it shows `now_ms`.

    Not together with other operations: those before it go by the old time, those after it by the new one.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _SHIFT:
            connection.execute(statement, {"by": by_ms, "now": now_ms})
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
