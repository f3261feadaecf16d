"""What is booked in a span of time, now; and what may have been, at an earlier time.

The rule easiest to break: what was booked then and has been moved away since is found by its change, for no
index has what was known before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from storage.calendar import CalendarEventRecord

if TYPE_CHECKING:
    import sqlite3

LONGEST_MS: Final = 31 * 86_400_000
"""Of a calendar event: one that began earlier is not found by its end."""
_BOOKED: Final = (
    "SELECT subject_id FROM state WHERE start_at >= ?1 - ?3 AND start_at < ?2 "
    "AND (start_at >= ?1 OR end_at > ?1)"
)
_MOVED: Final = (
    "SELECT routing.subject_id FROM change JOIN event e USING (seq) JOIN routing USING (seq) "
    "WHERE change.name = 'rescheduled' AND e.received_at > ?4"
)


def agenda(
    connection: sqlite3.Connection, start_ms: int, end_ms: int, moved_since_ms: int | None
) -> list[CalendarEventRecord]:
    """Calendar events in the span, by their beginning; also those moved since a time, if one is given."""
    subjects = _BOOKED if moved_since_ms is None else f"{_BOOKED} UNION {_MOVED}"
    values = [start_ms, end_ms, LONGEST_MS] + ([] if moved_since_ms is None else [moved_since_ms])
    rows = connection.execute(
        "SELECT subject_id, source.name, uuid, number, revision, last_seq, calendar_event, memory "  # noqa: S608 -- constants
        "FROM state JOIN subject USING (subject_id) JOIN source USING (source_id) "
        f"WHERE subject_id IN ({subjects}) ORDER BY start_at, subject_id",
        values,
    )
    return [CalendarEventRecord(*row) for row in rows]
