"""A histogram of plain numbers: cheap to add to while working, read by whoever asks.

The rule easiest to break: one thread adds. Others may read at any time; what they see may lack the newest
value, which is good enough for what is asked for every few seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Histogram:
    """How many values were at most so large, for each of some bounds, and their sum."""

    __slots__ = ("_counts", "bounds", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` ascend; values above the last are counted, too."""
        self.bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """The sum of all values."""

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def cumulative(self) -> list[int]:
        """How many values were at most as large as each bound; the last number is all of them."""
        return list(accumulate(self._counts))
