"""Runs as rows: lined up, claimed, finished, taken back. Each function is an operation of the writer.

One number decides whether a run may be claimed: `due_at`. It is NULL while an earlier run of the same
handler and subject is unfinished, so claiming never searches; whoever finishes a run lets the next in line
go. The rule easiest to break: every change of a run names the state and attempt it expects to find
(compare and set), so a late finish or a recovery can never overwrite a run that has moved on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from storage.sqlite import calendar, effects
from storage.sqlite.append import chunks, insert
from storage.states import FINISHED, FOLLOWS, WAITING
from storage.work import Claimed, Finished

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from storage.sqlite.names import Names
    from storage.work import Outcome, Routing

_UNFINISHED: Final = "state IN ('pending', 'running', 'retrying')"
_ATTEMPT: Final = (
    "INSERT INTO attempt (run_id, attempt, started_at, finished_at, outcome, error, code_version) VALUES ",
    7,
    "",
)


class Runs:
    """The operations on runs, with the names they share."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def lined_up(
        self, connection: sqlite3.Connection, about: Sequence[tuple[Routing, int | None]], now_ms: int
    ) -> list[tuple[Any, ...]]:
        """Rows of new runs, each due unless an earlier one of its handler and subject is unfinished.

        `about` is routings with the numbers of what they are about. A row is the event, the handler, the
        subject, the state, and when it is due.
        """
        runs = [
            (
                routing.seq,
                self._names.handler(connection, run.handler),
                subject if run.ordered else None,
                run.skipped,
            )
            for routing, subject in about
            for run in routing.runs
        ]
        busy = _busy(
            connection,
            {(handler, line) for _, handler, line, skipped in runs if line is not None and not skipped},
        )
        rows: list[tuple[Any, ...]] = []
        for seq, handler, line, skipped in runs:
            if skipped:
                rows.append((seq, handler, line, "skipped", None))
                continue
            waits = (handler, line) in busy
            if line is not None:
                busy.add((handler, line))
            rows.append((seq, handler, line, "pending", None if waits else now_ms))
        return rows

    def claim(
        self,
        connection: sqlite3.Connection,
        requests: list[tuple[str, Mapping[str, int], Mapping[str, int] | None, bool, int]],
    ) -> list[list[Claimed]]:
        """Take due runs: the owner, how many per handler, how many replays, if live ones, the time."""
        return [self._claim(connection, *request) for request in requests]

    def _claim(
        self,
        connection: sqlite3.Connection,
        owner: str,
        capacity: Mapping[str, int],
        replays: Mapping[str, int] | None,
        live: bool,  # noqa: FBT001 -- a request, unpacked
        now_ms: int,
    ) -> list[Claimed]:
        claimed: list[Claimed] = []
        for name, most in capacity.items():
            news = self._due(connection, name, most, now_ms, replayed=False) if live else []
            room = most - len(news)
            most_replayed = room if replays is None else min(room, replays.get(name, 0))
            claimed += news
            if most_replayed > 0:
                claimed += self._due(connection, name, most_replayed, now_ms, replayed=True)
        for start in range(0, len(claimed), 64):
            chunk = [run.run_id for run in claimed[start : start + 64]]
            places = ", ".join("?" * len(chunk))
            connection.execute(
                "UPDATE run SET state = 'running', attempt = attempt + 1, due_at = NULL, owner = ? "  # noqa: S608 -- placeholders only
                f"WHERE run_id IN ({places}) AND due_at IS NOT NULL",
                (owner, *chunk),
            )
        return claimed

    def _due(
        self, connection: sqlite3.Connection, name: str, most: int, now_ms: int, *, replayed: bool
    ) -> list[Claimed]:
        rows = connection.execute(
            "SELECT run.run_id, run.attempt + 1, run.attempt + 1 - run.postponed, e.seq, e.event_id, "  # noqa: S608 -- a constant
            "source.name, e.origin, e.event_type, e.received_at, e.delivery_id, e.body, run.replay_id, "
            f"routing.subject_id, routing.verdict, state.calendar_event, {calendar.CHANGES} "
            "FROM run JOIN event e ON e.seq = run.seq JOIN source USING (source_id) "
            "LEFT JOIN routing ON routing.seq = run.seq "
            "LEFT JOIN state ON state.subject_id = routing.subject_id AND state.last_seq = run.seq "
            "WHERE run.handler_id = ? AND (run.replay_id IS NOT NULL) = ? AND run.due_at <= ? "
            "ORDER BY run.due_at, run.run_id LIMIT ?",
            (self._names.handler(connection, name), replayed, now_ms, max(most, 0)),
        )
        return [_claimed(name, *row) for row in rows]


def _claimed(name: str, run_id: int, *row: Any) -> Claimed:
    values: tuple[Any, ...] = (*row[:-1], calendar.changes_in(row[-1]))
    return Claimed(run_id, name, *values)


def finish(connection: sqlite3.Connection, outcomes: list[Outcome]) -> list[Finished]:
    """Record how attempts ended, with their effects, and let the next in line go where a run has ended."""
    ended = _end(connection, outcomes)
    applied: list[Finished] = []
    attempts = []
    lines: dict[tuple[int, int], int] = {}
    for outcome in outcomes:
        handler, subject = ended.pop((outcome.run_id, outcome.attempt), (None, None))
        if handler is None:
            applied.append(Finished.LATE)
            continue
        told: str = outcome.state
        if _take_effect(connection, outcome, handler, subject):
            applied.append(Finished.RECORDED)
            if subject is not None and outcome.state in FINISHED:
                lines[handler, subject] = outcome.finished_at_ms
        else:
            applied.append(Finished.CONFLICT)
            told = "conflict"
        attempts.append(
            (
                outcome.run_id,
                outcome.attempt,
                outcome.started_at_ms,
                outcome.finished_at_ms,
                told,
                outcome.error,
                outcome.code_version,
            )
        )
    _let_next_go(connection, lines)
    insert(connection, _ATTEMPT, attempts)
    return applied


def _end(
    connection: sqlite3.Connection, outcomes: list[Outcome]
) -> dict[tuple[int, int], tuple[int, int | None]]:
    """Change the runs that are still in these attempts: the handler and subject of each run and attempt."""
    # Most have ended alike, and one statement for many costs half of one that has a row of values for each.
    alike: dict[tuple[Any, ...], list[tuple[int]]] = {}
    known: set[tuple[int, int]] = set()
    for outcome in outcomes:
        if outcome.state not in FOLLOWS["running"]:
            raise ValueError(f"A running run cannot become {outcome.state!r}.")
        if (outcome.state in WAITING) != (outcome.due_at_ms is not None):
            raise ValueError("A run that is retried needs the time when; any other has none.")
        key = outcome.run_id, outcome.attempt
        if key not in known:
            known.add(key)
            ending = (outcome.state, outcome.due_at_ms, not outcome.spends_try, outcome.attempt)
            alike.setdefault(ending, []).append((outcome.run_id,))
    ended: dict[tuple[int, int], tuple[int, int | None]] = {}
    for ending, numbers in alike.items():
        for places, values in chunks(numbers, 1):
            for run_id, attempt, handler, subject in connection.execute(
                "UPDATE run SET state = ?, due_at = ?, owner = NULL, postponed = postponed + ? "  # noqa: S608 -- placeholders only
                f"WHERE attempt = ? AND state = 'running' AND run_id IN (VALUES {places}) "
                "RETURNING run_id, attempt, handler_id, subject_id",
                (*ending, *values),
            ):
                ended[run_id, attempt] = handler, subject
    return ended


def _take_effect(connection: sqlite3.Connection, outcome: Outcome, handler: int, subject: int | None) -> bool:
    """Write what the attempt staged. False, and the run is due again, when what it read has changed since."""
    if outcome.effects is None:
        return True
    if effects.still_true(connection, handler, outcome.effects):
        effects.commit(connection, outcome, outcome.effects, handler, subject)
        return True
    connection.execute(
        "UPDATE run SET state = 'retrying', due_at = ?, postponed = postponed + 1 WHERE run_id = ?",
        (outcome.finished_at_ms, outcome.run_id),
    )
    return False


def take_back(connection: sqlite3.Connection, requests: list[tuple[str, bool, str, int]]) -> list[int]:
    """Let running runs wait again, due at once: this owner's own, or everybody's but this owner's.

    A request is the owner, whether its own are meant, the outcome to note for the attempt, and the time.
    An attempt that we broke off ourselves spends no try; one that ended with its process does.
    """
    counts = []
    for owner, own, outcome, now_ms in requests:
        condition = "owner = ?" if own else "owner <> ?"
        rows = connection.execute(
            "UPDATE run SET state = 'retrying', due_at = ?, owner = NULL, postponed = postponed + ? "  # noqa: S608 -- one of the two above
            f"WHERE state = 'running' AND {condition} RETURNING run_id, attempt",
            (now_ms, own, owner),
        ).fetchall()
        insert(
            connection,
            _ATTEMPT,
            [(run_id, attempt, None, now_ms, outcome, None, None) for run_id, attempt in rows],
        )
        counts.append(len(rows))
    return counts


def _busy(connection: sqlite3.Connection, lines: Collection[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those of the lines that have an unfinished run. A line is a handler and a subject."""
    return {
        (handler, subject)
        for places, values in chunks(list(lines), 2)
        for handler, subject in connection.execute(
            f"WITH line (handler_id, subject_id) AS (VALUES {places}) "  # noqa: S608 -- placeholders and a constant
            "SELECT handler_id, subject_id FROM line WHERE EXISTS (SELECT 1 FROM run "
            f"WHERE run.handler_id = line.handler_id AND run.subject_id = line.subject_id AND {_UNFINISHED})",
            values,
        )
    }


def _let_next_go(connection: sqlite3.Connection, lines: Mapping[tuple[int, int], int]) -> None:
    """The oldest unfinished run of each line may be claimed at its time."""
    for places, values in chunks([(*line, now_ms) for line, now_ms in lines.items()], 3):
        connection.execute(
            f"WITH line (handler_id, subject_id, now) AS (VALUES {places}) "  # noqa: S608 -- as above
            "UPDATE run SET due_at = head.now FROM (SELECT line.now, ("
            "SELECT run_id FROM run AS next WHERE next.handler_id = line.handler_id "
            f"AND next.subject_id = line.subject_id AND {_UNFINISHED} ORDER BY next.seq, next.run_id LIMIT 1"
            ") AS run_id FROM line) AS head "
            "WHERE run.run_id = head.run_id AND run.state = 'pending' AND run.due_at IS NULL",
            values,
        )
