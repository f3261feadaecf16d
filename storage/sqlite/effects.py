"""Effects of handlers as rows: values of their stores, and messages on their way out.

Both are written by the transaction that marks the run done, so they happen exactly once. Messages then live
like runs: one number, `due_at`, says when one may be sent; it is NULL while an earlier message of the same
handler about the same subject is unfinished. The rule easiest to break: a store's reads are checked before
anything is written, and the version of a value is the run that wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from storage.sqlite.append import insert
from storage.work import ClaimedMessage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

    from storage.work import Effects, MessageOutcome, Outcome

_COLUMNS: Final = (
    "run_id, ordinal, handler_id, subject_id, url, origin, headers, body, idempotency_key, "
    "state, due_at, created_at"
)
_MESSAGE: Final = (f"INSERT INTO message ({_COLUMNS}) VALUES ", 12, "")  # noqa: S608 -- a constant
_UNFINISHED: Final = "state IN ('pending', 'running', 'retrying')"


def still_true(connection: sqlite3.Connection, handler: int, effects: Effects) -> bool:
    """Whether every key that the attempt read still has the version it found."""
    return all(version_of(connection, handler, key) == version for key, version in effects.reads)


def version_of(connection: sqlite3.Connection, handler: int, key: str) -> int | None:
    """The run that wrote the value of a key."""
    row = connection.execute(
        "SELECT run_id FROM store WHERE handler_id = ? AND key = ?", (handler, key)
    ).fetchone()
    return None if row is None else int(row[0])


def commit(
    connection: sqlite3.Connection, outcome: Outcome, effects: Effects, handler: int, subject: int | None
) -> None:
    """Write what an attempt staged. Its run has just been marked done in the same transaction."""
    for key, value in effects.writes:
        if value is None:
            connection.execute("DELETE FROM store WHERE handler_id = ? AND key = ?", (handler, key))
        else:
            connection.execute(
                "INSERT INTO store (handler_id, key, value, run_id) VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET value = excluded.value, run_id = excluded.run_id",
                (handler, key, value, outcome.run_id),
            )
    if effects.messages:
        _post(connection, outcome, effects, handler, subject)


def _post(
    connection: sqlite3.Connection, outcome: Outcome, effects: Effects, handler: int, subject: int | None
) -> None:
    """Queue messages. The same message of a replay has the key of the first time."""
    event_id, name = connection.execute(
        "SELECT event_id, handler.name FROM run JOIN event USING (seq) JOIN handler USING (handler_id) "
        "WHERE run_id = ?",
        (outcome.run_id,),
    ).fetchone()
    waits = subject is not None and _someone_in_line(connection, handler, subject)
    rows = []
    for ordinal, message in enumerate(effects.messages, 1):
        due_at = None if waits else outcome.finished_at_ms
        waits = subject is not None
        key = f"{event_id}:{name}:{ordinal}"
        rows.append(
            (
                outcome.run_id,
                ordinal,
                handler,
                subject,
                message.url,
                message.origin,
                message.headers,
                message.body,
                key,
                "pending",
                due_at,
                outcome.finished_at_ms,
            )
        )
    insert(connection, _MESSAGE, rows)


def claim_messages(
    connection: sqlite3.Connection, requests: list[tuple[str, int, Collection[str], int]]
) -> list[list[ClaimedMessage]]:
    """Take due messages: the owner, how many, the origins to leave alone, and the time."""
    return [_claim(connection, *request) for request in requests]


def _claim(
    connection: sqlite3.Connection, owner: str, most: int, avoid: Collection[str], now_ms: int
) -> list[ClaimedMessage]:
    places = ", ".join("?" * len(avoid))
    rows = connection.execute(
        "SELECT message_id, handler.name, attempt + 1, url, origin, headers, body, idempotency_key "  # noqa: S608 -- placeholders only
        "FROM message JOIN handler USING (handler_id) "
        f"WHERE due_at <= ? AND origin NOT IN ({places}) ORDER BY due_at, message_id LIMIT ?",
        (now_ms, *avoid, most),
    ).fetchall()
    for row in rows:
        connection.execute(
            "UPDATE message SET state = 'running', attempt = attempt + 1, due_at = NULL, owner = ? "
            "WHERE message_id = ?",
            (owner, row[0]),
        )
    return [ClaimedMessage(*row) for row in rows]


def finish_messages(connection: sqlite3.Connection, outcomes: list[MessageOutcome]) -> list[bool]:
    """Record how sending ended; whether the message was still in that attempt."""
    return [_finish(connection, outcome) for outcome in outcomes]


def _finish(connection: sqlite3.Connection, outcome: MessageOutcome) -> bool:
    if (outcome.state == "retrying") != (outcome.due_at_ms is not None):
        raise ValueError("A message that is sent again needs the time when; any other has none.")
    row = connection.execute(
        "UPDATE message SET state = ?, due_at = ?, owner = NULL, status = ?, error = ?, finished_at = ? "
        "WHERE message_id = ? AND state = 'running' AND attempt = ? RETURNING handler_id, subject_id",
        (
            outcome.state,
            outcome.due_at_ms,
            outcome.status,
            outcome.error,
            outcome.finished_at_ms,
            outcome.message_id,
            outcome.attempt,
        ),
    ).fetchone()
    if row is None:
        return False
    if outcome.state in ("done", "dead") and row[1] is not None:
        connection.execute(
            "UPDATE message SET due_at = ? WHERE state = 'pending' AND due_at IS NULL AND message_id = ("  # noqa: S608 -- a constant
            f"SELECT min(message_id) FROM message WHERE handler_id = ? AND subject_id = ? AND {_UNFINISHED})",
            (outcome.finished_at_ms, *row),
        )
    return True


def take_back_messages(connection: sqlite3.Connection, requests: list[tuple[str, bool, int]]) -> list[int]:
    """Let messages that were being sent wait again, due at once: this owner's own, or all others'."""
    counts = []
    for owner, own, now_ms in requests:
        condition = "owner = ?2" if own else "owner <> ?2"
        cursor = connection.execute(
            "UPDATE message SET state = 'retrying', due_at = ?1, finished_at = ?1, owner = NULL "  # noqa: S608 -- one of the two above
            f"WHERE state = 'running' AND {condition}",
            (now_ms, owner),
        )
        counts.append(cursor.rowcount)
    return counts


def _someone_in_line(connection: sqlite3.Connection, handler: int, subject: int) -> bool:
    row = connection.execute(
        f"SELECT 1 FROM message WHERE handler_id = ? AND subject_id = ? AND {_UNFINISHED} LIMIT 1",  # noqa: S608 -- a constant
        (handler, subject),
    ).fetchone()
    return row is not None
