"""The rhythm of everything that works off rows: as long as there is work, do it; then wait to be woken.

A wake-up is only a hint, and one may be missed; after a second at the latest the rows are looked at again.
The rule easiest to break: the hint is cleared before the rows are looked at, or one that comes in between is
lost. And hints may come all the time: what nobody gives a hint of is looked for each second all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from receiver import logs
from storage.errors import LogUnavailable, QueryError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SECONDS: Final = 1.0


class Sweep:
    """Calls a step again and again."""

    def __init__(
        self, what: str, step: Callable[[], Awaitable[bool]], *, on_sweep: Callable[[], None] | None = None
    ) -> None:
        """`step` works and says whether there may be more; `on_sweep` is called each second."""
        self._what = what
        self._step = step
        self._on_sweep = on_sweep
        self._swept = time.monotonic()
        self._awake = asyncio.Event()
        self._logger = logs.get("service")

    def wake(self) -> None:
        """There may be work."""
        self._awake.set()

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            LogBroken: the log must not be written any more.
        """
        while True:
            self._awake.clear()
            try:
                while await self._step():
                    self._look_around()
            except (LogUnavailable, QueryError) as error:
                self._logger.warning("waiting for the log", what=self._what, error=type(error).__name__)
                await asyncio.sleep(SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0, self._seconds_left())):
                    await self._awake.wait()
            self._look_around()

    def _seconds_left(self) -> float:
        return self._swept + SECONDS - time.monotonic()

    def _look_around(self) -> None:
        """Look for what nobody gives a hint of, if it is time."""
        if self._seconds_left() > 0:
            return
        self._swept = time.monotonic()
        if self._on_sweep is not None:
            self._on_sweep()
