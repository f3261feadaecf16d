"""Questions to the log over one SQLite file, each on a read-only connection in a thread of its own.

There is no SQL here, only who asks what on which connection.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from storage.errors import LogUnavailable, LogUnusable, QueryError
from storage.sqlite import agenda, calendar, forget, prune, query, read, reconcile, search, select, stats
from storage.sqlite import replay as replay_rows
from storage.sqlite.apart import apart
from storage.sqlite.connection import (
    SCHEMA_VERSION,
    check_header,
    check_version,
    connect_reader,
    in_use,
    limit_time,
    user_version,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from storage.calendar import CalendarEventRecord, HistoryRecord, NamedRecord, RebookingRecord, StoredState
    from storage.records import (
        EventDetail,
        EventRecord,
        HandlerBacklog,
        LogStats,
        LogStatus,
        QuarantineRecord,
        ReconciliationRecord,
        Refused,
        ReplayRecord,
        Selection,
    )
    from storage.removal import Content, Limits, OldPage, StoredItem
    from storage.work import ReplayItem, StoredValue

T = TypeVar("T")

READER_THREADS: Final = 2
READ_SECONDS: Final = 2.0
"""A reading transaction pins the write-ahead file, so none may be long."""
SQL_SECONDS: Final = 10.0
"""What a person's own query may take, and the question what was booked at a time long ago."""
STATS_SECONDS: Final = 120.0
"""What numbers over all of a large log may take."""


class SqliteReader:
    """Questions to a log, on read-only connections in threads of their own."""

    def __init__(self, path: Path) -> None:
        """`open` is the way to make one."""
        self._path = path
        in_use[path] += 1
        self._threads = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="klenhook-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

    @classmethod
    async def open(cls, file: str) -> Self:
        """Open an existing log for reading.

        Raises:
            LogUnusable: there is none, or this version cannot read it.
        """
        path = Path(file).resolve()  # noqa: ASYNC240 -- once, at start
        if not check_header(path, SCHEMA_VERSION):
            raise LogUnusable(f"There is no log at {path} yet. `klenhook serve` makes it.")
        reader = cls(path)
        try:
            found = await reader._ask(user_version)
            check_version(path, found, SCHEMA_VERSION)
        except (QueryError, LogUnavailable) as error:
            await reader.aclose()
            raise LogUnusable(f"{path} cannot be read: {error}") from error
        except LogUnusable:
            await reader.aclose()
            raise
        if found < SCHEMA_VERSION:
            await reader.aclose()
            raise LogUnusable(
                f"{path} has schema {found}, expected {SCHEMA_VERSION}. Run `klenhook db migrate`."
            )
        return reader

    async def _ask(
        self, question: Callable[[sqlite3.Connection], T], *, seconds: float | None = READ_SECONDS
    ) -> T:
        """Put a question in a reader's thread.

        Raises:
            QueryError: it took longer than `seconds`; None does not limit it.
            LogUnavailable: the log cannot be read.
        """
        answer = self._answer_to(question, seconds=seconds)
        return await asyncio.get_running_loop().run_in_executor(self._threads, answer)

    def _answer_to(
        self, question: Callable[[sqlite3.Connection], T], *, seconds: float | None
    ) -> Callable[[], T]:
        """What to call in a reader's thread."""

        def answer() -> T:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            try:
                if connection is None:
                    connection = self._local.connection = connect_reader(self._path)
                    self._connections.append(connection)
                limit_time(connection, seconds)  # also without a limit: there is the one of the last question
                connection.execute("BEGIN")
                try:
                    return question(connection)
                finally:
                    if connection.in_transaction:  # a read that failed may have ended it
                        connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                    raise QueryError(f"The question took longer than {seconds:g} s. Narrow it.") from error
                raise LogUnavailable(f"The log cannot be read: {error}.") from error

        return answer

    async def page(self, selection: Selection) -> list[EventRecord]:
        """See `EventReader.page`."""
        return await self._ask(lambda connection: read.page(connection, selection, None))

    async def stream(self, selection: Selection) -> AsyncIterator[EventRecord]:
        """See `EventReader.stream`."""
        left = selection.limit or None
        before: int | None = None
        while left is None or left > 0:
            wanted = replace(selection, limit=min(left or select.PAGE, select.PAGE))
            records = await self._ask(
                lambda connection, wanted=wanted, before=before: read.page(connection, wanted, before)  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
            )
            for record in records:
                yield record
            if len(records) < wanted.limit:
                return
            if left is not None:
                left -= len(records)
            if selection.after_seq is None:
                before = records[-1].seq
            else:
                selection = replace(selection, after_seq=records[-1].seq)

    async def count(self, selection: Selection) -> int:
        """See `EventReader.count`."""
        return await self._ask(lambda connection: select.count(connection, selection))

    async def get(self, event_id: str) -> EventDetail | None:
        """See `EventReader.get`."""
        return await self._ask(lambda connection: read.get(connection, event_id))

    async def find(self, prefix: str, *, limit: int = 10) -> list[str]:
        """See `EventReader.find`."""
        return await self._ask(lambda connection: read.find(connection, prefix, limit))

    async def calendar_events(self, name: str) -> list[CalendarEventRecord]:
        """See `EventReader.calendar_events`."""
        return await self._ask(lambda connection: calendar.find(connection, name))

    async def calendar_event_page(self, after: int, limit: int) -> list[NamedRecord]:
        """See `EventReader.calendar_event_page`."""
        return await self._ask(lambda connection: calendar.page(connection, after, limit))

    async def agenda(
        self, start_ms: int, end_ms: int, *, moved_since_ms: int | None = None
    ) -> list[CalendarEventRecord]:
        """See `EventReader.agenda`."""
        return await self._ask(
            lambda connection: agenda.agenda(connection, start_ms, end_ms, moved_since_ms),
            seconds=SQL_SECONDS,
        )

    async def calendar_events_between(self, from_ms: int, to_ms: int) -> list[CalendarEventRecord]:
        """See `EventReader.calendar_events_between`."""
        return await self._ask(lambda connection: calendar.between(connection, from_ms, to_ms))

    async def history(
        self, subject: int, *, after_seq: int = 0, upto_seq: int | None = None
    ) -> list[HistoryRecord]:
        """See `EventReader.history`."""
        return await self._ask(lambda connection: calendar.history(connection, subject, after_seq, upto_seq))

    async def latest(self, subject: int, event_type: str | None) -> HistoryRecord | None:
        """See `EventReader.latest`."""
        return await self._ask(lambda connection: calendar.latest(connection, subject, event_type))

    def history_now(self, subject: int, *, after_seq: int = 0, upto_seq: int) -> list[HistoryRecord]:
        """See `EventReader.history_now`."""
        question = self._answer_to(
            lambda connection: calendar.history(connection, subject, after_seq, upto_seq),
            seconds=READ_SECONDS,
        )
        return self._threads.submit(question).result()

    async def rebookings(self, subject: int) -> list[RebookingRecord]:
        """See `EventReader.rebookings`."""
        return await self._ask(lambda connection: calendar.rebookings(connection, subject))

    async def known(self, subject: int) -> StoredState | None:
        """See `EventReader.known`."""
        return await self._ask(lambda connection: calendar.states(connection, [subject]).get(subject))

    async def contents(self, after_seq: int) -> list[Content]:
        """See `EventReader.contents`."""
        return await self._ask(lambda connection: forget.contents(connection, after_seq))

    async def indexed(self) -> tuple[int, dict[int, int]]:
        """See `EventReader.indexed`."""
        return await self._ask(search.indexed, seconds=None)

    async def bodies(self, seqs: Sequence[int]) -> dict[int, bytes]:
        """See `EventReader.bodies`."""
        return await self._ask(lambda connection: read.bodies(connection, seqs))

    async def old(self, limits: Limits, after: tuple[int, int]) -> OldPage:
        """See `EventReader.old`."""
        return await self._ask(lambda connection: prune.old(connection, limits, after))

    async def old_refused(self, before_ms: int) -> int:
        """See `EventReader.old_refused`."""
        return await self._ask(lambda connection: prune.old_refused(connection, before_ms))

    async def stored_items(self, after: tuple[str, str]) -> list[StoredItem]:
        """See `EventReader.stored_items`."""
        return await self._ask(lambda connection: forget.stored_items(connection, after))

    async def quarantined(self, *, limit: int = 50) -> list[QuarantineRecord]:
        """See `EventReader.quarantined`."""
        return await self._ask(lambda connection: read.quarantined(connection, limit))

    async def quarantined_body(self, quarantine_id: int) -> Refused | None:
        """See `EventReader.quarantined_body`."""
        return await self._ask(lambda connection: read.quarantined_body(connection, quarantine_id))

    async def stored(self, handler: str, key: str) -> StoredValue:
        """See `EventReader.stored`."""
        return await self._ask(lambda connection: read.stored_value(connection, handler, key))

    async def store_of(self, handler: str) -> dict[str, str]:
        """See `EventReader.store_of`."""
        return await self._ask(lambda connection: read.store_of(connection, handler))

    async def replays(self, replay_id: int | None = None) -> list[ReplayRecord]:
        """See `EventReader.replays`."""
        return await self._ask(lambda connection: replay_rows.records(connection, replay_id))

    async def replay_items(self, replay_id: int, limit: int) -> list[ReplayItem]:
        """See `EventReader.replay_items`."""
        return await self._ask(lambda connection: replay_rows.next_items(connection, replay_id, limit))

    async def known_as(self, source: str, uuid: str | None, number: int | None) -> CalendarEventRecord | None:
        """See `EventReader.known_as`."""
        return await self._ask(lambda connection: reconcile.known_as(connection, source, uuid, number))

    async def was_forgotten(self, subject: int) -> bool:
        """See `EventReader.was_forgotten`."""
        return await self._ask(lambda connection: reconcile.was_forgotten(connection, subject))

    async def names_between(
        self, source: str, start_ms: int, end_ms: int
    ) -> list[tuple[str | None, int | None, str | None]]:
        """See `EventReader.names_between`."""
        return await self._ask(
            lambda connection: reconcile.names_between(connection, source, start_ms, end_ms)
        )

    async def oldest_event_ms(self, source: str) -> int | None:
        """See `EventReader.oldest_event_ms`."""
        return await self._ask(lambda connection: reconcile.oldest_event_ms(connection, source))

    async def reconciliations(
        self, reconciliation_id: int | None = None, *, limit: int = 20
    ) -> list[ReconciliationRecord]:
        """See `EventReader.reconciliations`."""
        return await self._ask(lambda connection: reconcile.records(connection, reconciliation_id, limit))

    async def found_by(self, reconciliation_id: int) -> list[str]:
        """See `EventReader.found_by`."""
        return await self._ask(lambda connection: reconcile.found_events(connection, reconciliation_id))

    async def stats(self, since_ms: int, until_ms: int) -> LogStats:
        """See `EventReader.stats`."""
        return await self._ask(
            lambda connection: stats.stats(connection, since_ms, until_ms), seconds=STATS_SECONDS
        )

    async def backlog(self) -> list[HandlerBacklog]:
        """See `EventReader.backlog`."""
        return await self._ask(read.backlog)

    async def status(self) -> LogStatus:
        """See `EventReader.status`."""
        return await self._ask(lambda connection: read.status(connection, self._path))

    async def sql(self, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """See `EventReader.sql`."""
        return await self._ask(lambda connection: query.sql(connection, statement, SQL_SECONDS), seconds=None)

    async def aclose(self) -> None:
        """See `EventReader.aclose`."""
        if not self._closed:
            self._closed = True
            await self._close()

    async def _close(self) -> None:
        await apart(self._threads.shutdown)
        for connection in self._connections:
            connection.close()
        in_use[self._path] -= 1
