"""What events are about, as numbers: each calendar event and each call of a source once.

An event may bring the uuid, the vendor's number, or both. The rule easiest to break: half of a name that is
known already is completed, never made a second subject, or the order of its runs would break.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storage.sqlite.append import chunks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from storage.sqlite.names import Names
    from storage.work import Routing, Subject


class Subjects:
    """Finds or makes the subjects of events, in the transaction that routes them."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def of(self, connection: sqlite3.Connection, routings: Sequence[Routing]) -> list[int | None]:
        """The numbers of what events are about. Those known by both names, as most are, in one question."""
        names = [self._both_names(connection, routing) for routing in routings]
        known = _known(connection, {name for name in names if name is not None})
        subjects: list[int | None] = []
        for name, routing in zip(names, routings, strict=True):
            subject = known.get(name) if name is not None else None
            if subject is None:
                subject = self._subject(connection, routing)
                if name is not None and subject is not None:
                    known[name] = subject
            subjects.append(subject)
        return subjects

    def _both_names(self, connection: sqlite3.Connection, routing: Routing) -> tuple[str, int, str] | None:
        """The uuid, in its source and kind, of a subject that comes with its number too."""
        subject = routing.subject
        if subject is None or subject.uuid is None or subject.number is None:
            return None
        return subject.uuid, self._names.source(connection, routing.source), subject.kind

    def _subject(self, connection: sqlite3.Connection, routing: Routing) -> int | None:
        """The number of what an event is about: found by uuid or the vendor's number, or made."""
        subject = routing.subject
        if subject is None:
            return None
        source = self._names.source(connection, routing.source)
        key = (source, subject.kind)
        by_uuid = by_number = None
        if subject.uuid is not None:
            by_uuid = connection.execute(
                "SELECT subject_id, number FROM subject WHERE uuid = ? AND source_id = ? AND kind = ?",
                (subject.uuid, *key),
            ).fetchone()
            if by_uuid is not None and (by_uuid[1] is not None or subject.number is None):
                return int(by_uuid[0])
        if subject.number is not None:
            by_number = connection.execute(
                "SELECT subject_id, uuid FROM subject WHERE number = ? AND source_id = ? AND kind = ?",
                (subject.number, *key),
            ).fetchone()
        return self._learn(connection, source, subject, by_uuid, by_number)

    @staticmethod
    def _learn(
        connection: sqlite3.Connection, source: int, subject: Subject, by_uuid: Any, by_number: Any
    ) -> int:
        """Make a subject, or complete the one known by half of its name."""
        if by_uuid is not None:
            if by_number is None:
                connection.execute(
                    "UPDATE subject SET number = ? WHERE subject_id = ?", (subject.number, by_uuid[0])
                )
            return int(by_uuid[0])
        if by_number is not None and (subject.uuid is None or by_number[1] is None):
            if subject.uuid is not None:
                connection.execute(
                    "UPDATE subject SET uuid = ? WHERE subject_id = ?", (subject.uuid, by_number[0])
                )
            return int(by_number[0])
        # Under a number that another uuid has already, the new one goes by its uuid alone.
        number = subject.number if by_number is None else None
        row = connection.execute(
            "INSERT INTO subject (source_id, kind, uuid, number) VALUES (?, ?, ?, ?) RETURNING subject_id",
            (source, subject.kind, subject.uuid, number),
        ).fetchone()
        return int(row[0])


def _known(
    connection: sqlite3.Connection, names: Collection[tuple[str, int, str]]
) -> dict[tuple[str, int, str], int]:
    """Those of the subjects that the log has, with their number."""
    return {
        (uuid, source, kind): subject
        for places, values in chunks(list(names), 3)
        for uuid, source, kind, subject in connection.execute(
            f"WITH asked (uuid, source_id, kind) AS (VALUES {places}) "  # noqa: S608 -- placeholders only
            "SELECT uuid, source_id, kind, subject_id FROM asked JOIN subject USING (uuid, source_id, kind) "
            "WHERE number IS NOT NULL",
            values,
        )
    }
