"""Taking in deliveries: which are new events, which repeat one, and which are kept in quarantine.

Two rows in `identity` make an event one: its content and its body, its content and its delivery id. `ON
CONFLICT DO NOTHING` on its primary key is the decision; there is no look-up before it. Both begin with the
digest of the content, so they are neighbours, and an event touches one page of the index instead of two.

The rule easiest to break: a body that is known must not bind its delivery id to anything, or a replayed
body could claim the id of an event that is still to come.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from storage.records import Appended

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from storage.records import NewEvent, Refused
    from storage.sqlite.names import Names

HALF: Final = 8
"""Bytes of each half of a digest. Two halves, 128 bits, tell any number of events apart."""
RECENT: Final = 10_000
"""Delivery ids that are remembered, to notice one that comes back with other content."""

QUARANTINE_ROWS: Final = 1_000
QUARANTINE_BYTES: Final = 64 * 1024 * 1024
"""What quarantine keeps. It is for the one sender that went wrong, not a store."""

_COLUMNS: Final = (
    "seq, event_id, source_id, origin, received_at, delivery_id, provenance_id, event_type, "
    "calendar_event_uuid, calendar_event_id, call_id, occurred_at, title, status, start_at, end_at, flags, "
    "body_sha256, body"
)
_EVENT: Final = (f"INSERT INTO event ({_COLUMNS}) VALUES ", 19, "")  # noqa: S608 -- the constant above
_IDENTITY: Final = ("INSERT INTO identity (digest, source_id, seq) VALUES ", 3, " ON CONFLICT DO NOTHING")


class Appender:
    """The two operations that take something in. They run in the writer's transaction."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._recent: OrderedDict[tuple[int, str], None] | None = None
        """Sources and delivery ids of the newest events, oldest first; None until they are asked for."""

    def forget(self) -> None:
        """Drop what is remembered: after a rollback some of it never came about."""
        self._recent = None

    def append(self, connection: sqlite3.Connection, events: list[NewEvent]) -> list[Appended]:
        """Record deliveries. New ones all at once; if one of them repeats something, one after the other."""
        numbered = list(enumerate(events, self._next_seq(connection)))
        digests = [self._digests(connection, event, seq) for seq, event in numbered]
        together = list(chain.from_iterable(digests))
        connection.execute("SAVEPOINT fresh")
        if insert(connection, _IDENTITY, together) == len(together):
            reused = [self._is_reused(connection, event) for event in events]
            rows = [
                self._row(connection, event, seq, id_reused=again)
                for (seq, event), again in zip(numbered, reused, strict=True)
            ]
            insert(connection, _EVENT, rows)
            connection.execute("RELEASE fresh")
            return [
                Appended(event.event_id, duplicate=False, id_reused=again)
                for event, again in zip(events, reused, strict=True)
            ]
        connection.execute("ROLLBACK TO fresh")
        connection.execute("RELEASE fresh")
        return [self._append_one(connection, event) for event in events]

    def _append_one(self, connection: sqlite3.Connection, event: NewEvent) -> Appended:
        seq = self._next_seq(connection)
        by_body, *by_delivery = self._digests(connection, event, seq)
        if not insert(connection, _IDENTITY, [by_body]):
            return self._repeat(connection, event, _seq_of(connection, by_body))
        if by_delivery and not insert(connection, _IDENTITY, by_delivery):
            known = _seq_of(connection, by_delivery[0])
            # The retry's own bytes are remembered too, so that they stay a duplicate under any other id.
            connection.execute(
                "UPDATE identity SET seq = ? WHERE digest = ? AND source_id = ?", (known, *by_body[:2])
            )
            return self._repeat(connection, event, known)
        id_reused = self._is_reused(connection, event)
        insert(connection, _EVENT, [self._row(connection, event, seq, id_reused=id_reused)])
        return Appended(event.event_id, duplicate=False, id_reused=id_reused)

    def _repeat(self, connection: sqlite3.Connection, event: NewEvent, seq: int) -> Appended:
        """Record one more delivery under its event."""
        connection.execute(
            "INSERT INTO repeat (seq, received_at, delivery_id, provenance_id) VALUES (?, ?, ?, ?)",
            (
                seq,
                event.received_at_ms,
                event.delivery_id,
                self._names.provenance(connection, event.headers, event.secret_fingerprint),
            ),
        )
        row = connection.execute("SELECT event_id FROM event WHERE seq = ?", (seq,)).fetchone()
        return Appended(str(row[0]), duplicate=True)

    def _digests(
        self, connection: sqlite3.Connection, event: NewEvent, seq: int
    ) -> list[tuple[bytes, int, int]]:
        source = self._names.source(connection, event.source)
        by_body = (event.content_digest + event.body_sha256[:HALF], source, seq)
        if event.delivery_digest is None:
            return [by_body]
        return [by_body, (event.content_digest + event.delivery_digest, source, seq)]

    def _is_reused(self, connection: sqlite3.Connection, event: NewEvent) -> bool:
        """Whether this new event comes under a delivery id that an earlier one had."""
        if event.delivery_id is None:
            return False
        if self._recent is None:
            newest = connection.execute(
                "SELECT source_id, delivery_id FROM event "
                "WHERE delivery_id IS NOT NULL ORDER BY seq DESC LIMIT ?",
                (RECENT,),
            )
            self._recent = OrderedDict.fromkeys(reversed(newest.fetchall()))
        key = (self._names.source(connection, event.source), event.delivery_id)
        if key in self._recent:
            return True
        self._recent[key] = None
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        return False

    def _row(
        self, connection: sqlite3.Connection, event: NewEvent, seq: int, *, id_reused: bool
    ) -> tuple[Any, ...]:
        flags = f"{event.flags or ''} delivery_id_reused".strip() if id_reused else event.flags
        return (
            seq,
            event.event_id,
            self._names.source(connection, event.source),
            event.origin,
            event.received_at_ms,
            event.delivery_id,
            self._names.provenance(connection, event.headers, event.secret_fingerprint),
            event.event_type,
            event.calendar_event_uuid,
            event.calendar_event_id,
            event.call_id,
            event.occurred_at_ms,
            event.title,
            event.status,
            event.start_ms,
            event.end_ms,
            flags,
            event.body_sha256,
            event.body,
        )

    @staticmethod
    def _next_seq(connection: sqlite3.Connection) -> int:
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
        return int(row[0]) + 1 if row else 1

    def quarantine(self, connection: sqlite3.Connection, bodies: list[Refused]) -> list[int | None]:
        """Keep signed bodies that could not be read, as long as there is room."""
        return [self._quarantine_one(connection, body) for body in bodies]

    def _quarantine_one(self, connection: sqlite3.Connection, refused: Refused) -> int | None:
        rows, size = connection.execute(
            "SELECT count(*), coalesce(sum(length(body)), 0) FROM refused"
        ).fetchone()
        if rows >= QUARANTINE_ROWS or size + len(refused.body) > QUARANTINE_BYTES:
            return None
        row = connection.execute(
            "INSERT INTO refused "
            "(source_id, received_at, delivery_id, provenance_id, reason, body_sha256, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING refused_id",
            (
                self._names.source(connection, refused.source),
                refused.received_at_ms,
                refused.delivery_id,
                self._names.provenance(connection, refused.headers, refused.secret_fingerprint),
                refused.reason,
                refused.body_sha256,
                refused.body,
            ),
        ).fetchone()
        return int(row[0]) if row else None


def released(connection: sqlite3.Connection, numbers: list[int]) -> list[None]:
    """Mark refused bodies as let through after all."""
    for number in numbers:
        connection.execute("UPDATE refused SET state = 'released' WHERE refused_id = ?", (number,))
    return [None] * len(numbers)


def insert(
    connection: sqlite3.Connection, target: tuple[str, int, str], rows: Sequence[tuple[Any, ...]]
) -> int:
    """Insert many rows in few statements; how many were new. A target is the head, the width and the tail."""
    head, width, tail = target
    return sum(
        connection.execute(f"{head}{places}{tail}", values).rowcount for places, values in chunks(rows, width)
    )


def chunks(rows: Sequence[tuple[Any, ...]], width: int) -> Iterator[tuple[str, list[Any]]]:
    """Rows as placeholders and values for few statements.

    One statement for many rows runs in SQLite without Python's lock, where a statement per row would take
    and give back the lock each time and hold up the loop. Sizes are multiples of eight, then what is left, so
    that few statements need preparing.
    """
    place = "(" + ", ".join("?" * width) + ")"
    start = 0
    while start < len(rows):
        left = len(rows) - start
        size = min(64, left - left % 8 or left)
        yield ", ".join([place] * size), list(chain.from_iterable(rows[start : start + size]))
        start += size


def _seq_of(connection: sqlite3.Connection, key: tuple[bytes, int, int]) -> int:
    return int(
        connection.execute("SELECT seq FROM identity WHERE digest = ? AND source_id = ?", key[:2]).fetchone()[
            0
        ]
    )
