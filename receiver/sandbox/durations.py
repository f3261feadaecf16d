"""Spans of time as people type them: `500ms`, `2s`, `40m`, `1.5h`, `3d`.

The rule easiest to break: a unit is always named, so that nobody has to guess it.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_one = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")


def parse_duration(text: object) -> timedelta:
    """The span; several parts add up, as in `1h30m`.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    parts = _one.findall(text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a time such as 500ms, 2s, 40m, 1h30m or 3d, found {str(text)[:50]!r}")
    return sum((float(number) * UNITS[unit] for number, unit in parts), timedelta())
