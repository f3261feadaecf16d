"""When a handler is tried again: the policy, and the two verbs a handler raises.

Pure: no clock and no sleeping, the caller passes the randomness in. The rule easiest to break: a policy
counts attempts, the first call included, so `tries=1` means no second one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_WAIT: Final = 366 * 86_400
"""Seconds. Nobody waits longer for an appointment, and a due time stays within what a log can store."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failing handler is called, and the seconds between the calls.

    The wait after attempt n is drawn evenly from 0 to `base * factor ** (n - 1)`, at most `cap` (full
    jitter: runs that failed together do not come back together). By default at most 30 s, 2 min, 8 min,
    32 min, 2 h 8 min, 6 h and 6 h: seven waits between eight calls, at most 15 hours and on average half.

    Raises:
        TypeError: a value is not a number.
        ValueError: a value is out of range.
    """

    tries: int = 8
    """Calls in all, the first included."""
    base: float = 30
    """Seconds: the longest first wait."""
    factor: float = 4
    """How much longer each further wait may be than the one before."""
    cap: float = 21_600
    """Seconds: no wait is longer. Neither is any longer than 366 days."""

    def __post_init__(self) -> None:
        if isinstance(self.tries, bool) or not isinstance(self.tries, int):
            raise TypeError(f"RetryPolicy: tries is a whole number of calls, found {self.tries!r}")
        _in_range("RetryPolicy: tries", self.tries, least=1)
        _in_range("RetryPolicy: base", self.base, least=0)
        _in_range("RetryPolicy: factor", self.factor, least=1)
        _in_range("RetryPolicy: cap", self.cap, least=0)

    def delay(self, attempt: int, random: Callable[[], float]) -> float | None:
        """Seconds to wait after this attempt (1 is the first) failed; None when it was the last one.

        `random` gives numbers from 0 up to 1, as `random.random` does.
        """
        if attempt >= self.tries:
            return None
        return random() * self._ceiling(attempt)

    def _ceiling(self, attempt: int) -> float:
        cap = min(self.cap, LONGEST_WAIT)
        try:
            return min(cap, self.base * float(self.factor) ** (attempt - 1))
        except OverflowError:  # beyond 1e308; the cap is reached long before, unless there is nothing to grow
            return cap if self.base else 0.0


class Retry(Exception):  # noqa: N818 -- a verb that a handler says, not a fault
    """Raise it in a handler: call me again for this event, later. It spends no try.

    `Retry(after=60)` waits a minute, `Retry(after=timedelta(hours=2))` two hours; without `after` the wait is
    what the handler's policy gives for this attempt. A time that has passed means at once.

    Raises:
        TypeError: `after` is no number of seconds and no timedelta.
        ValueError: `after` is not finite, or more than 366 days.
    """

    def __init__(self, after: float | timedelta | None = None, reason: str = "") -> None:
        """`after` is in seconds; `reason` is kept with the attempt."""
        super().__init__(reason or "asked to be called again")
        self.reason = reason
        self.after: float | None = None if after is None else _seconds(after)


class Discard(Exception):  # noqa: N818 -- as Retry
    """Raise it in a handler: this event is not for me and never will be. The run ends as `discarded`."""

    def __init__(self, reason: str = "") -> None:
        """`reason` is kept with the attempt."""
        super().__init__(reason or "discarded")
        self.reason = reason


def _seconds(after: float | timedelta) -> float:
    seconds = after.total_seconds() if isinstance(after, timedelta) else after
    _in_range("Retry: after", seconds, most=LONGEST_WAIT)
    return max(0.0, float(seconds))


def _in_range(what: str, value: float, *, least: float = -math.inf, most: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{what} is a number, found {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{what} is a finite number, found {value!r}")
    if value < least:
        raise ValueError(f"{what} is at least {least:g}, found {value!r}")
    if value > most:
        raise ValueError(f"{what} is at most {most:g}, found {value!r}")
