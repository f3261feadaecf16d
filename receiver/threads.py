"""Plain functions in threads that nobody has to wait for.

A pool of the standard library is joined when Python exits, so one handler that never returns would keep the
service from stopping. These threads are daemons. One whose call has ended makes another: to start one holds
up the loop until it runs. The rule easiest to break: one cannot be killed, so whoever gives up on a call must
still count it until `done` says that it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from receiver.forks import STATUS

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_IDLE: Final = 32
"""Threads that are kept for the next calls."""


class Raised:
    """What a function raised, as a value: StopIteration and SystemExit cannot pass through a future."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class ThreadCall:
    """One call of a function in a thread that has nothing else to do meanwhile."""

    def __init__(self, function: Callable[..., Any], *args: Any, name: str) -> None:
        """Begin it.

        Raises:
            RuntimeError: the system has no thread to give.
        """
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self._loop.create_future()
        """The function's result, or `Raised`. Only ever awaited behind `asyncio.shield`."""
        context = contextvars.copy_context()
        own_pid = os.getpid()

        def call() -> None:
            threading.current_thread().name = name
            try:
                result = context.run(function, *args)
            except BaseException as error:  # noqa: BLE001 -- a plugin may raise anything; it is told to who waits
                result = Raised(error)
            if os.getpid() != own_pid:  # a copy that the function forked; its loop does not turn
                os._exit(STATUS)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waited for this thread
                self._loop.call_soon_threadsafe(self._finish, result)

        _make(call)

    def _finish(self, result: Any) -> None:
        if not self.done.done():
            self.done.set_result(result)

    async def result(self) -> Any:
        """Wait for it. Giving up leaves the thread running.

        Raises:
            BaseException: what the function raised.
        """
        result = await asyncio.shield(self.done)
        if isinstance(result, Raised):
            raise result.error
        return result


_idle: Final[list[SimpleQueue[Callable[[], None]]]] = []
"""Where threads that have nothing to do wait, the last one to finish at the end."""
os.register_at_fork(after_in_child=_idle.clear)  # a copy has only the thread that made it


def _make(call: Callable[[], None]) -> None:
    try:
        calls = _idle.pop()
    except IndexError:
        calls = SimpleQueue()
        threading.Thread(target=_work, args=(calls,), daemon=True).start()
    calls.put(call)


def _work(calls: SimpleQueue[Callable[[], None]]) -> None:
    while True:
        calls.get()()
        if len(_idle) >= MOST_IDLE:
            return
        _idle.append(calls)
