"""Small charts for a terminal: bars of blocks.

The rule easiest to break: a terminal whose encoding has no blocks gets signs that it has.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from receiver.cli.common import one_line
from receiver.cli.durations import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

WIDTH: Final = 32
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
LONGEST_LABEL: Final = 40


def bars(counts: Mapping[str, int]) -> Iterator[str]:
    """A line for each: its name, a bar as long as its share of the largest, its number."""
    if not counts:
        return
    labels = [one_line(name)[:LONGEST_LABEL] for name in counts]
    label_width = max(map(len, labels))
    most = max(counts.values()) or 1
    number_width = len(f"{most:,}")
    for label, number in zip(labels, counts.values(), strict=True):
        bar = click.style(f"{_bar(number / most):<{WIDTH}}", fg="cyan")
        yield f"  {label:<{label_width}}  {bar}  {number:>{number_width},}"


def _bar(share: float) -> str:
    """At least something for what is not nothing."""
    try:
        _EIGHTHS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "#" * (round(share * WIDTH) or (share > 0))
    eighths = round(share * WIDTH * 8) or (share > 0)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def histogram(values: Sequence[int], edges: Sequence[int]) -> dict[str, int]:
    """How many values, sorted, lie below each edge and not below the one before; and above the last."""
    names = [f"under {duration(edge)}" for edge in edges] + [f"{duration(edges[-1])} and more"]
    found = dict.fromkeys(names, 0)
    for value in values:
        place = next((n for n, edge in enumerate(edges) if value < edge), len(edges))
        found[names[place]] += 1
    return found
