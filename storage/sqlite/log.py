"""The log over one SQLite file: the verbs of `storage.log`, each handed to the writer or to a reader.

There is no SQL here, only who does what on which connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from storage.errors import LogUnavailable, LogUnusable, QueryError
from storage.sqlite import append, effects, query, read, runs, select
from storage.sqlite import replay as replay_rows
from storage.sqlite.connection import (
    check_header,
    check_version,
    connect_reader,
    connect_writer,
    in_use,
    limit_time,
    make_private,
    user_version,
)
from storage.sqlite.lock import ServiceLock
from storage.sqlite.migrations import SCHEMA_VERSION, migrate, prepare
from storage.sqlite.names import Names
from storage.sqlite.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from storage.errors import LogBroken
    from storage.records import (
        Appended,
        Claimed,
        ClaimedMessage,
        EventDetail,
        EventRecord,
        Finished,
        HandlerBacklog,
        LogStatus,
        MessageOutcome,
        NewEvent,
        NewReplay,
        Outcome,
        QuarantineRecord,
        Refused,
        ReplayBatch,
        ReplayItem,
        ReplayRecord,
        Routing,
        Selection,
        StoredValue,
        Unrouted,
    )

T = TypeVar("T")

READER_THREADS: Final = 2
READ_SECONDS: Final = 2.0
"""A reading transaction pins the write-ahead file, so none may be long."""
SQL_SECONDS: Final = 10.0
"""What a person's own query may take."""
ROW_BYTES: Final = 512
"""What an event takes in memory beside its body, for the bound on the queue."""


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

    async def _ask(self, question: Callable[[sqlite3.Connection], T], *, limited: bool = True) -> T:
        """Put a question in a reader's thread.

        Raises:
            QueryError: it took longer than `READ_SECONDS`.
            LogUnavailable: the log cannot be read.
        """

        def answer() -> T:
            connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
            try:
                if connection is None:
                    connection = self._local.connection = connect_reader(self._path)
                    self._connections.append(connection)
                if limited:
                    limit_time(connection, READ_SECONDS)
                connection.execute("BEGIN")
                try:
                    return question(connection)
                finally:
                    if connection.in_transaction:  # a read that failed may have ended it
                        connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                    raise QueryError(
                        f"The question took longer than {READ_SECONDS:g} s. Narrow it."
                    ) from error
                raise LogUnavailable(f"The log cannot be read: {error}.") from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, answer)

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

    async def backlog(self) -> list[HandlerBacklog]:
        """See `EventReader.backlog`."""
        return await self._ask(read.backlog)

    async def status(self) -> LogStatus:
        """See `EventReader.status`."""
        return await self._ask(lambda connection: read.status(connection, self._path))

    async def sql(self, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """See `EventReader.sql`."""
        return await self._ask(
            lambda connection: query.sql(connection, statement, SQL_SECONDS), limited=False
        )

    async def aclose(self) -> None:
        """See `EventReader.aclose`."""
        if not self._closed:
            self._closed = True
            await self._close()

    async def _close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._connections:
            connection.close()
        in_use[self._path] -= 1


class SqliteLog(SqliteReader):
    """The log for the one service that writes it."""

    def __init__(
        self, path: Path, lock: ServiceLock, connection: sqlite3.Connection, migrated: list[str]
    ) -> None:
        """`open` is the way to make one."""
        super().__init__(path)
        self._migrated = migrated
        self._lock = lock
        self._connection = connection
        names = Names()
        self._append = append.Appender(names).append
        self._quarantine = append.Appender(names).quarantine
        self._runs = runs.Runs(names)
        self._replays = replay_rows.Replays(self._runs)
        self._writer = Writer(connection, path, on_rollback=names.forget)

    @classmethod
    async def open(cls, file: str) -> Self:
        """Open or make the log, and bring its schema up to date.

        Raises:
            LogLocked: another service has it open.
            LogUnusable: it is not ours, too new, damaged, or cannot be written. It is left untouched.
        """
        path = Path(file).resolve()  # noqa: ASYNC240 -- once, at start
        exists = check_header(path, SCHEMA_VERSION)
        make_private(path)
        lock = ServiceLock(path)
        connection: sqlite3.Connection | None = None
        try:
            if not exists:
                with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as new:
                    prepare(new)
            elif path.with_name(path.name + "-wal").exists():
                # A crash may have left a newer number there than in the header.
                with contextlib.closing(connect_reader(path)) as left:
                    check_version(path, user_version(left), SCHEMA_VERSION)
            connection = connect_writer(path)
            return cls(path, lock, connection, migrate(connection))
        except BaseException as error:
            if connection is not None:
                connection.close()
            lock.release()
            if isinstance(error, sqlite3.Error):
                raise LogUnusable(f"{path} cannot be used: {error}.") from error
            raise

    @property
    def migrated(self) -> list[str]:
        """See `EventLog.migrated`."""
        return self._migrated

    @property
    def healthy(self) -> bool:
        """See `EventLog.healthy`."""
        return self._writer.healthy

    async def stopped(self) -> LogBroken | None:
        """See `EventLog.stopped`."""
        await asyncio.shield(self._writer.stopped)
        return self._writer.broken

    async def append(self, event: NewEvent) -> Appended:
        """See `EventLog.append`."""
        return await self._writer.do(self._append, event, len(event.body) + ROW_BYTES)

    async def quarantine(self, refused: Refused) -> int | None:
        """See `EventLog.quarantine`."""
        return await self._writer.do(self._quarantine, refused, len(refused.body) + ROW_BYTES)

    async def released(self, quarantine_id: int) -> None:
        """See `EventLog.released`."""
        await self._writer.do(append.released, quarantine_id)

    async def unrouted(self, limit: int) -> list[Unrouted]:
        """See `EventLog.unrouted`."""
        return await self._ask(lambda connection: read.unrouted(connection, limit))

    async def route(self, routings: Sequence[Routing], *, now_ms: int) -> None:
        """See `EventLog.route`."""
        await self._writer.do(self._runs.route, (list(routings), now_ms))

    async def claim(
        self,
        owner: str,
        capacity: Mapping[str, int],
        *,
        now_ms: int,
        replays: Mapping[str, int] | None = None,
        live: bool = True,
    ) -> list[Claimed]:
        """See `EventLog.claim`."""
        return await self._writer.do(self._runs.claim, (owner, capacity, replays, live, now_ms))

    async def finish(self, outcome: Outcome) -> Finished:
        """See `EventLog.finish`."""
        return await self._writer.do(runs.finish, outcome)

    async def release(self, owner: str, *, now_ms: int) -> int:
        """See `EventLog.release`."""
        await self._writer.do(effects.take_back_messages, (owner, True, now_ms))
        return await self._writer.do(runs.take_back, (owner, True, "stopped", now_ms))

    async def recover(self, owner: str, *, now_ms: int) -> int:
        """See `EventLog.recover`."""
        await self._writer.do(effects.take_back_messages, (owner, False, now_ms))
        return await self._writer.do(runs.take_back, (owner, False, "lost", now_ms))

    async def claim_messages(
        self, owner: str, most: int, *, now_ms: int, avoid: Collection[str] = ()
    ) -> list[ClaimedMessage]:
        """See `EventLog.claim_messages`."""
        return await self._writer.do(effects.claim_messages, (owner, most, avoid, now_ms))

    async def finish_message(self, outcome: MessageOutcome) -> bool:
        """See `EventLog.finish_message`."""
        return await self._writer.do(effects.finish_messages, outcome)

    async def start_replay(self, replay: NewReplay) -> int:
        """See `EventLog.start_replay`."""
        return await self._writer.do(replay_rows.start, replay)

    async def extend_replay(self, batch: ReplayBatch) -> int:
        """See `EventLog.extend_replay`."""
        return await self._writer.do(self._replays.extend, batch)

    async def announce(self, note: str) -> None:
        """See `EventLog.announce`."""
        await asyncio.to_thread(self._lock.note, note)

    async def _close(self) -> None:
        """What waits is still written, then the file is folded together.

        A broken log is left as it is, and locked, until the process ends.
        """
        await super()._close()
        await self._writer.close()
        if self._writer.broken is not None:
            return
        # The last connection to close folds the write-ahead file in and removes it.
        await asyncio.to_thread(self._connection.close)
        self._lock.release()
