"""The time, passed in wherever it is needed, so that tests move it instead of waiting.

Wall time (`now_ms`) is for what is recorded; deadlines inside the process use the loop's monotonic time.
Due times are in the log and outlive the process, so they are wall time; they go by a `SteadyClock`, since
the wall clock may be set while they wait.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

JUMP_MS: Final = 100
"""A wall clock that is so far off was set; clocks that are corrected little by little differ by less."""
_PASSING: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The clock that nobody sets; where there is a choice, the one that goes on while the machine sleeps."""


class Clock(Protocol):
    """Where the time comes from."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 in UTC, by the wall clock."""
        ...


class SystemClock:
    """The computer's clock."""

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return time.time_ns() // 1_000_000


class SteadyClock:
    """Goes on from the wall clock as it was at first, and follows one that is set only when it is told to."""

    def __init__(self, wall: Clock) -> None:
        self._wall = wall
        self._ahead_ms = wall.now_ms() - _passed_ms()

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return _passed_ms() + self._ahead_ms

    def jump_ms(self) -> int:
        """How far the wall clock was set forward, or back, below 0; 0 if it was not."""
        # Time may pass between two readings on a busy machine; that is no jump.
        before, wall, after = self.now_ms(), self._wall.now_ms(), self.now_ms()
        jump = max(wall - after, 0) + min(wall - before, 0)
        return jump if abs(jump) >= JUMP_MS else 0

    def follow(self, jump_ms: int) -> None:
        """Be set by so much as well."""
        self._ahead_ms += jump_ms


def _passed_ms() -> int:
    return time.clock_gettime_ns(_PASSING) // 1_000_000


def to_iso(milliseconds: int | None) -> str | None:
    """A time as the log shows it, `2025-05-01T10:15:30.000Z`."""
    if milliseconds is None:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_datetime(milliseconds: int) -> datetime:
    """An aware time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
