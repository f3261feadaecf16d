"""The connection that writes, and those operations that need what it remembers between transactions.

An operation is a function of the connection and a list of items that gives a result per item. It may run in
another process, so it is a function of a module, and its items and results can be pickled. The rule easiest
to break: what is remembered of a transaction that was rolled back never came about; `forget` drops it.
"""

from __future__ import annotations

import sqlite3
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from storage.records import NewEvent, Refused, Taken, Unreadable
from storage.sqlite import calendar
from storage.sqlite.append import Appender
from storage.sqlite.forget import Forgetting
from storage.sqlite.names import Names
from storage.sqlite.reconcile import Reconciliations
from storage.sqlite.replay import Replays
from storage.sqlite.routing import Routings
from storage.sqlite.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from storage.calendar import NewOverdue
    from storage.records import Appended
    from storage.removal import Rewriting
    from storage.work import Claimed, NewReconciliation, ReconcileBatch, ReplayBatch


class WritingConnection(sqlite3.Connection):
    """The one connection that writes a log."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """As SQLite's own."""
        super().__init__(*arguments, **options)
        self._names = Names()
        self.appender = Appender(self._names)
        self.runs = Runs(self._names)
        self.routings = Routings(self._names, self.runs)
        self.replays = Replays(self._names, self.runs)
        self.forgetting = Forgetting(self._names)
        self.reconciliations = Reconciliations(self._names, self.appender)

    def forget(self) -> None:
        """Drop what is remembered, after a rollback."""
        self._names.forget()
        self.appender.forget()


def append(connection: WritingConnection, events: list[NewEvent]) -> list[Appended]:
    """See `Appender.append`."""
    return connection.appender.append(connection, events)


def take_in(
    connection: WritingConnection,
    items: list[tuple[Callable[[list[Any]], Sequence[NewEvent | Refused]], Any]],
) -> list[Taken | Unreadable]:
    """Record what each delivery is read as: the events together, bodies that could not be read one by one."""
    found = [
        one
        for read, some in groupby(items, key=itemgetter(0))
        for one in read([delivery for _, delivery in some])
    ]
    events = [one for one in found if isinstance(one, NewEvent)]
    appended = iter(connection.appender.append(connection, events))
    bodies = [one for one in found if isinstance(one, Refused)]
    connection.appender.quarantine(connection, bodies)
    return [
        Taken(next(appended), one.event_type, one.flags)
        if isinstance(one, NewEvent)
        else Unreadable(one.reason)
        for one in found
    ]


def quarantine(connection: WritingConnection, bodies: list[Refused]) -> list[int | None]:
    """See `Appender.quarantine`."""
    return connection.appender.quarantine(connection, bodies)


def route(connection: WritingConnection, batches: list[Any]) -> list[bool]:
    """See `Routings.route`."""
    return connection.routings.route(connection, batches)


def route_next(connection: WritingConnection, batches: list[Any]) -> list[Any]:
    """See `Routings.route_next`."""
    return connection.routings.route_next(connection, batches)


def claim(connection: WritingConnection, requests: list[Any]) -> list[list[Claimed]]:
    """See `Runs.claim`."""
    return connection.runs.claim(connection, requests)


def extend_replay(connection: WritingConnection, batches: list[ReplayBatch]) -> list[int]:
    """See `Replays.extend`."""
    return connection.replays.extend(connection, batches)


def tell_overdue(connection: WritingConnection, items: list[NewOverdue]) -> list[bool]:
    """See `calendar.tell_overdue`."""
    return calendar.tell_overdue(connection.appender, connection, items)


def start_reconciliation(connection: WritingConnection, new: list[NewReconciliation]) -> list[int]:
    """See `Reconciliations.start`."""
    return connection.reconciliations.start(connection, new)


def record_found(connection: WritingConnection, batches: list[ReconcileBatch]) -> list[list[bool]]:
    """See `Reconciliations.record`."""
    return connection.reconciliations.record(connection, batches)


def rewrite(connection: WritingConnection, items: list[tuple[Sequence[Rewriting], Any]]) -> list[bool]:
    """See `Forgetting.rewrite`."""
    return connection.forgetting.rewrite(connection, items)


def erase_refused(connection: WritingConnection, numbers: list[int]) -> list[None]:
    """See `Forgetting.erase_refused`."""
    return connection.forgetting.erase_refused(connection, numbers)
