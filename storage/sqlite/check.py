"""Whether the log still is what was written: the file's structure, and every body by its hash.

SQLite finds destroyed pages, but not one flipped bit in a body; the SHA-256 stored with it does. The rule
easiest to break: a check of a damaged file must get to its end, so whatever SQLite refuses to read is a
finding and not the end. What can be named is named by its event id, for which there are two ways, the index
and the table, in case one of them is destroyed.
"""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from storage.records import Damage

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE: Final = 500
"""Events per reading transaction, for a long one pins the write-ahead file."""
MOST_COMPLAINTS: Final = 100
"""What SQLite may say about one file; after so much, more tells nothing new."""

_ALTERED: Final = "the body is not the one that came: its SHA-256 differs"


def check(connection: sqlite3.Connection) -> Iterator[Damage]:
    """All that is wrong with the log, on a reading connection of its own. It may take minutes."""
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    yield from structure(connection)
    yield from _references(connection)
    yield from _bodies(connection)
    yield from _quarantine(connection)


def structure(connection: sqlite3.Connection) -> Iterator[Damage]:
    """What `PRAGMA quick_check` says: a second for a gigabyte."""
    try:
        for (complaint,) in connection.execute(f"PRAGMA quick_check({MOST_COMPLAINTS})"):
            if complaint != "ok":
                yield Damage("file", None, f"SQLite finds: {' '.join(complaint.split())}")
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise
        yield _unreadable("the file", error)


def _references(connection: sqlite3.Connection) -> Iterator[Damage]:
    """Rows that belong to something that is not there."""
    try:
        rows = connection.execute(
            'SELECT "table", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2'
        )
        for table, parent, number in rows:
            yield Damage(
                "file", None, f"{number} rows of {table} belong to rows of {parent} that are not there"
            )
    except sqlite3.DatabaseError as error:
        yield _unreadable("what belongs together", error)


def _bodies(connection: sqlite3.Connection) -> Iterator[Damage]:
    """Every event by its id; if the index of those is not whole, also by its number."""
    found: set[Damage] = set()
    try:
        for event_id, seq in _named(connection):
            for damage in _body(connection, seq, event_id):
                found.add(damage)
                yield damage
        whole = _index_is_whole(connection)
    except sqlite3.DatabaseError as error:
        yield _unreadable("the index of event ids", error)
        whole = False
    if not whole:
        yield from (damage for damage in _by_number(connection) if damage not in found)


def _named(connection: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    """Ids and numbers of all events, from the index alone."""
    last = ""
    while page := _page(connection, last):
        yield from page
        last = page[-1][0]


def _page(connection: sqlite3.Connection, last: str) -> list[tuple[str, int]]:
    query = "SELECT event_id, seq FROM event INDEXED BY sqlite_autoindex_event_1 WHERE event_id > ? "
    return connection.execute(f"{query} ORDER BY event_id LIMIT ?", (last, PAGE)).fetchall()


def _index_is_whole(connection: sqlite3.Connection) -> bool:
    """Whether it has as many events as the table, by one reading transaction."""
    named, there = connection.execute(
        "SELECT (SELECT count(*) FROM event INDEXED BY sqlite_autoindex_event_1), "
        "(SELECT count(*) FROM event NOT INDEXED)"
    ).fetchone()
    return bool(named == there)


def _by_number(connection: sqlite3.Connection) -> Iterator[Damage]:
    """Every number that was ever given out; one that is not there may have been removed on purpose."""
    row = _try(connection, "SELECT seq FROM sqlite_sequence WHERE name = 'event'", ())
    newest = int(row[0]) if isinstance(row, tuple) else 0
    yield from chain.from_iterable(_body(connection, seq, None) for seq in range(1, newest + 1))


def _body(connection: sqlite3.Connection, seq: int, event_id: str | None) -> Iterator[Damage]:
    """What is wrong with one event. `event_id` is what the index calls it."""
    row = _try(connection, "SELECT event_id, body, body_sha256, flags FROM event WHERE seq = ?", (seq,))
    if isinstance(row, sqlite3.Error):
        yield _unreadable(f"event number {seq}", row, event_id)
    elif row is None:
        if event_id is not None and _is_in_index(connection, event_id):
            yield Damage("event", event_id, f"event number {seq} is in the index and not in the table")
    elif event_id is not None and row[0] != event_id:
        yield Damage("event", event_id, f"event number {seq} has another id in the table")
    elif _is_altered(row[1], row[2]) and "forgotten" not in str(row[3]).split():
        yield Damage("event", str(row[0]), _ALTERED)


def _is_altered(body: Any, expected: Any) -> bool:
    """Anything may stand in a damaged row."""
    return not isinstance(body, bytes) or sha256(body).digest() != expected


def _is_in_index(connection: sqlite3.Connection, event_id: str) -> bool:
    """Still, or it was removed while we were looking."""
    return bool(
        connection.execute(
            "SELECT 1 FROM event INDEXED BY sqlite_autoindex_event_1 WHERE event_id = ?", (event_id,)
        ).fetchone()
    )


def _quarantine(connection: sqlite3.Connection) -> Iterator[Damage]:
    try:
        for number, body, expected in connection.execute(
            "SELECT refused_id, body, body_sha256 FROM refused WHERE state <> 'forgotten'"
        ):
            if _is_altered(body, expected):
                yield Damage("quarantine", None, f"quarantine {number}: {_ALTERED}")
    except sqlite3.DatabaseError as error:
        yield _unreadable("quarantine", error)


def _try(connection: sqlite3.Connection, query: str, values: tuple[Any, ...]) -> Any:
    """The first row, or None, or the error."""
    try:
        return connection.execute(query, values).fetchone()
    except sqlite3.Error as error:
        return error


def _unreadable(what: str, error: sqlite3.Error, event_id: str | None = None) -> Damage:
    return Damage("file" if event_id is None else "event", event_id, f"{what} cannot be read: {error}")
