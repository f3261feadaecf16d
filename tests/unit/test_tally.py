"""The histogram that the service counts in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.tally import Histogram

BOUNDS = (1, 2.5, 10)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-1, [1, 1, 1, 1]), (1, [1, 1, 1, 1]), (1.1, [0, 1, 1, 1]), (10, [0, 0, 1, 1]), (11, [0, 0, 0, 1])],
)
def test_a_bound_counts_what_is_at_most_as_large(value: float, expected: list[int]) -> None:
    """As Prometheus's `le` means it; the last number has everything."""
    histogram = Histogram(BOUNDS)
    histogram.observe(value)

    assert histogram.cumulative == expected


@given(st.lists(st.integers(-5, 20)))
def test_every_value_is_counted_once(values: list[int]) -> None:
    """The numbers never descend, the last is how many there were, and the total is their sum."""
    histogram = Histogram(BOUNDS)
    for value in values:
        histogram.observe(value)

    assert histogram.cumulative == sorted(histogram.cumulative)
    assert (histogram.cumulative[-1], histogram.total) == (len(values), sum(values))
