"""Whatever changes the log waits here, in the loop, until it is durable.

A change is an operation with an item. What waits is handed on, up to `MOST_ROWS` or `MOST_BYTES`, as one
batch for one transaction; while its sync runs, the next batch gathers. There is no timer. Who writes is a
thread of this process (here) or a process of its own (`beside.py`).

The rule easiest to break: no waiter may hear of success before `COMMIT` has returned. And nothing may call
into asyncio from the thread but `call_soon_threadsafe`.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from storage.errors import LogBroken, LogUnavailable
from storage.sqlite.apart import apart
from storage.sqlite.commit import MOST_ROWS, PROBE_SECONDS, Committer, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from storage.sqlite.opening import Opened
    from storage.sqlite.operations import WritingConnection

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_BYTES: Final = 8 * 1024 * 1024
"""A batch's bodies."""
QUEUE_ROWS: Final = 10_000
QUEUE_BYTES: Final = 64 * 1024 * 1024
"""What may wait. Above it callers wait for room, until their own deadline."""


class Waiting(NamedTuple):
    """A task (see there) and who waits for it."""

    operation: Callable[[Any, list[Any]], list[Any]] | None
    item: Any
    size: int
    future: asyncio.Future[Any]


class Writer(ABC):
    """Runs operations on the writing connection, in order, many in one transaction."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Waiting] = deque()
        self._rows = self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._kicked = False
        self._closing = False
        self.state = State()
        self.stopped = self._loop.create_future()
        """Done when nothing will be written any more."""

    @property
    def broken(self) -> LogBroken | None:
        """Why nothing must be written any more."""
        return None if self.state.broken is None else LogBroken(self.state.broken)

    @property
    def queue_rows(self) -> int:
        """How many operations wait or are under way."""
        return self._rows

    @property
    def queue_bytes(self) -> int:
        """The bodies of those that wait or are under way."""
        return self._bytes

    def do(
        self,
        operation: Callable[[WritingConnection, list[Item]], list[Result]],
        item: Item,
        size: int = 0,
    ) -> Awaitable[Result]:
        """Run one item through an operation; the result is there when it is durable.

        Whoever waits for it gets:
            LogUnavailable: the log cannot be written now.
            LogBroken: the log must not be written any more.
        """
        if self._room.is_set():
            return self._queued(operation, item, size)
        return self._when_there_is_room(operation, item, size)

    def alone(self, action: Callable[[WritingConnection], Result]) -> Awaitable[Result]:
        """Do something that is possible only between transactions, such as emptying the write-ahead file.

        Everything else waits meanwhile. Raises what `do` raises, and what the action raises.
        """
        return self._queued(None, action, 0)

    async def _when_there_is_room(self, operation: Any, item: Any, size: int) -> Any:
        while not self._room.is_set():
            await self._room.wait()
        return await self._queued(operation, item, size)

    def _queued(self, operation: Any, item: Any, size: int) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.state.broken is not None or self._closing:
            future.set_exception(self.broken or LogUnavailable("The log is closing."))
            return future
        self._queue.append(Waiting(operation, item, size, future))
        self._rows += 1
        self._bytes += size
        if self._bytes > QUEUE_BYTES or self._rows > QUEUE_ROWS:
            self._room.clear()
        if not self._kicked:
            # Once per turn of the loop, so that requests that arrived together travel together.
            self._kicked = True
            self._loop.call_soon(self._kick)
        return future

    def _kick(self) -> None:
        self._kicked = False
        self.hand_on()

    @abstractmethod
    def hand_on(self) -> None:
        """Have what is in the queue written."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what waits, and close the log. A broken one is left as it is, and locked."""

    def _take(self) -> list[Waiting]:
        """The next batch from the queue."""
        batch: list[Waiting] = []
        size = 0
        while self._queue and len(batch) < MOST_ROWS and size < MOST_BYTES:
            if self._queue[0].operation is None and batch:
                break
            waiting = self._queue.popleft()
            batch.append(waiting)
            size += waiting.size
            if waiting.operation is None:
                break
        return batch

    def _answer(self, batch: Sequence[Waiting], results: Sequence[Any]) -> None:
        self._rows -= len(batch)
        for waiting, result in zip(batch, results, strict=True):
            self._bytes -= waiting.size
            future = waiting.future
            if future.done():  # its caller gave up; what was stored stays stored
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        if not self._room.is_set() and self._bytes <= QUEUE_BYTES // 2 and self._rows <= QUEUE_ROWS // 2:
            self._room.set()
        if self.state.broken is not None:
            self._announce()

    def _announce(self) -> None:
        """Nothing will be written any more."""
        if not self.stopped.done():
            self.stopped.set_result(None)


class ThreadWriter(Writer):
    """Writes in a thread of this process."""

    def __init__(self, opened: Opened) -> None:
        """Start the thread."""
        super().__init__()
        self._opened = opened
        self._committer = Committer(opened.connection, opened.path)
        self.state = self._committer.state
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="klenhook-writer", daemon=True)
        self._thread.start()

    def hand_on(self) -> None:
        """See `Writer.hand_on`."""
        self._awake.set()

    async def close(self) -> None:
        """See `Writer.close`.

        After a break the thread is left asleep, since it keeps the connection from ever being closed: closing
        would write into a file that must not be written any more, and remove a write-ahead file by its name.
        """
        self._closing = True
        self._awake.set()
        await self.stopped
        if self.state.broken is None:
            await apart(self._thread.join)
            await apart(self._opened.close)

    # In the thread.

    def _run(self) -> None:
        state = self.state
        try:
            while state.broken is not None or self._queue or not self._closing:
                if self._awake.wait(None if state.healthy or state.broken is not None else PROBE_SECONDS):
                    self._awake.clear()
                self._drain()
                if not state.healthy and state.broken is None:
                    self._committer.probe()
                    self._loop.call_soon_threadsafe(self._answer, [], [])
        finally:
            self._loop.call_soon_threadsafe(self._announce)

    def _drain(self) -> None:
        while self._queue:
            batch = self._take()

            def is_wanted(batch: list[Waiting] = batch) -> bool:
                return any(not waiting.future.done() for waiting in batch)

            results = self._committer.work_off(batch, is_wanted)
            self._loop.call_soon_threadsafe(self._answer, batch, results)
