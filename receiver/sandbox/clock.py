"""The sandbox's own time: it starts at the real time, and may run faster, stand still or jump ahead.

Everything of the vendor that waits (retries, reminders, limits) waits by this clock; only the time for an
answer is real. The rule easiest to break: it never goes back.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta


class SandboxClock:
    """Sandbox time, always aware and in UTC."""

    def __init__(self, *, speed: float = 1.0, start: datetime | None = None) -> None:
        """`speed` is sandbox seconds in a second; 0 stands still. `start` is what it shows at first."""
        self.speed = speed
        self._start = start or datetime.now(UTC)
        self._began = time.monotonic()
        self._jumped = timedelta()

    def now(self) -> datetime:
        """The time in the sandbox."""
        return self._start + self._elapsed() * self.speed + self._jumped

    def callers_now(self) -> datetime:
        """The time for somebody who knows nothing of speed and jumps: the earlier one of both clocks.

        Callers say "in two hours" by their own clock, which a fast sandbox has left behind.
        """
        return min(self.now(), self._start + self._elapsed())

    def jump(self, by: timedelta) -> None:
        """Show a later time from now on; a negative one changes nothing."""
        self._jumped += max(by, timedelta())

    def real_seconds(self, span: timedelta) -> float | None:
        """How long this much sandbox time really takes; None if it never passes by itself."""
        return max(0.0, span.total_seconds() / self.speed) if self.speed else None

    def _elapsed(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._began)
