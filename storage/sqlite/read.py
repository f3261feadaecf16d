"""Answers to questions, as records.

What is shown comes from the documented views, so that `log list` and a person's own SQL never differ. Each
function is one short reading transaction on a read-only connection.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final, TypeVar

from storage.records import (
    AttemptRecord,
    DeliveryRecord,
    EventDetail,
    EventRecord,
    HandlerBacklog,
    LogStatus,
    MessageRecord,
    QuarantineRecord,
    Refused,
    RunRecord,
)
from storage.sqlite import calendar, select
from storage.sqlite.append import chunks
from storage.sqlite.subjects import Resolution
from storage.work import StoredValue, Unrouted, subject_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from storage.records import Selection
    from storage.states import RunState

T = TypeVar("T")

_RECORD: Final = (
    "seq, event_id, source, event_type, calendar_event_uuid, calendar_event_id, occurred_at, received_at, "
    "delivery_id, verdict, changes, deliveries, origin, runs, title, status, start_time, end_time, flags"
)


def page(connection: sqlite3.Connection, selection: Selection, before_seq: int | None) -> list[EventRecord]:
    """One page of selected events, in order."""
    numbers = select.page(connection, selection, before_seq)
    direction = "DESC" if selection.after_seq is None else "ASC"
    return _records(connection, numbers, direction)


def _records(connection: sqlite3.Connection, numbers: Sequence[int], direction: str) -> list[EventRecord]:
    places = ", ".join("?" * len(numbers))
    query = f"SELECT {_RECORD} FROM events WHERE seq IN ({places}) ORDER BY seq {direction}"  # noqa: S608 -- constants and placeholders
    return [_record(row) for row in connection.execute(query, numbers)]


def _record(row: tuple[Any, ...]) -> EventRecord:
    values = dict(zip(_RECORD.split(", "), row, strict=True))
    values["changes"] = json.loads(values["changes"])
    values["runs"] = json.loads(values["runs"])
    values["flags"] = tuple((values["flags"] or "").split())
    return EventRecord(**values)


def get(connection: sqlite3.Connection, event_id: str) -> EventDetail | None:
    """One event with everything that hangs on it."""
    row = connection.execute(
        "SELECT seq, body, lower(hex(body_sha256)), headers, secret_fingerprint, subject_id "
        "FROM event JOIN provenance USING (provenance_id) LEFT JOIN routing USING (seq) WHERE event_id = ?",
        (event_id,),
    ).fetchone()
    if row is None:
        return None
    seq, body, sha256, headers, fingerprint, number = row
    deliveries = connection.execute(
        "SELECT delivery_id, received_at, outcome FROM deliveries WHERE event_id = ? "
        "ORDER BY received_at, outcome",
        (event_id,),
    )
    return EventDetail(
        record=_records(connection, [seq], "ASC")[0],
        body=body,
        body_sha256=sha256,
        headers=json.loads(headers),
        secret_fingerprint=fingerprint or None,
        deliveries=[DeliveryRecord(delivery_id=d, received_at=r, outcome=o) for d, r, o in deliveries],
        runs=_runs(connection, event_id),
        messages=_messages(connection, event_id),
        changes=calendar.changes_of(connection, seq),
        number=number,
    )


def bodies(connection: sqlite3.Connection, seqs: Sequence[int]) -> dict[int, bytes]:
    """The bodies of events, by their numbers."""
    found: dict[int, bytes] = {}
    for places, values in chunks([(seq,) for seq in seqs], 1):
        query = f"SELECT seq, body FROM event WHERE seq IN (VALUES {places})"  # noqa: S608 -- placeholders only
        found.update(connection.execute(query, values).fetchall())
    return found


def find(connection: sqlite3.Connection, prefix: str, limit: int) -> list[str]:
    """Ids that begin so. They are made of hex digits and dashes, so the letter behind those is the bound."""
    rows = connection.execute(
        "SELECT event_id FROM event WHERE event_id >= ?1 AND event_id < ?1 || 'g' ORDER BY event_id LIMIT ?2",
        (prefix.lower(), limit),
    )
    return [str(row[0]) for row in rows]


def _runs(connection: sqlite3.Connection, event_id: str) -> list[RunRecord]:
    attempts: dict[int, list[AttemptRecord]] = {}
    names = ("attempt", "started_at", "finished_at", "outcome", "error", "code_version")
    query = f"SELECT run_id, {', '.join(names)} FROM attempts WHERE event_id = ? ORDER BY run_id, attempt"  # noqa: S608 -- constants
    for run_id, *values in connection.execute(query, (event_id,)):
        attempts.setdefault(run_id, []).append(AttemptRecord(**dict(zip(names, values, strict=True))))
    rows = connection.execute(
        "SELECT run_id, handler, state, attempts, due_at, replay_id FROM runs "
        "WHERE event_id = ? ORDER BY run_id",
        (event_id,),
    )
    return [
        RunRecord(
            run_id=run_id,
            handler=handler,
            state=state,
            attempt=n,
            due_at=due,
            replay_id=replay_id,
            attempts=attempts.get(run_id, []),
        )
        for run_id, handler, state, n, due, replay_id in rows
    ]


def _messages(connection: sqlite3.Connection, event_id: str) -> list[MessageRecord]:
    names = tuple(field.name for field in fields(MessageRecord))
    query = f"SELECT {', '.join(names)} FROM messages WHERE event_id = ? ORDER BY message_id"  # noqa: S608 -- names of fields
    return [
        MessageRecord(**dict(zip(names, row, strict=True))) for row in connection.execute(query, (event_id,))
    ]


def stored_value(connection: sqlite3.Connection, handler: str, key: str) -> StoredValue:
    """What a handler's store holds under a key."""
    row = connection.execute(
        "SELECT value, run_id FROM store JOIN handler USING (handler_id) WHERE name = ? AND key = ?",
        (handler, key),
    ).fetchone()
    return StoredValue(*row) if row else StoredValue(None, None)


def store_of(connection: sqlite3.Connection, handler: str) -> dict[str, str]:
    """All that a handler's store holds, as JSON."""
    rows = connection.execute(
        "SELECT key, value FROM store JOIN handler USING (handler_id) WHERE name = ? ORDER BY key", (handler,)
    )
    return dict(rows.fetchall())


UNROUTED: Final = (
    "SELECT e.seq, source.name, e.event_type, e.calendar_event_uuid, e.calendar_event_id, e.call_id, "
    "e.body, e.event_id, e.received_at, e.origin, e.occurred_at, e.body_sha256, e.flags, "
    "e.delivery_id, e.source_id "
    "FROM event e JOIN source USING (source_id)"
)
"""What routing an event needs; a condition follows."""
_ABOUT: Final = slice(3, 6)
"""The columns that name what it is about."""
_FLAGS: Final = 12
"""The column of the flags."""


def unrouted(connection: sqlite3.Connection, limit: int) -> list[Unrouted]:
    """The oldest events that no routing has reached, with what is known of what they are about."""
    return look_up(connection, limit)[0]


def look_up(connection: sqlite3.Connection, limit: int) -> tuple[list[Unrouted], Resolution]:
    """The same, and what they are about."""
    condition = "e.seq > (SELECT coalesce(max(seq), 0) FROM routing) ORDER BY e.seq LIMIT ?"
    rows = connection.execute(f"{UNROUTED} WHERE {condition}", (limit,)).fetchall()
    about = [(row[-1], subject) if (subject := subject_of(*row[_ABOUT])) else None for row in rows]
    resolution = Resolution(connection, about)
    numbers = resolution.numbers
    states = calendar.states(connection, {number for number in numbers if number is not None})
    events = [
        _unrouted(*row, number, states.get(number or 0)) for row, number in zip(rows, numbers, strict=True)
    ]
    return events, resolution


def survey(look: Callable[[list[Unrouted]], T], limit: int, connection: sqlite3.Connection) -> T:
    """What `look` makes of `unrouted`."""
    return look(unrouted(connection, limit))


def unrouted_from(rows: Iterable[tuple[Any, ...]]) -> list[Unrouted]:
    """The rows of an `UNROUTED` query as records."""
    return [_unrouted(*row) for row in rows]


def _unrouted(*row: Any) -> Unrouted:
    values: list[Any] = list(row)
    values[_FLAGS] = tuple((row[_FLAGS] or "").split())
    del values[_FLAGS + 2]  # the number of its source
    return Unrouted(*values)


def quarantined(connection: sqlite3.Connection, limit: int) -> list[QuarantineRecord]:
    """What is in quarantine, newest first."""
    rows = connection.execute(
        "SELECT id, source, received_at, reason, size, body_sha256, delivery_id, state FROM quarantine "
        "ORDER BY id DESC LIMIT ?",
        (limit or -1,),
    )
    names = ("id", "source", "received_at", "reason", "size", "body_sha256", "delivery_id", "state")
    return [QuarantineRecord(**dict(zip(names, row, strict=True))) for row in rows]


def quarantined_body(connection: sqlite3.Connection, number: int) -> Refused | None:
    """One body of quarantine, as it came."""
    row = connection.execute(
        "SELECT source.name, body, body_sha256, received_at, reason, delivery_id, headers, "
        "secret_fingerprint FROM refused JOIN source USING (source_id) JOIN provenance USING (provenance_id) "
        "WHERE refused_id = ? AND state <> 'forgotten'",
        (number,),
    ).fetchone()
    if row is None:
        return None
    return Refused(
        source=row[0],
        body=row[1],
        body_sha256=row[2],
        received_at_ms=row[3],
        reason=row[4],
        delivery_id=row[5],
        headers=row[6],
        secret_fingerprint=row[7] or None,
    )


def backlog(connection: sqlite3.Connection) -> list[HandlerBacklog]:
    """Every handler that ever had a run."""
    states: dict[int, dict[RunState, int]] = {}
    for number, state, runs in connection.execute(
        "SELECT handler_id, state, count(*) FROM run GROUP BY 1, 2"
    ):
        states.setdefault(number, {})[state] = runs
    return [
        HandlerBacklog(handler=name, runs=states.get(number, {}), last_error=_last_error(connection, number))
        for name, number in connection.execute(
            "SELECT name, handler_id FROM handler ORDER BY name"
        ).fetchall()
    ]


def _last_error(connection: sqlite3.Connection, handler: int) -> str | None:
    """The error of the handler's newest failed run that still counts: retrying, dead or discarded."""
    row = connection.execute(
        "SELECT error FROM attempt WHERE error IS NOT NULL AND run_id = (SELECT max(run_id) FROM run "
        "WHERE handler_id = ? AND state NOT IN ('pending', 'running', 'done')) ORDER BY attempt DESC LIMIT 1",
        (handler,),
    ).fetchone()
    return str(row[0]) if row else None


def status(connection: sqlite3.Connection, path: Path) -> LogStatus:
    """The log as a whole."""

    def one(query: str) -> int:
        return int(connection.execute(query).fetchone()[0])

    wal = path.with_name(path.name + "-wal")
    return LogStatus(
        path=str(path),
        version=one("PRAGMA user_version"),
        events=one("SELECT count(*) FROM event"),
        last_seq=one("SELECT coalesce(max(seq), 0) FROM event"),
        unrouted=one("SELECT count(*) FROM event WHERE seq > (SELECT coalesce(max(seq), 0) FROM routing)"),
        runs=dict(connection.execute("SELECT state, count(*) FROM run GROUP BY state").fetchall()),
        quarantined=one("SELECT count(*) FROM refused WHERE state = 'kept'"),
        size_bytes=path.stat().st_size,
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
        sqlite_version=sqlite3.sqlite_version,
        settings={name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _SETTINGS},
    )


_SETTINGS: Final = ("journal_mode", "page_size", "page_count", "freelist_count", "auto_vacuum")
