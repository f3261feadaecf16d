"""Times as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.times import parse_time

NOW = 1_746_094_530_000  # 2025-05-01T10:15:30Z


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("30s", NOW - 30_000),
        ("45m", NOW - 45 * 60_000),
        ("2h", NOW - 2 * 3_600_000),
        ("3d", NOW - 3 * 86_400_000),
        ("1w", NOW - 7 * 86_400_000),
        (" 2 h ", NOW - 2 * 3_600_000),
        ("0s", NOW),
    ],
)
def test_a_duration_is_ago(text: str, milliseconds: int) -> None:
    """A number with a unit is that long before now."""
    assert milliseconds == parse_time(text, now_ms=NOW)


@pytest.mark.parametrize(
    "text",
    [
        "2025-05-01T10:15:30Z",
        "2025-05-01t10:15:30.000z",
        "2025-05-01T10:15:30",
        "2025-05-01 10:15:30",
        "2025-05-01T12:15:30+02:00",
        "20250501T101530Z",
    ],
)
def test_without_an_offset_a_time_is_in_utc(text: str) -> None:
    """A time means one instant wherever it is typed: with an offset that one, without one UTC."""
    assert parse_time(text, now_ms=0) == NOW


def test_a_date_is_its_first_instant() -> None:
    """A date alone is its midnight in UTC."""
    assert parse_time("2025-05-01", now_ms=0) == NOW - (10 * 3600 + 15 * 60 + 30) * 1000


@pytest.mark.parametrize("text", ["0001-01-01T00:00+14:00", "9999-12-31T23:59:59.999999-14:00", "999999w"])
def test_the_ends_of_the_calendar_fit_into_the_log(text: str) -> None:
    """The earliest and the latest time are numbers that the log can compare."""
    assert -(2**63) <= parse_time(text, now_ms=NOW) < 2**63


@pytest.mark.parametrize(
    "text", ["", "2", "2x", "-2h", "2h30m", "1000000w", "yesterday", "2025-13-01", "10:15", "٣d", "\ud800"]
)
def test_anything_else_is_refused_with_examples(text: str) -> None:
    """What is no time is a ValueError that shows what would be one, and what was found."""
    with pytest.raises(ValueError, match=r"such as 2025-05-01.* 2h, .*found") as refused:
        parse_time(text, now_ms=NOW)

    assert str(refused.value).isprintable()


@given(st.text())
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    """Whatever is typed ends in a number or in a ValueError."""
    try:
        assert isinstance(parse_time(text, now_ms=NOW), int)
    except ValueError as error:
        assert "expected a time" in str(error)  # noqa: PT017 -- both outcomes are right
