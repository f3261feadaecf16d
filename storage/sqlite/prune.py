"""Removing what is old: whole calendar events, whole calls, and events that are about neither.

A calendar event goes when all that came about it is old, it is over, and no run or message of it is
unfinished. So what is known of the others still follows from their events. What was known to be a delivery
stays known: `identity` is kept, some 60 bytes an event. The rule easiest to break: what a reader has chosen
is looked at again in the transaction that removes it, since a new event may have come.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from storage.removal import Old, OldPage
from storage.sqlite import search
from storage.sqlite.append import chunks

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from storage.removal import Limits, Pruned

PAGE: Final = 200
"""Events that one reading transaction looks at."""
STEP_SECONDS: Final = 0.01
"""How long one step takes, apart from writing down what it did: senders wait for it."""

_UNFINISHED: Final = "state IN ('pending', 'running', 'retrying')"
_RUNS: Final = f"""
    SELECT EXISTS (SELECT 1 FROM run WHERE run.seq = ?1 AND run.{_UNFINISHED})
        OR EXISTS (
            SELECT 1 FROM run JOIN message USING (run_id) WHERE run.seq = ?1 AND message.{_UNFINISHED}
        ),
    EXISTS (SELECT 1 FROM run WHERE run.seq = ?1 AND run.state = 'dead' AND NOT EXISTS (
        SELECT 1 FROM run later
        WHERE later.seq = run.seq AND later.handler_id = run.handler_id AND later.run_id > run.run_id
    ))
"""  # noqa: S608 -- the constant above
"""Whether anything of an event is unfinished; whether a run that was not replayed is dead."""


def old(connection: sqlite3.Connection, limits: Limits, after: tuple[int, int]) -> OldPage:
    """What may go among the next events, by the time they were received, and where the next page begins."""
    rows = connection.execute(
        "SELECT e.received_at, e.seq, routing.subject_id FROM event e JOIN routing USING (seq) "
        "WHERE (e.received_at, e.seq) > (?, ?) AND e.received_at < ? ORDER BY e.received_at, e.seq LIMIT ?",
        (*after, limits.before_ms, PAGE),
    ).fetchall()
    found: list[Old] = []
    seen: set[int] = set()
    for _, seq, subject in rows:
        if subject is None:
            found += _may_go(connection, limits, None, [seq])
        elif subject not in seen:
            seen.add(subject)
            found += _may_go(connection, limits, subject, _events_of(connection, subject))
    return OldPage(tuple(found), (rows[-1][0], rows[-1][1]) if len(rows) == PAGE else None)


def _events_of(connection: sqlite3.Connection, subject: int) -> list[int]:
    rows = connection.execute("SELECT seq FROM routing WHERE subject_id = ? ORDER BY seq", (subject,))
    return [int(row[0]) for row in rows]


def _may_go(
    connection: sqlite3.Connection, limits: Limits, subject: int | None, seqs: list[int]
) -> Iterable[Old]:
    """These events as one thing to remove, or nothing if any of them has to stay."""
    before_ms = limits.before_ms
    for seq in seqs:
        unfinished, dead = connection.execute(_RUNS, (seq,)).fetchone()
        if unfinished:
            return
        if dead:
            before_ms = min(before_ms, limits.dead_before_ms)
    if subject is not None and not _is_over(connection, subject, limits.now_ms):
        return
    if _newest(connection, seqs) < before_ms:
        yield Old(subject, _kind(connection, subject), tuple(seqs))


def _is_over(connection: sqlite3.Connection, subject: int, now_ms: int) -> bool:
    """Whether the calendar event has ended, as far as is known. Calls have."""
    row = connection.execute(
        "SELECT coalesce(end_at, start_at, 0) FROM state WHERE subject_id = ?", (subject,)
    ).fetchone()
    return row is None or row[0] < now_ms


def _newest(connection: sqlite3.Connection, seqs: Sequence[int]) -> int:
    """When the last of these was received, which need not be the last in the log: some were in quarantine."""
    newest = 0
    for places, values in chunks([(seq,) for seq in seqs], 1):
        row = connection.execute(
            f"SELECT max(received_at) FROM event WHERE seq IN (VALUES {places})",  # noqa: S608 -- placeholders only
            values,
        ).fetchone()
        newest = max(newest, row[0] or 0)
    return newest


def _kind(connection: sqlite3.Connection, subject: int | None) -> str | None:
    row = connection.execute("SELECT kind FROM subject WHERE subject_id = ?", (subject,)).fetchone()
    return None if row is None else str(row[0])


def prune(connection: sqlite3.Connection, batches: list[tuple[Limits, Sequence[Pruned]]]) -> list[list[bool]]:
    """Remove things with all their events, if each may still go; which went, as far as there was time."""
    return [_prune(connection, *batch) for batch in batches]


def _prune(connection: sqlite3.Connection, limits: Limits, things: Sequence[Pruned]) -> list[bool]:
    until = time.monotonic() + STEP_SECONDS
    went: list[bool] = []
    words: list[tuple[int, str]] = []
    for thing in things:
        went.append(_may_still_go(connection, limits, thing))
        if went[-1]:
            _remove(connection, thing)
            words += ((seq, known) for seq, _, known in thing.events)
        if time.monotonic() > until:
            break
    search.unlearn(connection, sorted(words))
    return went


def _may_still_go(connection: sqlite3.Connection, limits: Limits, thing: Pruned) -> bool:
    seqs = [seq for seq, _, _ in thing.events]
    if thing.subject is not None and _events_of(connection, thing.subject) != seqs:
        return False
    if not list(_may_go(connection, limits, thing.subject, seqs)):
        return False
    return all(search.is_body(connection, seq, body) for seq, body, _ in thing.events)


def _remove(connection: sqlite3.Connection, thing: Pruned) -> None:
    """Remove what there is of a thing, but for its words."""
    if thing.subject is not None:
        for table in ("state", "overdue"):
            connection.execute(f"DELETE FROM {table} WHERE subject_id = ?", (thing.subject,))  # noqa: S608 -- the two above
    for places, values in chunks([(seq,) for seq, _, _ in thing.events], 1):
        # Deliveries, routings, changes, runs, attempts and messages go with their event.
        connection.execute(f"DELETE FROM event WHERE seq IN (VALUES {places})", values)  # noqa: S608 -- placeholders only


def prune_refused(connection: sqlite3.Connection, times: list[int]) -> list[int]:
    """Empty quarantine of what came before these times; how many bodies."""
    return [
        connection.execute("DELETE FROM refused WHERE received_at < ?", (before_ms,)).rowcount
        for before_ms in times
    ]


def old_refused(connection: sqlite3.Connection, before_ms: int) -> int:
    """How many bodies of quarantine came before."""
    row = connection.execute("SELECT count(*) FROM refused WHERE received_at < ?", (before_ms,)).fetchone()
    return int(row[0])


def give_back(connection: sqlite3.Connection) -> bool:
    """Give some unused pages back to the file system; whether there are more."""
    until = time.monotonic() + STEP_SECONDS
    connection.execute("BEGIN IMMEDIATE")
    try:
        left: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
        while left and time.monotonic() < until:
            connection.execute("PRAGMA incremental_vacuum(1)")
            left -= 1
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:  # it failed, such as on a full disk
            connection.execute("ROLLBACK")
    return left > 0
