"""Events get their routings, with runs, changes and new states. Each method is an operation of the writer.

What is decided for an event is recorded with all that follows from it in one transaction. The rule easiest to
break: a run that is made as running may start only after the commit, as one that was claimed does; and like
that it is not made so while an earlier run of its handler and subject is unfinished.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from storage.calendar import ChangeRecord
from storage.sqlite import calendar, read, search
from storage.sqlite.append import insert
from storage.sqlite.subjects import resolve
from storage.work import Claimed, Routed

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from storage.calendar import NewState
    from storage.sqlite.names import Names
    from storage.sqlite.runs import Runs
    from storage.sqlite.subjects import Resolution
    from storage.work import Decision, Routing, Unrouted

_ROUTING: Final = ("INSERT INTO routing (seq, subject_id, verdict) VALUES ", 3, "")
_RUN: Final = (
    "INSERT INTO run (run_id, seq, handler_id, subject_id, state, attempt, due_at, owner) VALUES ",
    8,
    "",
)


class Claiming(NamedTuple):
    """When new runs are due, and who takes how many of which handlers at once."""

    now_ms: int
    owner: str = ""
    capacity: Mapping[str, int] = {}


class Routings:
    """The operations on routings."""

    def __init__(self, names: Names, runs: Runs) -> None:
        self._names = names
        self._runs = runs

    def route(
        self, connection: sqlite3.Connection, batches: list[tuple[list[Routing], list[NewState], int]]
    ) -> list[bool]:
        """Record routings with their runs and changes, and the states they lead to.

        A batch is routings, states, and the time from which the runs are due. False, and nothing is recorded,
        if a state has changed since it was looked at.
        """
        results = []
        for routings, states, now_ms in batches:
            last = connection.execute("SELECT coalesce(max(seq), 0) FROM routing").fetchone()[0]
            new = [routing for routing in routings if routing.seq > last]
            resolution = resolve(connection, self._names, new)
            current = calendar.are_current(connection, states) and all(
                routing.number in (None, subject)
                for routing, subject in zip(new, resolution.numbers, strict=True)
            )
            if current:
                self._record(connection, new, states, resolution, Claiming(now_ms))
            results.append(current)
        return results

    def route_next(
        self,
        connection: sqlite3.Connection,
        batches: list[tuple[Callable[[list[Unrouted]], Decision[Any] | None], int, Claiming]],
    ) -> list[Routed[Any] | None]:
        """Record what is decided for the oldest events that wait: at most so many of them."""
        return [self._route_next(connection, *batch) for batch in batches]

    def _route_next(
        self,
        connection: sqlite3.Connection,
        decide: Callable[[list[Unrouted]], Decision[Any] | None],
        limit: int,
        claiming: Claiming,
    ) -> Routed[Any] | None:
        events, resolution = read.look_up(connection, limit)
        if not events:
            return Routed(0, None, [])
        decision = decide(events)
        if decision is None:
            return None
        taken = self._record(connection, decision.routings, decision.states, resolution, claiming)
        return Routed(len(events), decision.told, _claimed(events, decision, taken))

    def _record(
        self,
        connection: sqlite3.Connection,
        routings: Sequence[Routing],
        states: Sequence[NewState],
        resolution: Resolution,
        claiming: Claiming,
    ) -> list[_Taken]:
        """Write it down; the runs that are under way from now on."""
        resolution.store(connection)
        about = list(zip(routings, resolution.numbers, strict=True))
        insert(connection, _ROUTING, [(routing.seq, subject, routing.verdict) for routing, subject in about])
        search.learn(connection, ((routing.seq, routing.words) for routing in routings))
        calendar.store(connection, states)
        calendar.note(connection, ((routing.seq, routing.changes) for routing in routings))
        rows, taken = self._placed(
            connection, self._runs.lined_up(connection, about, claiming.now_ms), claiming
        )
        insert(connection, _RUN, rows)
        return taken

    def _placed(
        self, connection: sqlite3.Connection, rows: list[tuple[Any, ...]], claiming: Claiming
    ) -> tuple[list[tuple[Any, ...]], list[_Taken]]:
        """The rows of new runs with their numbers, due ones as running as long as there is room."""
        last = connection.execute("SELECT coalesce(max(run_id), 0) FROM run").fetchone()[0]
        names = {self._names.handler(connection, name): name for name in claiming.capacity}
        left = Counter({handler: claiming.capacity[name] for handler, name in names.items()})
        numbered: list[tuple[Any, ...]] = []
        taken = []
        for number, (seq, handler, subject, state, due_at) in enumerate(rows, last + 1):
            if due_at is None or left[handler] <= 0:
                numbered.append((number, seq, handler, subject, state, 0, due_at, None))
                continue
            left[handler] -= 1
            numbered.append((number, seq, handler, subject, "running", 1, None, claiming.owner))
            taken.append(_Taken(number, names[handler], seq))
        return numbered, taken


class _Taken(NamedTuple):
    """A new run that is under way."""

    run_id: int
    handler: str
    seq: int


def _claimed(events: Sequence[Unrouted], decision: Decision[Any], taken: Sequence[_Taken]) -> list[Claimed]:
    """The runs as who makes them gets them; nothing need be read for that."""
    if not taken:
        return []
    waited = {event.seq: event for event in events}
    routed = {routing.seq: routing for routing in decision.routings}
    known = {state.last_seq: state.calendar_event for state in decision.states}
    claimed = []
    for run_id, handler, seq in taken:
        event, routing = waited[seq], routed[seq]
        claimed.append(
            Claimed(
                run_id=run_id,
                handler=handler,
                attempt=1,
                tries=1,
                seq=seq,
                event_id=event.event_id,
                source=event.source,
                origin=event.origin,
                event_type=event.event_type,
                received_at_ms=event.received_at_ms,
                delivery_id=event.delivery_id,
                body=event.body,
                number=event.number,
                verdict=routing.verdict,
                state=known.get(seq),
                changes=tuple([ChangeRecord.of(*change) for change in routing.changes]),
            )
        )
    return claimed
