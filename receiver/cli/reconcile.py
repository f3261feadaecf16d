"""`klenhook reconcile`: ask the vendor what the log has missed, record it, and say what was lost when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from receiver.cli.common import config_option, fail, json_option, load, one_line, say, write_json, write_table

if TYPE_CHECKING:
    from datetime import date

    from receiver.cli.losses import Lost
    from receiver.config import Config
    from receiver.klen.reconcile import Window


@click.command()
@click.option(
    "--from", "first", metavar="DAY", help="Appointments from this day on, such as 2025-05-01 or 7d."
)
@click.option("--to", "last", metavar="DAY", help="To this day, such as 2025-06-30.")
@click.option("--source", help="Only this source of the configuration.")
@click.option("--dry-run", is_flag=True, help="Only say what is missing; nothing is recorded.")
@json_option
@config_option
def reconcile(
    config_path: str | None,
    first: str | None,
    last: str | None,
    source: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Compare the log with Klen's API, and record what it has missed.

    Bookings, changes, cancellations, completions and no-shows that no webhook has told become events with
    the origin `reconcile`; handlers get them as all others. Without dates: appointments from 7 days ago to
    60 days ahead. It keeps below Klen's limit of requests, and goes on where it was interrupted. A running
    service does the work.

    Exit status: 0 it ran through, whatever it found; 1 the vendor could not be asked to the end.

    \b
    Example:
      klenhook reconcile --dry-run
      klenhook reconcile --from 2025-05-01 --to 2025-05-31
    """
    config = load(config_path)
    names = _sources(config, source)
    window = _window(first, last)
    lost: list[Lost] = []
    try:
        for name in names:
            lost += asyncio.run(_compared(config, name, window, dry_run=dry_run))
    except KeyboardInterrupt:
        raise fail("stopped. What was found is recorded; the next run goes on from there.") from None
    lost.sort(key=lambda one: str(one.record["occurred_at"]))
    if as_json:
        for one in lost:
            write_json(one.record)
    elif lost:
        _show(lost)


async def _compared(config: Config, source: str, window: Window, *, dry_run: bool) -> list[Lost]:
    from receiver.cli.reconciling import look, reconcile_here, reconcile_there
    from storage.errors import LogLocked

    if dry_run:
        return await look(config, source, window)
    try:
        return await reconcile_here(config, source, window)
    except LogLocked:
        return await reconcile_there(config, source, window)


def _sources(config: Config, source: str | None) -> list[str]:
    """Those to compare.

    Raises:
        click.UsageError: there is no such one, or none has an API key.
    """
    names = [name for name, one in config.sources.items() if one.api_key.get_secret_value()]
    if source is not None and source not in config.sources:
        known = ", ".join(config.sources)
        raise click.UsageError(f"--source: expected one of {known}, found {one_line(source)!r}.")
    chosen = [name for name in names if source in {None, name}]
    if not chosen:
        raise click.UsageError(
            f"sources.{source or next(iter(config.sources))}.api_key is not set, so Klen cannot be asked. "
            'Make a key in its dashboard and set it, such as "env:KLEN_API_KEY".'
        )
    return chosen


def _window(first: str | None, last: str | None) -> Window:
    from receiver.clock import SystemClock
    from receiver.klen.reconcile import AHEAD, BACK, Window

    now_ms = SystemClock().now_ms()
    usual = Window.around(now_ms)
    since = _day("--from", first, now_ms) or usual.first
    until = _day("--to", last, now_ms) or max(usual.last, since + AHEAD)
    if last is not None and first is None:
        since = min(since, until - BACK)
    if until < since:
        raise click.UsageError("--to: expected a day that is not before --from.")
    return Window(since, until)


def _day(option: str, text: str | None, now_ms: int) -> date | None:
    from receiver.clock import to_datetime
    from receiver.times import parse_time

    if text is None:
        return None
    try:
        return to_datetime(parse_time(text, now_ms=now_ms)).date()
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"{option}: expected a day such as 2025-05-01, or how long ago, as 7d; found {one_line(text)!r}."
        ) from None


def _show(lost: list[Lost]) -> None:
    rows = [one.row for one in lost]
    write_table(
        None, ("happened (UTC)", "found after", "what", "calendar", "title"), rows, elastic=("title",)
    )
    longest = max(lost, key=lambda one: one.late_seconds)
    recorded = "is recorded" if len(lost) == 1 else "are recorded"
    verb = "would be recorded" if longest.record["event_id"] is None else recorded
    number = "1 event was" if len(lost) == 1 else f"{len(lost)} events were"
    say(f"{number} missed and {verb}; the oldest was found after {longest.late}.")
