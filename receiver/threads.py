"""Plain functions in threads of their own that nobody has to wait for.

A pool would be joined when Python exits, so one handler that never returns would keep the service from
stopping. These threads are daemons; the rule easiest to break is that one cannot be killed, so whoever gives
up on it must still count it until `done` says that it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Raised:
    """What a function raised, as a value: StopIteration and SystemExit cannot pass through a future."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class ThreadCall:
    """One call of a function in a new thread."""

    def __init__(self, function: Callable[..., Any], *args: Any, name: str) -> None:
        """Start it."""
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Any] = self._loop.create_future()
        """The function's result, or `Raised`. Only ever awaited behind `asyncio.shield`."""
        context = contextvars.copy_context()

        def call() -> None:
            try:
                result = context.run(function, *args)
            except BaseException as error:  # noqa: BLE001 -- a plugin may raise anything; it is told to who waits
                result = Raised(error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waited for this thread
                self._loop.call_soon_threadsafe(self._finish, result)

        threading.Thread(target=call, name=name, daemon=True).start()

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
