"""Numbers over the whole log, or a span of it: how much of what, and how long things take.

Unlike the pages that `log list` reads, these look at everything in the span, so they get more time. The rule
easiest to break: what is measured in milliseconds comes out as a sorted list, for whoever asks to take
medians from; no average is made here.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from storage.records import LogStats

if TYPE_CHECKING:
    import sqlite3

    from storage.states import RunState

_IN_SPAN: Final = "e.received_at >= ?1 AND e.received_at < ?2"


def stats(connection: sqlite3.Connection, since_ms: int, until_ms: int) -> LogStats:
    """What was received in the span, and the calendar events that were booked or cancelled in it."""
    span = (since_ms, until_ms)

    def counted(query: str) -> dict[Any, int]:
        return dict(connection.execute(query, span).fetchall())

    def measured(query: str) -> list[int]:
        return sorted(int(row[0]) for row in connection.execute(query, span))

    return LogStats(
        types=counted(
            f"SELECT coalesce(event_type, '(none)'), count(*) FROM event e WHERE {_IN_SPAN} "  # noqa: S608 -- the constant above
            "GROUP BY 1 ORDER BY 2 DESC, 1"
        ),
        verdicts=counted(
            f"SELECT verdict, count(*) FROM event e JOIN routing USING (seq) WHERE {_IN_SPAN} "  # noqa: S608 -- as above
            "AND verdict IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
        ),
        changes=counted(
            f"SELECT name, count(*) FROM change JOIN event e USING (seq) WHERE {_IN_SPAN} "  # noqa: S608 -- as above
            "GROUP BY 1 ORDER BY 2 DESC, 1"
        ),
        handlers=_handlers(connection, span),
        days=counted(
            f"SELECT date(e.received_at / 1000, 'unixepoch'), count(*) FROM event e WHERE {_IN_SPAN} "  # noqa: S608 -- as above
            "GROUP BY 1 ORDER BY 1"
        ),
        lead_ms=measured(
            "SELECT start_at - booked_at FROM state WHERE booked_at >= ?1 AND booked_at < ?2 "
            "AND start_at IS NOT NULL"
        ),
        notice_ms=measured(
            "SELECT start_at - cancelled_at FROM state WHERE cancelled_at >= ?1 AND cancelled_at < ?2 "
            "AND start_at IS NOT NULL"
        ),
        reschedules=_reschedules(connection, span),
        delay_ms=measured(
            f"SELECT e.received_at - e.occurred_at FROM event e WHERE {_IN_SPAN} "  # noqa: S608 -- as above
            "AND e.origin = 'webhook' AND e.occurred_at IS NOT NULL"
        ),
    )


def _handlers(connection: sqlite3.Connection, span: tuple[int, int]) -> dict[str, dict[RunState, int]]:
    handlers: dict[str, dict[RunState, int]] = {}
    rows = connection.execute(
        "SELECT handler.name, run.state, count(*) FROM event e JOIN run USING (seq) "  # noqa: S608 -- as above
        f"JOIN handler USING (handler_id) WHERE {_IN_SPAN} GROUP BY 1, 2 ORDER BY 1, 2",
        span,
    )
    for name, state, number in rows:
        handlers.setdefault(name, {})[state] = number
    return handlers


def _reschedules(connection: sqlite3.Connection, span: tuple[int, int]) -> dict[int, int]:
    """How many of the calendar events that were booked in the span have been moved how often."""
    rows = connection.execute(
        "SELECT (SELECT count(*) FROM routing JOIN change USING (seq) "
        "WHERE routing.subject_id = state.subject_id AND change.name = 'rescheduled') "
        "FROM state WHERE booked_at >= ?1 AND booked_at < ?2",
        span,
    )
    return dict(sorted(Counter(int(row[0]) for row in rows).items()))
