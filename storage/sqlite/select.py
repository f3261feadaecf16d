"""From a `Selection` to the numbers of its events: one condition per filter, all bound, all on an index.

The rule easiest to break: `--handler` and `--status` together mean one run that is both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from storage.sqlite import search
from storage.sqlite.subjects import called, number_in

if TYPE_CHECKING:
    import sqlite3

    from storage.records import Selection

PAGE: Final = 500
"""Most events of one reading transaction."""
UNORDERED: Final = 10_000
FEW: Final = 5_000
"""Events that may be sorted for an answer."""

# Word for word the conditions of indexes, or SQLite does not see that it may use them.
_RARE: Final = "run.state NOT IN ('pending', 'running', 'done')"
_UNFINISHED: Final = (
    "run.subject_id IS NOT NULL AND run.state IN ('pending', 'running', 'retrying')",
    "run.due_at IS NOT NULL",
    "run.state = 'running'",
)
"""Runs that are not finished: those in a line, those that are due, and those that run."""
_SELDOM: Final = ("retrying", "skipped", "discarded", "dead")
"""The states of `_RARE`."""


class Where:
    """Conditions that all hold, and the values bound in them."""

    def __init__(self) -> None:
        self.conditions: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        """Add a condition on `e`, an event."""
        self.conditions.append(condition)
        self.values += values

    def __str__(self) -> str:
        return " AND ".join(self.conditions) or "1"


class Walk(NamedTuple):
    """An index that is walked from one of its ends, as far as needed. The rarest filter leads.

    SQLite keeps to the order of a CROSS JOIN.
    """

    found: str
    seq: str
    """The event's number there."""
    repeats: bool = False
    """Whether it may come to an event more than once."""


def _walk(selection: Selection) -> Walk:
    if selection.words:
        return Walk("search CROSS JOIN event e ON e.seq = search.rowid", "search.rowid")
    if selection.change is not None:
        return Walk("change CROSS JOIN event e ON e.seq = change.seq", "change.seq")
    if selection.verdict is not None:
        return Walk("routing judged CROSS JOIN event e ON e.seq = judged.seq", "judged.seq")
    if selection.run_state in _SELDOM or (selection.handler and selection.run_state in (None, "done")):
        return Walk("run CROSS JOIN event e ON e.seq = run.seq", "run.seq", repeats=True)
    return Walk("event e", "e.seq")


def count(connection: sqlite3.Connection, selection: Selection) -> int:
    """How many events are selected."""
    walk = _walk(selection)
    where = _where(connection, selection, walk)
    number = f"count(DISTINCT {walk.seq})" if walk.repeats else "count(*)"
    query = f"SELECT {number} FROM {walk.found} WHERE {where}"  # noqa: S608 -- conditions below, values bound
    return int(connection.execute(query, where.values).fetchone()[0])


def page(connection: sqlite3.Connection, selection: Selection, before_seq: int | None) -> list[int]:
    """The next numbers: ascending behind `after_seq`, else descending below `before_seq`."""
    walk = _walk(selection)
    where = _where(connection, selection, walk)
    if before_seq is not None:
        where.add(f"{walk.seq} < ?", before_seq)
    direction = "DESC" if selection.after_seq is None else "ASC"
    most = min(selection.limit or PAGE, PAGE)
    query = (
        f"SELECT {walk.seq} FROM {walk.found} WHERE {where} "  # noqa: S608 -- as above
        f"{f'GROUP BY {walk.seq} ' if walk.repeats else ''}ORDER BY {walk.seq} {direction} LIMIT {most}"
    )
    return [int(row[0]) for row in connection.execute(query, where.values)]


def _where(connection: sqlite3.Connection, selection: Selection, walk: Walk) -> Where:
    where = Where()
    if selection.words:
        where.add("search MATCH ?", search.expression(connection, selection.words))
    if selection.after_seq is not None:
        where.add(f"{walk.seq} > ?", selection.after_seq)
    _of_time(where, selection, walk.seq)
    _of_event(connection, where, selection)
    _of_routing(where, selection, walk.seq)
    if selection.calendar_event is not None:
        _about(connection, where, selection.calendar_event)
    if any(part is not None for part in (selection.handler, selection.run_state, selection.code_version)):
        _with_run(where, selection, walk)
    return where


def _of_time(where: Where, selection: Selection, seq: str) -> None:
    """Times received, and where in the log those are: numbers and times go up together.

    But not quite: what came in at once, or while the clock was set back, may stand among `UNORDERED` others.
    """
    for sign, time_ms, end, direction in (
        (">=", selection.since_ms, "min", "ASC"),
        ("<", selection.until_ms, "max", "DESC"),
    ):
        if time_ms is None:
            continue
        where.add(f"e.received_at {sign} ?", time_ms)
        where.add(
            f"{seq} {'<=' if end == 'max' else '>='} (SELECT {end}(seq) FROM (SELECT seq FROM event "  # noqa: S608 -- the words above
            f"WHERE received_at {sign} ? ORDER BY received_at {direction} LIMIT {UNORDERED}))",
            time_ms,
        )


def _of_event(connection: sqlite3.Connection, where: Where, selection: Selection) -> None:
    if selection.type_glob is not None:
        _of_type(connection, where, selection.type_glob)
    if selection.source is not None:
        row = connection.execute(
            "SELECT source_id FROM source WHERE name = ?", (selection.source,)
        ).fetchone()
        # Word for word the condition of the index `event_by_source`: the first source has most of the events.
        where.add(
            "e.source_id > 1 AND e.source_id = ?" if row and row[0] > 1 else "e.source_id = ?", *(row or [0])
        )
        if row is None:
            where.add("0")


def _of_type(connection: sqlite3.Connection, where: Where, glob: str) -> None:
    """Types that fit. Few events of them come from the index; if they are many, the walk meets them soon."""
    names = connection.execute(
        "WITH RECURSIVE type (name) AS (SELECT min(event_type) FROM event UNION ALL SELECT "
        "(SELECT min(event_type) FROM event WHERE event_type > name) FROM type WHERE name IS NOT NULL) "
        "SELECT name FROM type WHERE name GLOB ?",
        (glob,),
    ).fetchall()
    places = ", ".join("?" * len(names))
    numbers = f"SELECT seq FROM event WHERE event_type IN ({places})"  # noqa: S608 -- placeholders only
    values = [row[0] for row in names]
    found = connection.execute(f"SELECT count(*) FROM ({numbers} LIMIT {FEW})", values).fetchone()[0]  # noqa: S608 -- as above
    if found < FEW:
        where.add(f"e.seq IN ({numbers})", *values)
    else:
        where.add(f"+e.event_type IN ({places})", *values)


def _of_routing(where: Where, selection: Selection, seq: str) -> None:
    if selection.change is not None and seq == "change.seq":
        where.add("change.name = ?", selection.change)
    elif selection.change is not None:
        where.add("EXISTS (SELECT 1 FROM change WHERE name = ? AND change.seq = e.seq)", selection.change)
    if selection.verdict is not None and seq == "judged.seq":
        where.add("judged.verdict = ?", selection.verdict)
    elif selection.verdict is not None:
        where.add("(SELECT verdict FROM routing WHERE routing.seq = e.seq) = ?", selection.verdict)


def _about(connection: sqlite3.Connection, where: Where, name: str) -> None:
    """Events of one calendar event: routed ones by its number, those not yet routed by their own columns."""
    subjects = called(connection, name)
    places = ", ".join("?" * len(subjects))
    where.add(
        f"e.seq IN (SELECT seq FROM routing WHERE subject_id IN ({places}) UNION ALL "  # noqa: S608 -- placeholders only
        "SELECT seq FROM event WHERE seq > (SELECT coalesce(max(seq), 0) FROM routing) "
        "AND (calendar_event_uuid = ? OR calendar_event_id = ?))",
        *subjects,
        name.lower(),
        number_in(name),
    )


def _with_run(where: Where, selection: Selection, walk: Walk) -> None:
    """Events with one run that is all of it: of this handler, in this state, and made by this code."""
    run = Where()
    of_run(run, selection)
    if selection.run_state in _SELDOM:
        run.add(_RARE)
    if walk.seq == "run.seq":
        where.add(str(run), *run.values)
    elif selection.run_state is not None and selection.run_state != "done":
        # From the few runs to their events, not from every event to its runs.
        parts = [_RARE] if selection.run_state in _SELDOM else _UNFINISHED
        runs = " UNION ".join(f"SELECT run.seq FROM run WHERE {part} AND {run}" for part in parts)  # noqa: S608 -- conditions of of_run
        where.add(f"e.seq IN ({runs})", *run.values * len(parts))
    else:
        where.add(f"EXISTS (SELECT 1 FROM run WHERE run.seq = e.seq AND {run})", *run.values)  # noqa: S608 -- as above


def of_run(where: Where, selection: Selection) -> None:
    """The conditions on one `run`."""
    if selection.run_state is not None:
        where.add("run.state = ?", selection.run_state)
        # A dead run that was replayed is history: the handler's latest run of the event counts.
        where.add(
            "NOT EXISTS (SELECT 1 FROM run later WHERE later.seq = run.seq "
            "AND later.handler_id = run.handler_id AND later.run_id > run.run_id)"
        )
    if selection.handler is not None:
        where.add("run.handler_id = (SELECT handler_id FROM handler WHERE name = ?)", selection.handler)
    if selection.code_version is not None:
        where.add(
            "EXISTS (SELECT 1 FROM attempt WHERE attempt.run_id = run.run_id AND code_version GLOB ?)",
            f"{selection.code_version}*",
        )
