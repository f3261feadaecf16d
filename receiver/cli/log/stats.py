"""`klenhook log stats`: how much of what, and how long things take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import ask, config_option, json_option, say, write_json
from receiver.cli.durations import duration
from receiver.cli.log.charts import bars, histogram
from receiver.cli.log.filters import MOST, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from storage.records import LogStats

MOST_DAYS: Final = 31
"""Bars of days that are drawn, the last ones; --json has all."""
MOST_TYPES: Final = 20
_HOUR, _DAY = 3_600_000, 86_400_000
_SPANS: Final = (0, _HOUR, 6 * _HOUR, _DAY, 3 * _DAY, 7 * _DAY, 14 * _DAY, 30 * _DAY)
_DELAYS: Final = (1_000, 10_000, 60_000, 300_000, 2_160_000)
"""The last is 36 minutes: then the vendor has tried for the last time."""
_DURATIONS: Final = {
    "lead_time": ("from booking to beginning", _SPANS),
    "cancel_notice": ("from cancelling to beginning", _SPANS),
    "delivery_delay": ("from happening to arriving here", _DELAYS),
}


@click.command()
@click.option(
    "--since", "since_ms", callback=moment, metavar="TIME", help="Then or later, such as 30d or 2025-05-01."
)
@click.option("--until", "until_ms", callback=moment, metavar="TIME", help="Before then.")
@json_option
@config_option
def stats(config_path: str | None, *, since_ms: int | None, until_ms: int | None, as_json: bool) -> None:
    """Print numbers of the log: events by type, verdict, change, handler and day, and how long things take.

    Events count by the time they were received. The time from booking to beginning, and how often calendar
    events are rescheduled, are of those that were booked in the span; the notice is of those that are
    cancelled in it. With --json, times are in seconds.

    \b
    Example:
      klenhook log stats --since 30d
      klenhook log stats --since 2025-05-01 --until 2025-06-01 --json
    """
    span = since_ms or 0, MOST if until_ms is None else until_ms
    found = ask(config_path, lambda log: log.stats(*span))
    if as_json:
        write_json(_to_object(found))
    elif found.types:
        click.echo("\n".join(_lines(found)))
    if not found.types:
        say("The log has no events in this span." if since_ms or until_ms else "The log has no events yet.")


def _to_object(found: LogStats) -> dict[str, Any]:
    return {
        "events": sum(found.types.values()),
        "types": found.types,
        "verdicts": found.verdicts,
        "changes": found.changes,
        "handlers": found.handlers,
        "days": found.days,
        **{name: _summary(values) for name, values in _measured(found).items()},
        "reschedules": {str(times): number for times, number in found.reschedules.items()},
    }


def _measured(found: LogStats) -> dict[str, Sequence[int]]:
    return {
        "lead_time": found.lead_ms,
        "cancel_notice": found.notice_ms,
        "delivery_delay": found.delay_ms,
    }


def _summary(values: Sequence[int]) -> dict[str, float | int | None]:
    """Seconds; None of nothing."""
    summary: dict[str, float | int | None] = {"count": len(values)}
    summary["mean_s"] = round(sum(values) / len(values) / 1000, 3) if values else None
    for name, share in (("min_s", 0.0), ("median_s", 0.5), ("p90_s", 0.9), ("p99_s", 0.99), ("max_s", 1.0)):
        summary[name] = _quantile(values, share) / 1000 if values else None
    return summary


def _quantile(values: Sequence[int], share: float) -> int:
    """The smallest value that this share of all does not exceed. They are sorted."""
    return values[max(0, -(-round(share * len(values) * 1000) // 1000) - 1)]


def _lines(found: LogStats) -> Iterator[str]:
    yield f"{sum(found.types.values()):,} events"
    yield from _section("by type", dict(list(found.types.items())[:MOST_TYPES]))
    yield from _section("by verdict", found.verdicts)
    yield from _section("changes", found.changes)
    for handler, states in found.handlers.items():
        yield from _section(f"handler {handler}", states)
    yield from _section("by day (UTC)", dict(list(found.days.items())[-MOST_DAYS:]))
    for name, values in _measured(found).items():
        title, edges = _DURATIONS[name]
        if values:
            middle, most = (duration(_quantile(values, share)) for share in (0.5, 0.9))
            title = f"{title}: median {middle}, 9 of 10 within {most}"
            yield from _section(title, _trimmed(histogram(values, edges)))
    yield from _section(
        "reschedules of a calendar event", {f"{times} times": n for times, n in found.reschedules.items()}
    )


def _trimmed(counts: Mapping[str, int]) -> dict[str, int]:
    """Without empty bars at both ends."""
    names = list(counts)
    used = [n for n, name in enumerate(names) if counts[name]]
    return {name: counts[name] for name in names[used[0] : used[-1] + 1]}


def _section(title: str, counts: Mapping[Any, int]) -> Iterator[str]:
    if counts:
        yield ""
        yield click.style(title, bold=True)
        yield from bars(dict(counts))
