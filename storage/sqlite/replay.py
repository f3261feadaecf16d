"""Replays as rows: what was asked for, how far it has got, and the runs it made.

A replay is filled in batches in log order; its cursor moves in the transaction that adds a batch's runs, so
one that was interrupted goes on where it stopped and never gives an event to a handler twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from storage.records import ReplayRecord, Selection
from storage.sqlite import calendar, select
from storage.sqlite.append import insert
from storage.sqlite.read import UNROUTED, unrouted_from
from storage.sqlite.subjects import resolve
from storage.work import ReplayItem

if TYPE_CHECKING:
    import sqlite3

    from storage.sqlite.names import Names
    from storage.sqlite.runs import Runs
    from storage.work import NewReplay, ReplayBatch

_RUN: Final = (
    "INSERT INTO run (seq, handler_id, subject_id, state, due_at, replay_id) VALUES ",
    6,
    "",
)


def start(connection: sqlite3.Connection, replays: list[NewReplay]) -> list[int]:
    """Record what is asked for; the numbers of the replays."""
    numbers = []
    for replay in replays:
        selection = json.dumps(asdict(replay.selection))
        row = connection.execute(
            "INSERT INTO replay (created_at, selection, target, total, last_seq, upto_seq) "
            "VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(seq), 0) FROM event)) RETURNING replay_id",
            (replay.created_at_ms, selection, replay.target, replay.total, replay.selection.after_seq or 0),
        ).fetchone()
        numbers.append(int(row[0]))
    return numbers


def next_items(connection: sqlite3.Connection, replay_id: int, limit: int) -> list[ReplayItem]:
    """The next events to replay, with the handlers that the selection itself names, if it does."""
    row = connection.execute(
        "SELECT selection, target, last_seq, upto_seq FROM replay WHERE replay_id = ? AND filled_at IS NULL",
        (replay_id,),
    ).fetchone()
    if row is None:
        return []
    selection = Selection(**(json.loads(row[0]) | {"after_seq": row[2], "limit": limit}))
    numbers = select.page(connection, selection, row[3] + 1)
    places = ", ".join("?" * len(numbers))
    query = f"{UNROUTED} WHERE e.seq IN ({places}) ORDER BY e.seq"
    events = unrouted_from(connection.execute(query, numbers))
    return [
        ReplayItem(
            event,
            _named(connection, event.seq, selection, row[1]),
            *calendar.routing_of(connection, event.seq),
            tuple(calendar.changes_of(connection, event.seq)),
        )
        for event in events
    ]


def _named(
    connection: sqlite3.Connection, seq: int, selection: Selection, target: str | None
) -> tuple[str, ...] | None:
    """The handlers an event goes to if that is settled: the target, or those whose runs were selected."""
    if target is not None:
        return (target,)
    if selection.handler is None and selection.code_version is None and selection.run_state is None:
        return None
    where = select.Where()
    select.of_run(where, selection)
    rows = connection.execute(
        "SELECT DISTINCT handler.name FROM run JOIN handler USING (handler_id) "  # noqa: S608 -- conditions of select
        f"WHERE run.seq = ? AND {where} ORDER BY 1",
        (seq, *where.values),
    )
    return tuple(str(row[0]) for row in rows)


class Replays:
    """The operation that makes runs, with the names it shares."""

    def __init__(self, names: Names, runs: Runs) -> None:
        self._names = names
        self._runs = runs

    def extend(self, connection: sqlite3.Connection, batches: list[ReplayBatch]) -> list[int]:
        """Add the runs of the next events and move the cursor; how many runs were made."""
        return [self._extend(connection, batch) for batch in batches]

    def _extend(self, connection: sqlite3.Connection, batch: ReplayBatch) -> int:
        cursor = connection.execute(
            "UPDATE replay SET last_seq = ?, filled_at = ? "
            "WHERE replay_id = ? AND last_seq = ? AND filled_at IS NULL",
            (batch.last_seq, batch.now_ms if batch.filled else None, batch.replay_id, batch.from_seq),
        )
        if not cursor.rowcount:
            return 0
        resolution = resolve(connection, self._names, batch.routings)
        resolution.store(connection)
        about = list(zip(batch.routings, resolution.numbers, strict=True))
        rows = self._runs.lined_up(connection, about, batch.now_ms)
        insert(connection, _RUN, [(*row, batch.replay_id) for row in rows])
        return len(rows)


def records(connection: sqlite3.Connection, replay_id: int | None = None) -> list[ReplayRecord]:
    """All replays, or one, newest first, each with how its runs stand."""
    rows = connection.execute(
        "SELECT replay_id, created_at, filled_at, target, selection, total, last_seq FROM replays "
        "WHERE ?1 IS NULL OR replay_id = ?1 ORDER BY replay_id DESC",
        (replay_id,),
    ).fetchall()
    return [
        ReplayRecord(
            replay_id=row[0],
            created_at=row[1],
            filled_at=row[2],
            target=row[3],
            selection=row[4],
            total=row[5],
            last_seq=row[6],
            runs=dict(
                connection.execute(
                    "SELECT state, count(*) FROM run WHERE replay_id = ? GROUP BY state", (row[0],)
                ).fetchall()
            ),
        )
        for row in rows
    ]
