"""Taking people's data out of rows: contents give way, rows stay.

What is overwritten is gone from its page (`secure_delete`), but older copies may wait in the write-ahead
file and in the index of words; `scrub` and `fold_in` see to those. The rule easiest to break: an event's
words leave the index in the transaction that replaces its body, since afterwards nobody knows them any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from storage.removal import Content, StoredItem
from storage.sqlite import calendar, search
from storage.sqlite.append import chunks
from storage.sqlite.connection import BUSY_TIMEOUT_MS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from storage.calendar import Restated
    from storage.removal import Erasure, Rewriting
    from storage.sqlite.names import Names

PAGE_ROWS: Final = 2_000
PAGE_BYTES: Final = 8 * 1024 * 1024
"""What one reading transaction gives."""
MERGE_PAGES: Final = 200
"""Pages of the index that one step of its merging writes: some milliseconds."""
GONE: Final = "(forgotten)"
_NO_HEADERS: Final = "{}"


def contents(connection: sqlite3.Connection, after_seq: int) -> list[Content]:
    """The next events with their bodies, oldest first; none behind the last."""
    rows = connection.execute(
        "SELECT e.seq, routing.subject_id, coalesce(e.flags, ''), e.body FROM event e "
        "LEFT JOIN routing ON routing.seq = e.seq WHERE e.seq > ? ORDER BY e.seq LIMIT ?",
        (after_seq, PAGE_ROWS),
    )
    found: list[Content] = []
    size = 0
    for seq, subject, flags, body in rows:
        found.append(Content(seq, subject, tuple(flags.split()), body))
        size += len(body)
        if size > PAGE_BYTES:
            break
    return found


def stored_items(connection: sqlite3.Connection, after: tuple[str, str]) -> list[StoredItem]:
    """The next values that handlers keep, behind this handler and key."""
    rows = connection.execute(
        "SELECT name, key, value FROM store JOIN handler USING (handler_id) "
        "WHERE (name, key) > (?, ?) ORDER BY name, key LIMIT ?",
        (*after, PAGE_ROWS),
    )
    return [StoredItem(*row) for row in rows]


class Forgetting:
    """The operations that take data out, with the names they share."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def rewrite(
        self, connection: sqlite3.Connection, batches: list[tuple[Sequence[Rewriting], Restated | None]]
    ) -> list[bool]:
        """Replace bodies of events of one subject, and what follows from them, if that is still the same."""
        return [self._rewrite(connection, *batch) for batch in batches]

    def _rewrite(
        self, connection: sqlite3.Connection, events: Sequence[Rewriting], restated: Restated | None
    ) -> bool:
        if not all(search.is_body(connection, event.seq, event.before) for event in events):
            return False
        if restated is not None and not calendar.restate(connection, [restated])[0]:
            return False
        search.unlearn(connection, ((event.seq, event.words_before) for event in events))
        search.learn(connection, ((event.seq, event.words_after) for event in events))
        for event in events:
            connection.execute(
                "UPDATE event SET body = ?, title = ?, provenance_id = ?, "
                "flags = CASE WHEN ' ' || coalesce(flags, '') || ' ' LIKE '% forgotten %' THEN flags "
                "ELSE ltrim(coalesce(flags, '') || ' forgotten') END WHERE seq = ?",
                (event.body, event.title, self._nameless(connection, "event", event.seq), event.seq),
            )
            for (repeat_id,) in connection.execute(
                "SELECT repeat_id FROM repeat WHERE seq = ?", (event.seq,)
            ).fetchall():
                connection.execute(
                    "UPDATE repeat SET provenance_id = ? WHERE repeat_id = ?",
                    (self._nameless(connection, "repeat", repeat_id), repeat_id),
                )
        return True

    def _nameless(self, connection: sqlite3.Connection, table: str, number: int) -> int:
        """The same secret without headers: those are the sender's, who may put anything there."""
        row = connection.execute(
            f"SELECT secret_fingerprint FROM {table} JOIN provenance USING (provenance_id) "  # noqa: S608 -- one of two names
            f"WHERE {'seq' if table == 'event' else 'repeat_id'} = ?",
            (number,),
        ).fetchone()
        return self._names.provenance(connection, _NO_HEADERS, row[0] or None)

    def erase_refused(self, connection: sqlite3.Connection, numbers: list[int]) -> list[None]:
        """Empty bodies of quarantine. Their digests stay, so that they are not kept again."""
        for number in numbers:
            fingerprint = connection.execute(
                "SELECT secret_fingerprint FROM refused JOIN provenance USING (provenance_id) "
                "WHERE refused_id = ?",
                (number,),
            ).fetchone()
            if fingerprint is not None:
                connection.execute(
                    "UPDATE refused SET body = x'', state = 'forgotten', provenance_id = ? "
                    "WHERE refused_id = ?",
                    (self._names.provenance(connection, _NO_HEADERS, fingerprint[0] or None), number),
                )
        return [None] * len(numbers)


def erase_traces(connection: sqlite3.Connection, batches: list[Sequence[int]]) -> list[int]:
    """Take out what runs of these events left: errors and messages. How many of them are running.

    A message that waits is not sent any more; one that is being sent ends as it ends.
    """
    return [_erase_traces(connection, seqs) for seqs in batches]


def _erase_traces(connection: sqlite3.Connection, seqs: Sequence[int]) -> int:
    running = 0
    for places, values in chunks([(seq,) for seq in seqs], 1):
        runs = f"(SELECT run_id FROM run WHERE seq IN (VALUES {places}))"  # noqa: S608 -- placeholders only
        connection.execute(
            f"UPDATE attempt SET error = '{GONE}' WHERE run_id IN {runs} AND error <> '{GONE}'",  # noqa: S608 -- as above
            values,
        )
        connection.execute(
            f"UPDATE message SET url = origin || '/', headers = '{{}}', body = x'', "  # noqa: S608 -- as above
            f"error = CASE WHEN state IN ('pending', 'retrying') THEN '{GONE}' "
            f"WHEN error IS NOT NULL THEN '{GONE}' END, "
            "due_at = CASE WHEN state IN ('pending', 'retrying') THEN NULL ELSE due_at END, "
            "state = CASE WHEN state IN ('pending', 'retrying') THEN 'dead' ELSE state END "
            f"WHERE run_id IN {runs}",
            values,
        )
        running += connection.execute(
            f"SELECT count(*) FROM run WHERE state = 'running' AND seq IN (VALUES {places})",  # noqa: S608 -- as above
            values,
        ).fetchone()[0]
        running += connection.execute(
            f"SELECT count(*) FROM message WHERE state = 'running' AND run_id IN {runs}",  # noqa: S608 -- as above
            values,
        ).fetchone()[0]
    return running


def rewrite_stored(connection: sqlite3.Connection, items: list[tuple[StoredItem, str | None]]) -> list[bool]:
    """Put another value, or none, in the place of one that a handler keeps, if it is still that one."""
    changed = []
    for item, value in items:
        # No run has written what is there then, so a handler that has read the old value is run again.
        statement, values = (
            ("DELETE FROM store", [])
            if value is None
            else ("UPDATE store SET value = ?, run_id = 0", [value])
        )
        cursor = connection.execute(
            f"{statement} WHERE handler_id = (SELECT handler_id FROM handler WHERE name = ?) "  # noqa: S608 -- one of the two above
            "AND key = ? AND value = ?",
            [*values, item.handler, item.key, item.value],
        )
        changed.append(cursor.rowcount == 1)
    return changed


def note_erasure(connection: sqlite3.Connection, erasures: list[Erasure]) -> list[int]:
    """Record that somebody is forgotten, and how much it is; nothing of whom. The numbers of that."""
    numbers = []
    for erasure in erasures:
        cursor = connection.execute(
            "INSERT INTO erasure (at, calendar_events, calls, events, mentions, quarantined, stored) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                erasure.at_ms,
                erasure.calendar_events,
                erasure.calls,
                erasure.events,
                erasure.mentions,
                erasure.quarantined,
                erasure.stored,
            ),
        )
        numbers.append(cursor.lastrowid or 0)
    return numbers


def scrub(connection: sqlite3.Connection, steps: list[bool]) -> list[bool]:
    """One step of writing the index of words anew, without what was taken out; whether there is more to do.

    The first step of all is True. https://www.sqlite.org/fts5.html, "The 'merge' command".
    """
    more = False
    for first in steps:
        before = connection.total_changes
        connection.execute(
            "INSERT INTO search (search, rank) VALUES ('merge', ?)", (-MERGE_PAGES if first else MERGE_PAGES,)
        )
        more = connection.total_changes - before >= 2  # noqa: PLR2004 -- what the page above gives as the sign
    return [more] * len(steps)


def fold_in(connection: sqlite3.Connection) -> bool:
    """Empty the write-ahead file. False while a reader is in the way; it is not waited for here."""
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        row: tuple[Any, ...] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return bool(row[0] == 0)


def compact(connection: sqlite3.Connection) -> None:
    """Write the file anew, without free space: pages that SQLite rearranged may hold old bytes there."""
    connection.execute("VACUUM")
    fold_in(connection)
