"""The one thread that changes the log, and its group commit.

Whatever changes something is an operation with an item, queued here. The thread takes all that wait, up to
`MOST_ROWS` or `MOST_BYTES`, runs them in one `BEGIN IMMEDIATE` transaction, commits (which syncs), and only
then answers all waiters with one call into the loop. There is no timer: while one sync runs, the next batch
gathers.

The rule easiest to break: no waiter may hear of success before `COMMIT` has returned. And nothing may call
into asyncio from this thread but `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from storage.errors import LogBroken, LogUnavailable
from storage.sqlite.apart import apart
from storage.sqlite.faults import Fault, classify, name_of
from storage.tally import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Item = TypeVar("Item")
Result = TypeVar("Result")
Operation = "Callable[[sqlite3.Connection, list[Any]], list[Any]]"

MOST_ROWS: Final = 512
"""A batch's rows. Beyond that little throughput is won and each waiter waits longer."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""A batch's bodies."""
QUEUE_ROWS: Final = 10_000
QUEUE_BYTES: Final = 64 * 1024 * 1024
"""What may wait. Above it callers wait for room, until their own deadline."""
PROBE_SECONDS: Final = 1.0
"""How often a log that could not be written is tried again."""
BATCH_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SYNC_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
"""The bounds of what is counted: a good drive syncs in less than a millisecond, a spinning disk in 16."""


@dataclass(slots=True)
class _Waiting:
    operation: Callable[[sqlite3.Connection, list[Any]], list[Any]] | None
    """None: the item is an action that is done alone, between transactions."""
    item: Any
    size: int
    future: asyncio.Future[Any]


class Writer:
    """Runs operations on the writing connection, in order, many in one transaction.

    An operation is a function of the connection and a list of items that returns a result per item. If one
    item makes it fail, each item is run alone, so that a bad one never sinks its neighbours.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, *, on_rollback: Callable[[], None]
    ) -> None:
        """Start the thread. `on_rollback` is called in it whenever changes were taken back."""
        self._connection = connection
        self._files = (path, path.with_name(path.name + "-wal"))
        self._inodes = _inodes(self._files)
        self._on_rollback = on_rollback
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._awake = threading.Event()
        self._kicked = False
        self._closing = False
        self.healthy = True
        self.pulse = 0
        """Counts what is tried: a writer that hangs does not."""
        self.broken: LogBroken | None = None
        self.batch_rows = Histogram(BATCH_ROWS)
        self.sync_seconds = Histogram(SYNC_SECONDS)
        self.stopped = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="klenhook-writer", daemon=True)
        self._thread.start()

    # In the loop.

    async def do(
        self, operation: Callable[[sqlite3.Connection, list[Item]], list[Result]], item: Item, size: int = 0
    ) -> Result:
        """Run one item through an operation; returns when that is durable.

        Raises:
            LogUnavailable: the log cannot be written now.
            LogBroken: the log must not be written any more.
        """
        while not self._room.is_set():
            await self._room.wait()
        if self.broken is not None:
            raise self.broken
        if self._closing:
            raise LogUnavailable("The log is closing.")
        result: Result = await self._queued(operation, item, size)
        return result

    async def alone(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        """Do something that is possible only between transactions, such as emptying the write-ahead file.

        Everything else waits meanwhile. Raises what `do` raises, and what the action raises.
        """
        if self.broken is not None:
            raise self.broken
        if self._closing:
            raise LogUnavailable("The log is closing.")
        result: Result = await self._queued(None, action, 0)
        return result

    async def _queued(self, operation: Any, item: Any, size: int) -> Any:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.append(_Waiting(operation, item, size, future))
        self._bytes += size
        if self._bytes > QUEUE_BYTES or len(self._queue) > QUEUE_ROWS:
            self._room.clear()
        if not self._kicked:
            # Once per turn of the loop, so that requests that arrived together travel together.
            self._kicked = True
            self._loop.call_soon(self._kick)
        return await future

    def _kick(self) -> None:
        self._kicked = False
        self._awake.set()

    @property
    def queue_rows(self) -> int:
        """How many operations wait."""
        return len(self._queue)

    @property
    def queue_bytes(self) -> int:
        """The bodies of those that wait or are under way."""
        return self._bytes

    async def close(self) -> None:
        """Finish what waits, then end the thread. The connection stays open for the caller to close.

        After a break the thread is left asleep, since it keeps the connection from ever being closed: closing
        would write into a file that must not be written any more, and remove a write-ahead file by its name.
        """
        self._closing = True
        self._awake.set()
        await self.stopped
        if self.broken is None:
            await apart(self._thread.join)

    def _answer(self, batch: list[_Waiting], results: list[Any], size: int) -> None:
        self._bytes -= size
        if (
            not self._room.is_set()
            and self._bytes <= QUEUE_BYTES // 2
            and len(self._queue) <= QUEUE_ROWS // 2
        ):
            self._room.set()
        for waiting, result in zip(batch, results, strict=True):
            future = waiting.future
            if future.done():  # its caller gave up; what was stored stays stored
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    # In the thread.

    def _run(self) -> None:
        try:
            while self.broken is not None or self._queue or not self._closing:
                if self._awake.wait(None if self.healthy or self.broken is not None else PROBE_SECONDS):
                    self._awake.clear()
                self._drain()
                if not self.healthy and self.broken is None:
                    self._probe()
        finally:
            self._loop.call_soon_threadsafe(self._announce)

    def _drain(self) -> None:
        while self._queue:
            batch, size = self._take()
            results = self._commit(batch) if batch[0].operation else [self._act(batch[0].item)]
            self._loop.call_soon_threadsafe(self._answer, batch, results, size)

    def _take(self) -> tuple[list[_Waiting], int]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < MOST_ROWS and size < MOST_BYTES:
            if self._queue[0].operation is None and batch:
                break
            waiting = self._queue.popleft()
            batch.append(waiting)
            size += waiting.size
            if waiting.operation is None:
                break
        return batch, size

    def _act(self, action: Callable[[sqlite3.Connection], Any]) -> Any:
        """Do one action by itself; its result, or an exception."""
        if self.broken is not None:
            return self.broken
        try:
            result = action(self._connection)
        except Exception as error:  # noqa: BLE001 -- sorted out by classify; the thread must live on
            fault = classify(error)
            return error if fault is Fault.ROW else self._refuse(error, fault, 1)[0]
        return result if self._files_are_ours() else self.broken

    def _commit(self, batch: list[_Waiting]) -> list[Any]:
        """Run one batch in one transaction; a result or an exception per item."""
        run = self._run_together
        while self.broken is None:
            self.pulse += 1
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                results = self._apply(batch, run)
                began = time.perf_counter()
                self._connection.execute("COMMIT")
                self.sync_seconds.observe(time.perf_counter() - began)
                self.batch_rows.observe(len(batch))
            except Exception as error:  # noqa: BLE001 -- sorted out by classify; the thread must live on
                self._roll_back()
                fault = classify(error)
                if fault is Fault.ROW and run == self._run_together:
                    run = self._run_apart
                    continue
                if fault is Fault.WAIT and any(not waiting.future.done() for waiting in batch):
                    self.healthy = False
                    time.sleep(0.05)
                    continue
                return self._refuse(error, fault, len(batch))
            if self._files_are_ours():
                self.healthy = True
                return results
        return [self.broken] * len(batch)

    def _apply(self, batch: list[_Waiting], run: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
        """Hand the items to `run`, those of one operation at once."""
        results: list[Any] = [None] * len(batch)
        groups: dict[Any, list[int]] = {}
        for index, waiting in enumerate(batch):
            groups.setdefault(waiting.operation, []).append(index)
        for operation, indexes in groups.items():
            items = [batch[index].item for index in indexes]
            for index, result in zip(indexes, run(operation, items), strict=True):
                results[index] = result
        return results

    def _run_together(self, operation: Any, items: list[Any]) -> list[Any]:
        """The usual way: without savepoints, each of which would wait for Python's lock twice."""
        results: list[Any] = operation(self._connection, items)
        return results

    def _run_apart(self, operation: Any, items: list[Any]) -> list[Any]:
        """The way after a failure, to find the items at fault: each alone, behind a savepoint."""
        results: list[Any] = []
        for item in items:
            try:
                results += self._guarded(operation, [item])
            except Exception as error:
                if classify(error) is not Fault.ROW:
                    raise
                results.append(error)
        return results

    def _guarded(self, operation: Any, items: list[Any]) -> list[Any]:
        """Run an operation so that its failure leaves nothing behind."""
        self._connection.execute("SAVEPOINT operation")
        try:
            results: list[Any] = operation(self._connection, items)
        except Exception:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO operation")
            self._on_rollback()
            raise
        self._connection.execute("RELEASE operation")
        return results

    def _roll_back(self) -> None:
        self._on_rollback()
        # SQLite rolls back by itself on a full disk; a second ROLLBACK would raise.
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _refuse(self, error: Exception, fault: Fault, count: int) -> list[Any]:
        if fault is Fault.STOP:
            self._break(f"The log failed with {name_of(error)}: {error}")
            return [self.broken] * count
        self.healthy = False
        refusal = LogUnavailable(f"The log cannot be written now ({name_of(error)}: {error}).")
        refusal.__cause__ = error
        return [refusal] * count

    def _break(self, message: str) -> None:
        self.healthy = False
        self.broken = LogBroken(message)
        self._loop.call_soon_threadsafe(self._announce)

    def _announce(self) -> None:
        """In the loop: nothing will be written any more."""
        if not self.stopped.done():
            self.stopped.set_result(None)

    def _files_are_ours(self) -> bool:
        """After a commit, before it is acknowledged: what we wrote must be what the next to open it reads."""
        for path, known, found in zip(self._files, self._inodes, _inodes(self._files), strict=True):
            if found != known:
                self._break(f"{path} was moved, replaced or deleted while klenhook was using it.")
                return False
        return True

    def _probe(self) -> None:
        """Write one row, to see whether the log can be written again."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("UPDATE probe SET times = times + 1")
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if classify(error) is Fault.STOP:
                self._break(f"The log failed with {name_of(error)}: {error}")
        else:
            self.healthy = self._files_are_ours()


def _inodes(paths: Iterable[Path]) -> list[tuple[int, int] | None]:
    return [_inode(path) for path in paths]


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- on every commit: os.stat is the cheap one
    except OSError:
        return None
    return found.st_dev, found.st_ino
