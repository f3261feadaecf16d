"""Taking in deliveries: which are new events, which repeat one, and which are kept in quarantine.

Two rows in `identity` make an event one: its content and its body, its content and its delivery id. Their
primary key is the decision. Many new events are one statement: it goes into a view, whose trigger writes the
event and both rows. A statement per row and table would cost more, and in a thread wait for Python's lock
each time.

The rule easiest to break: a body that is known must not bind its delivery id to anything, or a replayed
body could claim the id of an event that is still to come.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import chain
from sqlite3 import IntegrityError
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
TOGETHER: Final = 64
"""Rows of one statement."""

QUARANTINE_ROWS: Final = 1_000
QUARANTINE_BYTES: Final = 64 * 1024 * 1024
"""What quarantine keeps. It is for the one sender that went wrong, not a store."""

_COLUMNS: Final = (
    "event_id, source_id, origin, received_at, delivery_id, provenance_id, event_type, calendar_event_uuid, "
    "calendar_event_id, call_id, occurred_at, title, status, start_at, end_at, flags, body_sha256, body"
)
_EVENT: Final = _COLUMNS.split(", ")
_TAKEN_IN: Final = [*_EVENT, "by_body", "by_delivery"]
_NEAR: Final = "coalesce(NEW.calendar_event_id, 0)"
"""Where in the index: beside the digests of other events of that time, since the vendor numbers
appointments as they are made. Digests alone would fall on a page of their own each."""

_PREPARATION: Final = (
    f"CREATE TEMP VIEW taken_in AS SELECT {', '.join(f'NULL AS {name}' for name in _TAKEN_IN)}",
    f"""CREATE TEMP TRIGGER take_in INSTEAD OF INSERT ON taken_in BEGIN
        INSERT INTO event ({_COLUMNS}) VALUES ({", ".join(f"NEW.{name}" for name in _EVENT)});
        INSERT INTO identity VALUES ({_NEAR}, NEW.by_body, NEW.source_id, last_insert_rowid());
        INSERT INTO identity SELECT {_NEAR}, NEW.by_delivery, NEW.source_id, last_insert_rowid()
            WHERE NEW.by_delivery IS NOT NULL;
    END""",  # noqa: S608 -- constants
)
_KEY: Final = "near = ? AND digest = ? AND source_id = ?"


def prepare(connection: sqlite3.Connection) -> None:
    """Make what `Appender.append` writes into. It belongs to the connection, not to the file."""
    for statement in _PREPARATION:
        connection.execute(statement)


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
        """Record deliveries. New ones many at once; where one of them repeats something, one by one."""
        appended: list[Appended] = []
        for span in spans(len(events)):
            some = events[span]
            try:
                appended += self._take_in(connection, some)
            except IntegrityError:  # SQLite has taken back the whole statement
                for event in some:
                    appended += self._append_one(connection, event)
        return appended

    def _take_in(self, connection: sqlite3.Connection, events: list[NewEvent]) -> list[Appended]:
        """Record new events.

        Raises:
            IntegrityError: one of them repeats something; nothing has changed.
        """
        sources = [self._names.source(connection, event.source) for event in events]
        reused = self._reused(connection, sources, events)
        rows = [
            self._row(connection, source, event, id_reused=again)
            for source, event, again in zip(sources, events, reused, strict=True)
        ]
        for places, values in chunks(rows, len(_TAKEN_IN)):  # one chunk: a span of events
            connection.execute(f"INSERT INTO taken_in VALUES {places}", values)  # noqa: S608 -- placeholders only
        self._remember(sources, events)
        return [
            Appended(event.event_id, duplicate=False, id_reused=again)
            for event, again in zip(events, reused, strict=True)
        ]

    def _append_one(self, connection: sqlite3.Connection, event: NewEvent) -> list[Appended]:
        key = (event.calendar_event_id or 0, _by_body(event), self._names.source(connection, event.source))
        if known := _seq_of(connection, key):
            return [self._repeat(connection, event, known)]
        by_delivery = _by_delivery(event)
        if by_delivery and (known := _seq_of(connection, (key[0], by_delivery, key[2]))):
            # The retry's own bytes are remembered too, so that they stay a duplicate under any other id.
            connection.execute("INSERT INTO identity VALUES (?, ?, ?, ?)", (*key, known))
            return [self._repeat(connection, event, known)]
        return self._take_in(connection, [event])

    def _repeat(self, connection: sqlite3.Connection, event: NewEvent, seq: int) -> Appended:
        """Record one more delivery under its event. Of a pruned event it is known only that it was one."""
        row = connection.execute("SELECT event_id FROM event WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return Appended("", duplicate=True)
        connection.execute(
            "INSERT INTO repeat (seq, received_at, delivery_id, provenance_id) VALUES (?, ?, ?, ?)",
            (
                seq,
                event.received_at_ms,
                event.delivery_id,
                self._names.provenance(connection, event.headers, event.secret_fingerprint),
            ),
        )
        return Appended(str(row[0]), duplicate=True)

    def _reused(
        self, connection: sqlite3.Connection, sources: list[int], events: list[NewEvent]
    ) -> list[bool]:
        """Which of these new events come under a delivery id that an earlier one had."""
        if self._recent is None:
            newest = connection.execute(
                "SELECT source_id, delivery_id FROM event "
                "WHERE delivery_id IS NOT NULL ORDER BY seq DESC LIMIT ?",
                (RECENT,),
            )
            self._recent = OrderedDict.fromkeys(reversed(newest.fetchall()))
        reused = []
        among: set[tuple[int, str]] = set()
        for source, event in zip(sources, events, strict=True):
            if event.delivery_id is None:
                reused.append(False)
                continue
            key = (source, event.delivery_id)
            reused.append(key in self._recent or key in among)
            among.add(key)
        return reused

    def _remember(self, sources: list[int], events: list[NewEvent]) -> None:
        recent = self._recent
        assert recent is not None  # noqa: S101 -- they were asked for before
        for source, event in zip(sources, events, strict=True):
            if event.delivery_id is not None:
                recent[source, event.delivery_id] = None
        while len(recent) > RECENT:
            recent.popitem(last=False)

    def _row(
        self, connection: sqlite3.Connection, source: int, event: NewEvent, *, id_reused: bool
    ) -> tuple[Any, ...]:
        flags = f"{event.flags or ''} delivery_id_reused".strip() if id_reused else event.flags
        return (
            event.event_id,
            source,
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
            _by_body(event),
            _by_delivery(event),
        )

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

    A statement per row would cost more, and in a thread take and give back Python's lock each time.
    """
    place = "(" + ", ".join("?" * width) + ")"
    for span in spans(len(rows)):
        some = rows[span]
        yield ", ".join([place] * len(some)), list(chain.from_iterable(some))


def spans(count: int) -> Iterator[slice]:
    """Parts of so many rows: multiples of eight, then what is left, so that few statements need preparing."""
    start = 0
    while start < count:
        left = count - start
        size = min(TOGETHER, left - left % 8 or left)
        yield slice(start, start + size)
        start += size


def _by_body(event: NewEvent) -> bytes:
    return event.content_digest + event.body_sha256[:HALF]


def _by_delivery(event: NewEvent) -> bytes | None:
    return None if event.delivery_digest is None else event.content_digest + event.delivery_digest


def _seq_of(connection: sqlite3.Connection, key: tuple[int, bytes, int]) -> int | None:
    row = connection.execute(f"SELECT seq FROM identity WHERE {_KEY}", key).fetchone()  # noqa: S608 -- a constant
    return None if row is None else int(row[0])
