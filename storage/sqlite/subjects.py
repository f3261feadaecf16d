"""What events are about, as numbers: each calendar event and each call of a source once.

An event may bring the uuid, the vendor's number, or both. A batch of them is resolved with a question for
each of the two; the numbers of new subjects are settled then, so that a reader finds what the writer will.
The rule easiest to break: half of a name that is known already is completed, never made a second subject, or
the order of its runs would break.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from storage.sqlite.append import chunks, insert

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from storage.sqlite.names import Names
    from storage.work import Routing, Subject

_DIGITS: Final = 18
"""Longer numbers may not fit into a column, and the vendor has none."""
_NEW: Final = ("INSERT INTO subject (subject_id, source_id, kind, uuid, number) VALUES ", 5, "")


@dataclass(slots=True, eq=False)
class _Row:
    """A row of `subject`, there already or to be made."""

    subject_id: int
    source_id: int
    kind: str
    uuid: str | None
    number: int | None


class Resolution:
    """The subjects of some events, in log order, as they are and as they will be."""

    def __init__(self, connection: sqlite3.Connection, about: Sequence[tuple[int, Subject] | None]) -> None:
        """Each event is about a subject of a source, by the source's number, or about none."""
        self._by_uuid: dict[tuple[str, int, str], _Row] = {}
        self._by_number: dict[tuple[int, int, str], _Row] = {}
        self._new: list[_Row] = []
        self._completed: list[_Row] = []
        named = [one for one in about if one is not None]
        self._load(
            connection, "uuid", {(s.uuid, source, s.kind) for source, s in named if s.uuid is not None}
        )
        self._load(
            connection,
            "number",
            {
                (subject.number, source, subject.kind)
                for source, subject in named
                if subject.number is not None and not self._is_known_by_both(source, subject)
            },
        )
        self._next = connection.execute("SELECT coalesce(max(subject_id), 0) + 1 FROM subject").fetchone()[0]
        self.numbers = [None if one is None else self._row(*one).subject_id for one in about]
        """For each event, the number of what it is about."""

    def _load(self, connection: sqlite3.Connection, name: str, keys: Iterable[tuple[Any, int, str]]) -> None:
        for places, values in chunks(list(keys), 3):
            for row in connection.execute(
                f"WITH asked ({name}, source_id, kind) AS (VALUES {places}) "  # noqa: S608 -- placeholders, and one of two names
                "SELECT subject_id, subject.source_id, subject.kind, subject.uuid, subject.number "
                f"FROM asked JOIN subject USING ({name}, source_id, kind)",
                values,
            ):
                self._know(_Row(*row))

    def _know(self, row: _Row) -> None:
        if row.uuid is not None:
            row = self._by_uuid.setdefault((row.uuid, row.source_id, row.kind), row)
        if row.number is not None:
            self._by_number.setdefault((row.number, row.source_id, row.kind), row)

    def _is_known_by_both(self, source: int, subject: Subject) -> bool:
        row = self._by_uuid.get((subject.uuid or "", source, subject.kind))
        return row is not None and row.number is not None

    def _row(self, source: int, subject: Subject) -> _Row:
        """The row of a subject: found by uuid or the vendor's number, completed, or new."""
        by_uuid = (
            self._by_uuid.get((subject.uuid, source, subject.kind)) if subject.uuid is not None else None
        )
        if by_uuid is not None and (by_uuid.number is not None or subject.number is None):
            return by_uuid
        by_number = None
        if subject.number is not None:
            by_number = self._by_number.get((subject.number, source, subject.kind))
        if by_uuid is not None:
            if by_number is None:
                by_uuid.number = subject.number
                self._complete(by_uuid)
            return by_uuid
        if by_number is not None and (subject.uuid is None or by_number.uuid is None):
            if subject.uuid is not None:
                by_number.uuid = subject.uuid
                self._complete(by_number)
            return by_number
        # Under a number that another uuid has already, the new one goes by its uuid alone.
        number = subject.number if by_number is None else None
        row = _Row(self._next, source, subject.kind, subject.uuid, number)
        self._next += 1
        self._new.append(row)
        self._know(row)
        return row

    def _complete(self, row: _Row) -> None:
        self._completed.append(row)
        self._know(row)

    def store(self, connection: sqlite3.Connection) -> None:
        """Write what is new."""
        insert(
            connection,
            _NEW,
            [(row.subject_id, row.source_id, row.kind, row.uuid, row.number) for row in self._new],
        )
        for row in self._completed:
            connection.execute(
                "UPDATE subject SET uuid = ?, number = ? WHERE subject_id = ?",
                (row.uuid, row.number, row.subject_id),
            )


def resolve(connection: sqlite3.Connection, names: Names, routings: Sequence[Routing]) -> Resolution:
    """The subjects of routings, for the writer: it may make the number of a source."""
    return Resolution(
        connection,
        [
            None if routing.subject is None else (names.source(connection, routing.source), routing.subject)
            for routing in routings
        ],
    )


def number_in(name: str) -> int | None:
    """The vendor's number, if a name is one."""
    return int(name) if name.isascii() and name.isdigit() and len(name) <= _DIGITS else None


def called(connection: sqlite3.Connection, name: str) -> list[int]:
    """The numbers of the calendar events that a person means by a uuid or by the vendor's number.

    Several may have one number: in several sources, or since an event of another uuid brought a number that
    was taken. That one goes by its uuid alone, and is found by what its events came with.
    """
    rows = connection.execute(
        "SELECT subject_id FROM subject WHERE kind = 'calendar_event' AND (uuid = ?1 OR number = ?2) "
        "UNION SELECT subject_id FROM identity JOIN routing USING (seq) JOIN subject USING (subject_id) "
        "WHERE kind = 'calendar_event' AND near = nullif(?2, 0) ORDER BY subject_id",
        (name.lower(), number_in(name)),
    )
    return [int(row[0]) for row in rows]
