"""Times as people type them: a moment in ISO 8601, or how long ago.

Pure: the time it is now is passed in. The rule easiest to break: one reading everywhere, and that is UTC,
so that a command means the same on the laptop and on the server.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["parse_time"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_ago = re.compile(r"([0-9]{1,6}) ?([smhdw])")
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse_time(text: str, *, now_ms: int) -> int:
    """Milliseconds since 1970 in UTC.

    `2h` is two hours before `now_ms`; `30s`, `45m`, `3d` and `1w` likewise. Otherwise it is an ISO 8601 date,
    which means its first instant, or date and time; without an offset they are in UTC.

    Raises:
        ValueError: it is neither; the message says what is expected.
    """
    text = text.strip()
    ago = _ago.fullmatch(text)
    if ago:
        return now_ms - int(ago[1]) * _UNITS_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text.upper())  # RFC 3339 allows "t" and "z"
    except ValueError:
        raise ValueError(
            "expected a time such as 2025-05-01, 2025-05-01T14:00 or 2025-05-01T14:00+02:00 (without an "
            f"offset it is UTC), or how long ago, such as 45m, 2h, 3d or 1w; found {text[:50]!r}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND
