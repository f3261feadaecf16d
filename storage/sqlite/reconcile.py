"""Reconciliations as rows: what was compared with the vendor, how far that has got, and what it found.

What is found is written in the transaction that moves the cursor, so one that was interrupted goes on where
it stopped. The rule easiest to break: an event is only written if nothing about its calendar event has come
in since it was compared, or what was found could lie over something newer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from storage.calendar import CalendarEventRecord
from storage.records import ReconciliationRecord
from storage.sqlite.append import insert

if TYPE_CHECKING:
    import sqlite3

    from storage.sqlite.append import Appender
    from storage.sqlite.names import Names
    from storage.work import FoundEvent, NewReconciliation, ReconcileBatch

_FOUND: Final = ("INSERT INTO found (seq, reconciliation_id) VALUES ", 2, "")
# As routing decides what an event is about: by its uuid, else by a number that no other uuid has.
_SUBJECT: Final = (
    "SELECT subject_id FROM subject JOIN source USING (source_id) WHERE source.name = ?1 "
    "AND kind = 'calendar_event' AND (uuid = ?2 OR (number = ?3 AND (uuid IS NULL OR ?2 IS NULL))) "
    "ORDER BY uuid = ?2 DESC LIMIT 1"
)
_WAITING: Final = (
    "SELECT 1 FROM event WHERE seq > (SELECT coalesce(max(seq), 0) FROM routing) "
    "AND (calendar_event_uuid = ?1 OR calendar_event_id = ?2) LIMIT 1"
)


class Reconciliations:
    """The operations of the writer that belong to them."""

    def __init__(self, names: Names, appender: Appender) -> None:
        self._names = names
        self._appender = appender

    def start(self, connection: sqlite3.Connection, new: list[NewReconciliation]) -> list[int]:
        """Record that they begin; their numbers."""
        return [
            int(
                connection.execute(
                    "INSERT INTO reconciliation (source_id, started_at, first_day, last_day) "
                    "VALUES (?, ?, ?, ?) RETURNING reconciliation_id",
                    (
                        self._names.source(connection, one.source),
                        one.started_at_ms,
                        one.first_day,
                        one.last_day,
                    ),
                ).fetchone()[0]
            )
            for one in new
        ]

    def record(self, connection: sqlite3.Connection, batches: list[ReconcileBatch]) -> list[list[bool]]:
        """Write what was found and move the cursor; which of the events are in the log now."""
        return [self._record(connection, batch) for batch in batches]

    def _record(self, connection: sqlite3.Connection, batch: ReconcileBatch) -> list[bool]:
        current = [_is_current(connection, found) for found in batch.events]
        chosen = [found.event for found, good in zip(batch.events, current, strict=True) if good]
        new = [done.event_id for done in self._appender.append(connection, chosen) if not done.duplicate]
        insert(connection, _FOUND, [(_seq(connection, name), batch.reconciliation_id) for name in new])
        connection.execute(
            "UPDATE reconciliation SET cursor = ?, requests = ?, compared = ?, finished_at = ?, error = ? "
            "WHERE reconciliation_id = ?",
            (
                batch.cursor,
                batch.requests,
                batch.compared,
                batch.finished_at_ms,
                batch.error,
                batch.reconciliation_id,
            ),
        )
        return current


def _is_current(connection: sqlite3.Connection, found: FoundEvent) -> bool:
    """Whether what is known of the calendar event is still what the event was found by."""
    event = found.event
    names = (event.calendar_event_uuid, event.calendar_event_id)
    if connection.execute(_WAITING, names).fetchone():
        return False
    row = connection.execute(
        f"SELECT revision FROM state WHERE subject_id = ({_SUBJECT})",  # noqa: S608 -- the constant above
        (event.source, *names),
    ).fetchone()
    return (int(row[0]) if row else None) == found.revision


def _seq(connection: sqlite3.Connection, event_id: str) -> int:
    return int(connection.execute("SELECT seq FROM event WHERE event_id = ?", (event_id,)).fetchone()[0])


def known_as(
    connection: sqlite3.Connection, source: str, uuid: str | None, number: int | None
) -> CalendarEventRecord | None:
    """What is known of one calendar event of a source."""
    row = connection.execute(
        "SELECT subject_id, source.name, uuid, number, revision, last_seq, calendar_event, memory "  # noqa: S608 -- as above
        "FROM state JOIN subject USING (subject_id) JOIN source USING (source_id) "
        f"WHERE subject_id = ({_SUBJECT})",
        (source, uuid, number),
    ).fetchone()
    return CalendarEventRecord(*row) if row else None


def was_forgotten(connection: sqlite3.Connection, subject: int) -> bool:
    """Whether any event of a calendar event had its content taken out."""
    row = connection.execute(
        "SELECT 1 FROM routing JOIN event USING (seq) "
        "WHERE subject_id = ? AND ' ' || flags || ' ' LIKE '% forgotten %' LIMIT 1",
        (subject,),
    ).fetchone()
    return row is not None


def names_between(
    connection: sqlite3.Connection, source: str, start_ms: int, end_ms: int
) -> list[tuple[str | None, int | None, str | None]]:
    """Uuid, number and status of the known calendar events that begin in this time."""
    rows = connection.execute(
        "SELECT uuid, number, state.status FROM state JOIN subject USING (subject_id) "
        "JOIN source USING (source_id) WHERE start_at >= ? AND start_at < ? AND source.name = ?",
        (start_ms, end_ms, source),
    )
    return [(uuid, number, status) for uuid, number, status in rows]


def oldest_event_ms(connection: sqlite3.Connection, source: str) -> int | None:
    """When the first event of a source was received that the log still has."""
    row = connection.execute(
        "SELECT received_at FROM event JOIN source USING (source_id) "
        "WHERE source.name = ? ORDER BY seq LIMIT 1",
        (source,),
    ).fetchone()
    return int(row[0]) if row else None


def records(
    connection: sqlite3.Connection, reconciliation_id: int | None, limit: int
) -> list[ReconciliationRecord]:
    """The newest, or the one of that number."""
    rows = connection.execute(
        "SELECT reconciliation_id, source, started_at, finished_at, first_day, last_day, cursor, requests, "
        "compared, found, error FROM reconciliations WHERE ?1 IS NULL OR reconciliation_id = ?1 "
        "ORDER BY reconciliation_id DESC LIMIT ?2",
        (reconciliation_id, limit),
    )
    return [ReconciliationRecord(*row) for row in rows]


def found_events(connection: sqlite3.Connection, reconciliation_id: int) -> list[str]:
    """The ids of the events that one has found, in log order."""
    rows = connection.execute(
        "SELECT event_id FROM found JOIN event USING (seq) WHERE reconciliation_id = ? ORDER BY seq",
        (reconciliation_id,),
    )
    return [str(row[0]) for row in rows]
