"""The rule that every fault is judged by: what was acknowledged is stored, once, whole, and comes to an end.

`acked ⊆ stored ⊆ sent`, never equality: a refused event may still have been stored. The checker reads the
file with SQLite alone, so that no mistake of ours can hide another.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.faults.book import Book

PLUGIN: Final = """
import os
from pathlib import Path
from receiver import AnyEvent, Context, on

effects = os.open(Path(__file__).with_name("effects"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

@on(AnyEvent, stale="run")
async def ledger(event: AnyEvent, ctx: Context) -> None:
    os.write(effects, f"{ctx.event_id}\\n".encode())
    about = event.calendar_event.uuid
    titles = await ctx.store.get(about, [])
    ctx.store.set(about, [*titles, event.calendar_event.title])
"""
"""Notes each event in a file, as an effect outside, and in its store, as one that happens exactly once."""

_LEFT: Final = (
    "SELECT (SELECT coalesce(max(seq), 0) FROM event) > (SELECT coalesce(max(seq), 0) FROM routing)",
    (
        "SELECT count(*) FROM run WHERE state IN ('pending', 'running', 'retrying') AND handler_id IN "
        "(SELECT handler_id FROM handler WHERE name = 'ledger')"
    ),
    "SELECT count(*) FROM message WHERE state IN ('pending', 'running', 'retrying')",
)


@dataclass(slots=True)
class Findings:
    """What is wrong; nothing, if it is all right."""

    missing: list[int | str] = field(default_factory=list)
    """Acknowledged, and not stored under that id."""
    foreign: list[str] = field(default_factory=list)
    """Stored, and never sent."""
    twice: list[int] = field(default_factory=list)
    """Stored more than once, or acknowledged under two ids."""
    altered: list[str] = field(default_factory=list)
    """Stored with another body than its hash says."""
    unfinished: list[str] = field(default_factory=list)
    """Neither done nor dead nor waiting; or waiting, when everything should have ended."""
    without_effect: list[str] = field(default_factory=list)
    """Done, and its effect outside never happened."""
    miscounted: list[str] = field(default_factory=list)
    """Its effect in the store did not happen exactly once for each run that is done."""
    damage: list[str] = field(default_factory=list)
    """What SQLite says of the file."""

    def __bool__(self) -> bool:
        return any(self._named().values())

    def __str__(self) -> str:
        found = self._named()
        return "; ".join(
            f"{name}: {len(items)}, such as {items[:3]}" for name, items in found.items() if items
        )

    def _named(self) -> dict[str, list[Any]]:
        return {name: getattr(self, name) for name in self.__slots__}


def check(book: Book, log: Path, effects: Path | None = None, *, ended: bool = False) -> Findings:
    """Compare the book with the log, and the log with what its handler did.

    Args:
        book: what the sender knows.
        log: the file of the log. Nobody may be writing it; it may need recovery.
        effects: what the handler of `PLUGIN` has noted; None leaves its work out.
        ended: whether everything should have been finished by now.
    """
    findings = Findings()
    number_of = {digest: number for number, sent in book.events.items() for digest in sent.digests}
    try:
        with closing(open_log(log)) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
            if verdict != "ok":
                findings.damage.append(str(verdict))
            stored = dict(check_stored(connection, number_of, findings))
            _check_acked(book, stored, findings)
            if effects is not None:
                check_work(connection, set(effects.read_text().split()), findings, ended=ended)
    except sqlite3.Error as error:
        findings.damage.append(f"{type(error).__name__}: {error}")
    return findings


def open_log(log: Path) -> sqlite3.Connection:
    """The log, for questions; what a crash left behind is recovered."""
    if not log.exists():
        raise sqlite3.OperationalError("there is no log")
    connection = sqlite3.connect(log)
    connection.execute("PRAGMA query_only = ON")
    return connection


def left(log: Path) -> bool:
    """Whether there is still something to do, for a service that is running."""
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as connection:
        return any(connection.execute(question).fetchone()[0] for question in _LEFT)


def check_stored(
    connection: sqlite3.Connection, number_of: Mapping[str, int], findings: Findings
) -> Iterator[tuple[str, int]]:
    """Each stored event's id, and the number that its sender knows it by; `number_of` by the body's hash."""
    seen: set[int] = set()
    for event_id, digest, body in connection.execute("SELECT event_id, body_sha256, body FROM event"):
        if hashlib.sha256(body).digest() != digest:
            findings.altered.append(event_id)
        number = number_of.get(digest.hex())
        if number is None:
            findings.foreign.append(event_id)
            continue
        if number in seen:
            findings.twice.append(number)
        seen.add(number)
        yield event_id, number


def _check_acked(book: Book, stored: dict[str, int], findings: Findings) -> None:
    for number, sent in book.acked.items():
        if any(stored.get(event_id) != number for event_id in sent.acked):
            findings.missing.append(number)
        if len(sent.acked) > 1 or sent.accepted > 1:
            findings.twice.append(number)


def check_work(
    connection: sqlite3.Connection, effects: set[str] | None, findings: Findings, *, ended: bool
) -> None:
    """Every routed event has a run of the handler; those that are done have their effects.

    `effects` are those outside; None leaves them out.
    """
    done: Counter[str] = Counter()
    routed = connection.execute(
        "SELECT e.event_id, json_extract(CAST(e.body AS TEXT), '$.calendar_event.title'), h.name, r.state "
        "FROM event e JOIN routing USING (seq) "
        "LEFT JOIN run r ON r.seq = e.seq LEFT JOIN handler h USING (handler_id)"
    )
    served: dict[str, bool] = {}
    for event_id, title, handler, state in routed:
        ours = handler == "ledger"
        served[event_id] = served.get(event_id, False) or ours
        if not ours:
            continue
        if state == "done":
            done[title] += 1
            if effects is not None and event_id not in effects:
                findings.without_effect.append(event_id)
        elif ended and state in ("pending", "running", "retrying"):
            findings.unfinished.append(event_id)
    findings.unfinished += [event_id for event_id, is_served in served.items() if not is_served]
    if ended and connection.execute(_LEFT[0]).fetchone()[0]:
        findings.unfinished.append("events that were not routed")
    store: Counter[str] = Counter()
    for (value,) in connection.execute(
        "SELECT value FROM store JOIN handler USING (handler_id) WHERE name = 'ledger'"
    ):
        kept = json.loads(value)
        store.update(kept if isinstance(kept, list) else [])
    findings.miscounted += [title for title in done.keys() | store.keys() if done[title] != store[title]]
