"""`klenhook db prune`: remove what is older than `[retention]` says, now and not only once a day."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import (
    ask,
    change,
    config_option,
    confirm,
    json_option,
    load,
    say,
    write_json,
)
from receiver.cli.log.filters import moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from receiver.config import Config
    from storage.removal import Limits

SERVICE_SECONDS: Final = 3_600.0
"""A million events take minutes, since everything else goes on meanwhile."""
_WHAT: Final = {
    "events": "events",
    "calendar_events": "calendar events, whole",
    "calls": "calls, whole",
    "quarantined": "bodies in quarantine",
}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only count; nothing is changed.")
@click.option(
    "--older-than",
    "older_than_ms",
    callback=moment,
    metavar="AGE|TIME",
    help="Such as 90d, or 2025-05-01, instead of retention.events_days. What is dead stays for dead_days if "
    "that is longer.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@config_option
def prune(
    config_path: str | None, *, dry_run: bool, older_than_ms: int | None, yes: bool, as_json: bool
) -> None:
    """Remove old events from the log, and give the room back. The service does it once a day by itself.

    A calendar event goes as a whole, with all that came about it, when all of that is older than
    retention.events_days, it is over, and no run or message of it is unfinished; so do calls. What a handler
    failed on for good is kept for dead_days. A repeated delivery of what was removed is still recognised.

    A running service does it, beside its work; without one it is done here. On a terminal it asks first.

    \b
    Example:
      klenhook db prune --dry-run
      klenhook db prune --older-than 90d

    Exit status: 0 done, 1 it failed, 2 wrong usage.
    """
    from receiver.retention import limits_of, survey

    config = load(config_path)
    limits = limits_of(config, time.time_ns() // 1_000_000, older_than_ms)
    found = ask(config_path, lambda log: survey(log, limits))
    if dry_run or not any(found.values()):
        _tell(found, as_json=as_json)
        say("Nothing was changed." if any(found.values()) else "Nothing is old enough to be removed.")
        return
    if sys.stdin.isatty():
        _tell(found, as_json=False)
        confirm("Remove them for good?", yes=yes)
    _tell(_prune(config_path, limits, older_than_ms), as_json=as_json)
    say("Removed.")


def _prune(config_path: str | None, limits: Limits, older_than_ms: int | None) -> dict[str, Any]:
    from receiver.cli.running import post
    from receiver.retention import prune as prune_here

    async def there(config: Config) -> dict[str, Any]:
        undone = "What was removed by then stays removed; run it again for the rest."
        request = {"older_than_ms": older_than_ms}
        return await post(config, "/prunings", request, undone=undone, seconds=SERVICE_SECONDS)

    return change(config_path, lambda log: prune_here(log, limits), there=there)


def _tell(counts: Mapping[str, int], *, as_json: bool) -> None:
    if as_json:
        write_json(counts)
    else:
        click.echo("\n".join(_lines(counts)))


def _lines(counts: Mapping[str, int]) -> Iterable[str]:
    width = max(len(str(number)) for number in counts.values())
    return (f"{number:>{width}} {_WHAT[name]}" for name, number in counts.items())
