"""From a `Selection` to the numbers of its events: one condition per filter, all bound, all on an index.

The rule easiest to break: `--handler` and `--status` together mean one run that is both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from storage.sqlite import search

if TYPE_CHECKING:
    import sqlite3

    from storage.records import Selection

PAGE: Final = 500
"""Most events of one reading transaction."""
_DIGITS: Final = 18
"""Longer numbers may not fit into a column, and the vendor has none."""
_COMMON: Final = ("pending", "running", "done")
_RARE: Final = "run.state NOT IN ('pending', 'running', 'done')"
"""Word for word the condition of the index `run_by_state`, or SQLite does not see that it may use it."""


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


def count(connection: sqlite3.Connection, selection: Selection) -> int:
    """How many events are selected."""
    found, _ = _walk(selection)
    where = _where(connection, selection)
    query = f"SELECT count(*) FROM {found} WHERE {where}"  # noqa: S608 -- conditions below, values bound
    return int(connection.execute(query, where.values).fetchone()[0])


def page(connection: sqlite3.Connection, selection: Selection, before_seq: int | None) -> list[int]:
    """The next numbers: ascending behind `after_seq`, else descending below `before_seq`."""
    found, seq = _walk(selection)
    where = _where(connection, selection)
    if before_seq is not None:
        where.add(f"{seq} < ?", before_seq)
    direction = "DESC" if selection.after_seq is None else "ASC"
    most = min(selection.limit or PAGE, PAGE)
    query = f"SELECT e.seq FROM {found} WHERE {where} ORDER BY {seq} {direction} LIMIT {most}"  # noqa: S608 -- as above
    return [int(row[0]) for row in connection.execute(query, where.values)]


def _walk(selection: Selection) -> tuple[str, str]:
    """Where events are found, and their number there: an index that is walked from an end, as far as needed.

    The rarest filter leads. SQLite keeps to the order of a CROSS JOIN.
    """
    if selection.words:
        return "search CROSS JOIN event e ON e.seq = search.rowid", "search.rowid"
    if selection.change is not None:
        return "change CROSS JOIN event e ON e.seq = change.seq", "change.seq"
    if selection.verdict is not None:
        return "routing judged CROSS JOIN event e ON e.seq = judged.seq", "judged.seq"
    return "event e", "e.seq"


def _where(connection: sqlite3.Connection, selection: Selection) -> Where:
    where = Where()
    _, seq = _walk(selection)
    if selection.words:
        where.add("search MATCH ?", search.expression(connection, selection.words))
    if selection.after_seq is not None:
        where.add(f"{seq} > ?", selection.after_seq)
    _of_event(where, selection)
    _of_routing(where, selection, seq)
    if selection.calendar_event is not None:
        _about(connection, where, selection.calendar_event)
    if any(part is not None for part in (selection.handler, selection.run_state, selection.code_version)):
        _with_run(where, selection)
    return where


def _of_event(where: Where, selection: Selection) -> None:
    if selection.since_ms is not None:
        where.add("e.received_at >= ?", selection.since_ms)
    if selection.until_ms is not None:
        where.add("e.received_at < ?", selection.until_ms)
    if selection.type_glob is not None:
        where.add("e.event_type GLOB ?", selection.type_glob)
    if selection.source is not None:
        where.add("e.source_id = (SELECT source_id FROM source WHERE name = ?)", selection.source)


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
    number = int(name) if name.isascii() and name.isdigit() and len(name) <= _DIGITS else None
    subjects = connection.execute(
        "SELECT subject_id FROM subject WHERE kind = 'calendar_event' AND (uuid = ? OR number = ?)",
        (name.lower(), number),
    ).fetchall()
    places = ", ".join("?" * len(subjects))
    where.add(
        f"e.seq IN (SELECT seq FROM routing WHERE subject_id IN ({places}) UNION ALL "  # noqa: S608 -- placeholders only
        "SELECT seq FROM event WHERE seq > (SELECT coalesce(max(seq), 0) FROM routing) "
        "AND (calendar_event_uuid = ? OR calendar_event_id = ?))",
        *(row[0] for row in subjects),
        name.lower(),
        number,
    )


def _with_run(where: Where, selection: Selection) -> None:
    """Events with one run that is all of it: of this handler, in this state, and made by this code."""
    run = Where()
    of_run(run, selection)
    if selection.run_state is not None and selection.run_state not in _COMMON:
        # From the few runs to their events, not from every event to its runs.
        where.add(f"e.seq IN (SELECT run.seq FROM run WHERE {_RARE} AND {run})", *run.values)  # noqa: S608 -- conditions of of_run
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
