"""What is due later by the sandbox's clock: reminders, completions and retries, each at its time.

The rule easiest to break: a jump of the clock goes from one due time to the next, so that what would have
happened in between happens, in order and with the times it would have had.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime, timedelta

    from receiver.sandbox.clock import SandboxClock


class Source(Protocol):
    """Something that has things to do later."""

    def next_due(self) -> datetime | None:
        """When the next one is due."""
        ...

    def do_due(self, now: datetime) -> None:
        """Do all that is due by now."""
        ...


class Agenda:
    """Waits for the next due time of all its sources, again and again."""

    def __init__(self, clock: SandboxClock, sources: Sequence[Source]) -> None:
        self._clock = clock
        self._sources = sources
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """Look again: something is due earlier than before."""
        self._changed.set()

    async def run(self) -> None:
        """Do what is due, for ever."""
        while True:
            self._changed.clear()
            self._do_due()
            due = self._next_due()
            seconds = None if due is None else self._clock.real_seconds(due - self._clock.now())
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def jump(self, by: timedelta, idle: Callable[[], Awaitable[None]]) -> None:
        """Let this much time pass at once; `idle` waits for what each step sets going."""
        target = self._clock.now() + by
        while (due := self._next_due()) is not None and due <= target:
            self._clock.jump(due - self._clock.now())
            self._do_due()
            await idle()
        self._clock.jump(target - self._clock.now())
        self.wake()

    def _do_due(self) -> None:
        now = self._clock.now()
        for source in self._sources:
            source.do_due(now)

    def _next_due(self) -> datetime | None:
        return min((due for source in self._sources if (due := source.next_due())), default=None)
