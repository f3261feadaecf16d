"""The time, passed in wherever it is needed, so that tests move it instead of waiting.

Wall time (`now_ms`) is for what is recorded; deadlines inside the process use the loop's monotonic time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


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


def to_iso(milliseconds: int | None) -> str | None:
    """A time as the log shows it, `2025-05-01T10:15:30.000Z`."""
    if milliseconds is None:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_datetime(milliseconds: int) -> datetime:
    """An aware time in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
