"""When a failing handler is called again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.retry import LONGEST_WAIT, Discard, Retry, RetryPolicy


def longest(policy: RetryPolicy) -> list[float | None]:
    return [policy.delay(attempt, lambda: 1.0) for attempt in range(1, policy.tries + 1)]


def test_default_schedule() -> None:
    """By default seven growing waits of at most six hours lie between eight calls."""
    assert longest(RetryPolicy()) == [30, 120, 480, 1920, 7680, 21600, 21600, None]


def test_full_jitter() -> None:
    """A wait is drawn evenly from nothing to the longest one of its attempt."""
    policy = RetryPolicy(base=10, factor=2)

    assert [policy.delay(1, share) for share in (lambda: 0.0, lambda: 0.5, lambda: 1.0)] == [0.0, 5.0, 10.0]


def test_one_try() -> None:
    """The first call is a try, so one try means no second call."""
    assert RetryPolicy(tries=1).delay(1, lambda: 0.5) is None


@given(
    st.integers(1, 10**9),
    st.floats(0, allow_infinity=False),
    st.floats(1, allow_infinity=False),
    st.floats(0, allow_infinity=False),
    st.integers(1, 10**9),
)
def test_any_policy_waits_a_possible_time(
    tries: int, base: float, factor: float, cap: float, attempt: int
) -> None:
    """Whatever the numbers, a wait is between 0 and the cap and can be stored, or there is none any more."""
    delay = RetryPolicy(tries, base, factor, cap).delay(attempt, lambda: 1.0)

    assert (delay is None) == (attempt >= tries)
    assert delay is None or 0 <= delay <= min(cap, LONGEST_WAIT)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tries": 0}, "tries is at least 1, found 0"),
        ({"tries": 1.5}, "tries is a whole number of calls, found 1.5"),
        ({"tries": True}, "tries is a whole number of calls, found True"),
        ({"base": -1}, "base is at least 0"),
        ({"factor": 0.5}, "factor is at least 1"),
        ({"cap": float("nan")}, "cap is a finite number"),
        ({"base": "30"}, "base is a number, found '30'"),
    ],
)
def test_impossible_policy(values: dict[str, Any], message: str) -> None:
    """A policy that cannot work is refused where it is written."""
    with pytest.raises((TypeError, ValueError), match=message):
        RetryPolicy(**values)


@pytest.mark.parametrize(
    ("after", "seconds"), [(None, None), (60, 60.0), (timedelta(hours=2), 7200.0), (-5, 0.0)]
)
def test_retry_in_seconds(after: float | timedelta | None, seconds: float | None) -> None:
    """`Retry` keeps its wait in seconds; a time that has passed means at once."""
    assert seconds == Retry(after).after


@pytest.mark.parametrize("after", [float("inf"), float("nan"), 1e300, timedelta(days=400), "60", True])
def test_retry_refuses_what_is_no_wait(after: Any) -> None:
    """A wait that is no number, not finite or over a year is an error in the handler."""
    with pytest.raises((TypeError, ValueError), match="Retry: after"):
        Retry(after)


def test_reasons() -> None:
    """Both verbs keep their reason, and say something without one."""
    assert (Retry(reason="busy").reason, Discard("no customer").reason) == ("busy", "no customer")
    assert (str(Retry()), str(Discard())) == ("asked to be called again", "discarded")
