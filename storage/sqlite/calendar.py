"""What is known of calendar events, as rows: the state of each, and what each event changed.

The service decides what a state says; here it is JSON. The rule easiest to break: a state is replaced only
by one that was made from it. Its revision tells, and every change to the row counts it up.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from storage.calendar import (
    CalendarEventRecord,
    ChangeRecord,
    HistoryRecord,
    NamedRecord,
    RebookingRecord,
    StoredState,
)
from storage.sqlite.append import chunks, insert
from storage.sqlite.subjects import called
from storage.sqlite.views import REBOOKED_WITHIN_MS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

    from storage.calendar import NewChange, NewOverdue, NewState, Restated
    from storage.sqlite.append import Appender

_INDEXED: Final = ("start_at", "booked_at", "customer")
"""What `state` is found by."""
_COLUMNS: Final = (
    "subject_id",
    *_INDEXED,
    "revision",
    "last_seq",
    "status",
    "end_at",
    "cancelled_at",
    "calendar_event",
    "memory",
)
_STATE: Final = (
    f"INSERT INTO state ({', '.join(_COLUMNS)}) VALUES ",  # noqa: S608 -- the names above
    len(_COLUMNS),
    " ON CONFLICT (subject_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[1:] if name not in _INDEXED),
)
_CHANGE: Final = ("INSERT INTO change (seq, place, name, before, after, reason) VALUES ", 6, "")


def states(connection: sqlite3.Connection, subjects: Collection[int]) -> dict[int, StoredState]:
    """What is known of these."""
    return {
        number: StoredState(revision, calendar_event, memory, bool(was_found))
        for places, values in chunks([(subject,) for subject in subjects], 1)
        for number, revision, calendar_event, memory, was_found in connection.execute(
            "SELECT subject_id, revision, calendar_event, memory, EXISTS (SELECT 1 FROM routing "  # noqa: S608 -- placeholders only
            "CROSS JOIN found USING (seq) WHERE routing.subject_id = state.subject_id) FROM state "
            f"WHERE subject_id IN (VALUES {places})",
            values,
        )
    }


def are_current(connection: sqlite3.Connection, found: Sequence[NewState]) -> bool:
    """Whether the states that these were made from are still the ones in the log."""
    revisions = {
        number: revision
        for places, values in chunks([(state.subject,) for state in found], 1)
        for number, revision in connection.execute(
            f"SELECT subject_id, revision FROM state WHERE subject_id IN (VALUES {places})",  # noqa: S608 -- as above
            values,
        )
    }
    return all(revisions.get(state.subject) == state.revision for state in found)


def store(connection: sqlite3.Connection, new: Sequence[NewState]) -> None:
    """Put states in the place of those they were made from."""
    rows = [
        (
            state.subject,
            state.start_ms,
            state.booked_ms,
            state.customer,
            (state.revision or 0) + 1,
            state.last_seq,
            state.status,
            state.end_ms,
            state.cancelled_ms,
            state.calendar_event,
            state.memory,
        )
        for state in new
    ]
    insert(connection, _STATE, rows)
    # Most events leave these alone. To set them as they are would write into indexes all over the file.
    known = [row[: len(_INDEXED) + 1] for row, state in zip(rows, new, strict=True) if state.revision]
    for places, values in chunks(known, len(_INDEXED) + 1):
        connection.execute(
            f"WITH new (subject_id, {', '.join(_INDEXED)}) AS (VALUES {places}) "  # noqa: S608 -- names and placeholders
            f"UPDATE state SET {', '.join(f'{name} = new.{name}' for name in _INDEXED)} FROM new "
            "WHERE state.subject_id = new.subject_id "
            f"AND ({' OR '.join(f'state.{name} IS NOT new.{name}' for name in _INDEXED)})",
            values,
        )


def note(connection: sqlite3.Connection, found: Iterable[tuple[int, Sequence[NewChange]]]) -> None:
    """Record what events, by their numbers, changed."""
    rows = [
        (seq, place, change.name, change.before, change.after, change.reason)
        for seq, changes in found
        for place, change in enumerate(changes)
    ]
    insert(connection, _CHANGE, rows)


_ID: Final = "json_extract(calendar_event, '$.id')"
_NUMBER: Final = (
    "coalesce(number, CASE WHEN json_type(calendar_event, '$.id') = 'integer' "
    f"AND typeof({_ID}) = 'integer' THEN {_ID} END)"
)
"""SQL for the vendor's number, also of one that goes by its uuid alone, since another has the number."""


def find(connection: sqlite3.Connection, name: str) -> list[CalendarEventRecord]:
    """The calendar events of that uuid or number: mostly one."""
    subjects = called(connection, name)
    places = ", ".join("?" * len(subjects))
    rows = connection.execute(
        f"SELECT subject_id, source.name, uuid, {_NUMBER}, revision, last_seq, calendar_event, memory "  # noqa: S608 -- a constant and placeholders
        "FROM subject JOIN source USING (source_id) JOIN state USING (subject_id) "
        f"WHERE subject_id IN ({places}) ORDER BY subject_id",
        subjects,
    )
    return [CalendarEventRecord(*row) for row in rows]


def routing_of(connection: sqlite3.Connection, seq: int) -> tuple[int | None, str | None]:
    """What an event is about, and how it was judged."""
    row = connection.execute("SELECT subject_id, verdict FROM routing WHERE seq = ?", (seq,)).fetchone()
    return row or (None, None)


def changes_of(connection: sqlite3.Connection, seq: int) -> list[ChangeRecord]:
    """What one event changed."""
    rows = connection.execute(
        "SELECT name, before, after, reason FROM change WHERE seq = ? ORDER BY place", (seq,)
    )
    return [ChangeRecord.of(*row) for row in rows]


CHANGES: Final = (
    "(SELECT json_group_array(json_array(name, before, after, reason)) FROM ("
    "SELECT name, before, after, reason FROM change WHERE change.seq = e.seq ORDER BY place))"
)
"""SQL for what an event `e` changed; `changes_in` reads it."""

_HISTORY: Final = (
    "SELECT e.seq, e.event_id, e.event_type, e.occurred_at, e.received_at, e.origin, e.body_sha256, e.body, "  # noqa: S608 -- the constant above
    f"routing.verdict, {CHANGES} FROM routing JOIN event e ON e.seq = routing.seq"
)


def history(
    connection: sqlite3.Connection, subject: int, after_seq: int, upto_seq: int | None
) -> list[HistoryRecord]:
    """The events of a calendar event in log order, with how they were judged."""
    rows = connection.execute(
        f"{_HISTORY} WHERE routing.subject_id = ? AND routing.seq BETWEEN ? AND ? ORDER BY routing.seq",
        (subject, after_seq + 1, 2**63 - 1 if upto_seq is None else upto_seq),
    )
    return [_history(*row) for row in rows]


def page(connection: sqlite3.Connection, after: int, limit: int) -> list[NamedRecord]:
    """The next calendar events by our number, also those of which nothing is known."""
    rows = connection.execute(
        "SELECT subject_id, source.name, uuid, number, revision, last_seq, calendar_event, memory "
        "FROM subject JOIN source USING (source_id) LEFT JOIN state USING (subject_id) "
        "WHERE kind = 'calendar_event' AND subject_id > ? ORDER BY subject_id LIMIT ?",
        (after, limit),
    )
    return [_named(*row) for row in rows]


def _named(subject: int, source: str, uuid: str | None, number: int | None, *known: Any) -> NamedRecord:
    record = CalendarEventRecord(subject, source, uuid, number, *known) if known[0] is not None else None
    return NamedRecord(subject, uuid, number, source, record)


def between(connection: sqlite3.Connection, from_ms: int, to_ms: int) -> list[CalendarEventRecord]:
    """Those that begin in this time, and whose status is not one of an end."""
    rows = connection.execute(
        "SELECT subject_id, source.name, uuid, number, revision, last_seq, calendar_event, memory "
        "FROM state JOIN subject USING (subject_id) JOIN source USING (source_id) "
        "WHERE start_at BETWEEN ? AND ? AND status NOT IN ('cancelled', 'completed', 'no_show')",
        (from_ms, to_ms),
    )
    return [CalendarEventRecord(*row) for row in rows]


def tell_overdue(appender: Appender, connection: sqlite3.Connection, items: list[NewOverdue]) -> list[bool]:
    """Record what is overdue, each once, with its event."""
    return [_tell_overdue(appender, connection, item) for item in items]


def _tell_overdue(appender: Appender, connection: sqlite3.Connection, item: NewOverdue) -> bool:
    cursor = connection.execute(
        "INSERT INTO overdue (subject_id, expected, due_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (item.subject, item.expected, item.due_ms),
    )
    if cursor.rowcount and item.event is not None:
        appender.append(connection, [item.event])
    return bool(cursor.rowcount)


def restate(connection: sqlite3.Connection, items: Sequence[Restated]) -> list[bool]:
    """Replace a state, and how its events were judged. False if the state has changed since it was read."""
    return [_restate(connection, item) for item in items]


def _restate(connection: sqlite3.Connection, item: Restated) -> bool:
    if not are_current(connection, [item.state]):
        return False
    store(connection, [item.state])
    for seq, verdict, changes in item.judged:
        connection.execute("UPDATE routing SET verdict = ? WHERE seq = ?", (verdict, seq))
        connection.execute("DELETE FROM change WHERE seq = ?", (seq,))
        note(connection, [(seq, changes)])
    return True


_NEIGHBOUR: Final = (
    "SELECT there.uuid, there.number FROM state me JOIN subject here USING (subject_id) "
    "JOIN state other ON other.customer = me.customer AND other.subject_id <> me.subject_id "
    "JOIN subject there ON there.subject_id = other.subject_id AND there.source_id = here.source_id "
    "WHERE me.subject_id = ? AND "
)


_SIDES: Final = {
    "rebooked_as": "other.booked_at BETWEEN me.cancelled_at AND me.cancelled_at + ? ORDER BY other.booked_at",
    "rebooked_from": "me.booked_at BETWEEN other.cancelled_at AND other.cancelled_at + ? "
    "ORDER BY other.cancelled_at DESC",
}


def rebookings(connection: sqlite3.Connection, subject: int) -> list[RebookingRecord]:
    """What was booked in the place of a calendar event, and in whose place it was booked."""
    found = []
    for name, condition in _SIDES.items():
        row = connection.execute(f"{_NEIGHBOUR}{condition} LIMIT 1", (subject, REBOOKED_WITHIN_MS)).fetchone()
        if row is not None:
            found.append(RebookingRecord(name, *row))
    return found


def _history(*row: Any) -> HistoryRecord:
    values: tuple[Any, ...] = (*row[:-1], changes_in(row[-1]))
    return HistoryRecord(*values)


def latest(connection: sqlite3.Connection, subject: int, event_type: str | None) -> HistoryRecord | None:
    """The last event of this type about a calendar event."""
    row = connection.execute(
        f"{_HISTORY} WHERE routing.subject_id = ? AND e.event_type IS ? ORDER BY routing.seq DESC LIMIT 1",
        (subject, event_type),
    ).fetchone()
    return None if row is None else _history(*row)


def changes_in(text: str) -> tuple[ChangeRecord, ...]:
    """What `CHANGES` gave."""
    return () if text == "[]" else tuple(ChangeRecord.of(*change) for change in json.loads(text))
