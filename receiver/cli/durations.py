"""Lengths of time as every listing says them.

The rule easiest to break: two units at most, or nobody reads it; scripts get numbers from `--json`.
"""

from __future__ import annotations

from typing import Final

_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms"))


def duration(milliseconds: float) -> str:
    """A time span in its two largest units, such as `1d 2h`."""
    left = abs(round(milliseconds))
    parts = []
    for size, unit in _UNITS:
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number}{unit}")
        if len(parts) == 2 or (parts and not number):  # noqa: PLR2004 -- the two largest
            break
    return ("-" if milliseconds < 0 else "") + (" ".join(parts) or "0s")
