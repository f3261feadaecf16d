"""Which events are meant: the options that `log list` and `log export` share, and the selection they make.

The rule easiest to break: a value that cannot match anything is a usage error that says what can, never an
empty answer.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from receiver.cli.common import utf8
from receiver.verdicts import NAMES, VERDICTS
from storage.states import ALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.records import Selection

F = TypeVar("F", bound="Callable[..., Any]")

MOST: Final = 2**63 - 1
"""The largest number of the log."""


def number(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    """Callback of options that take a number of the log, or of rows.

    Raises:
        click.BadParameter: it is negative, or larger than any number there is.
    """
    if value is not None and not 0 <= value <= MOST:
        raise click.BadParameter(f"expected a number from 0 to {MOST}, found {value}.", ctx, param)
    return value


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Callback of options that take a time: milliseconds since 1970.

    Raises:
        click.BadParameter: the value is no time as `receiver.times` reads it.
    """
    from receiver.times import parse_time

    try:
        return None if value is None else parse_time(value, now_ms=time.time_ns() // 1_000_000)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", ctx, param) from None


_OPTIONS: Final = (
    click.option(
        "--type", "type_glob", callback=utf8, metavar="GLOB", help="Such as calendar.created or 'calendar.*'."
    ),
    click.option(
        "--calendar-event",
        callback=utf8,
        metavar="UUID|ID",
        help="Events of one calendar event, by its uuid or number.",
    ),
    click.option(
        "--since",
        "since_ms",
        callback=moment,
        metavar="TIME",
        help="Received then or later: ISO 8601 (UTC unless it has an offset; a date is its first instant), "
        "or how long ago, such as 45m, 2h, 3d, 1w.",
    ),
    click.option("--until", "until_ms", callback=moment, metavar="TIME", help="Received before then."),
    click.option("--status", "run_state", type=click.Choice(ALL), help="With a run in this state."),
    click.option(
        "--handler",
        callback=utf8,
        metavar="NAME",
        help="With a run of this handler; with --status, one run that is both.",
    ),
    click.option(
        "--verdict",
        type=click.Choice(VERDICTS),
        help="What the event did to the state of its calendar event.",
    ),
    click.option(
        "--change", type=click.Choice(NAMES), metavar="NAME", help="That changed this, such as rescheduled."
    ),
    click.option("--source", callback=utf8, metavar="NAME", help="From this account."),
    click.option(
        "--after",
        "after_seq",
        type=int,
        callback=number,
        metavar="SEQ",
        help="Only behind this number, oldest first.",
    ),
)


def filters(command: F) -> F:
    """Add the filters. The command gets them as keywords that `selection` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def limit_option(default: int, shown: str) -> Callable[[F], F]:
    """Add `--limit N`; 0 is all."""
    return click.option(
        "--limit",
        type=int,
        callback=number,
        default=default,
        metavar="N",
        help=f"Most of them; 0 is all.  [default: {shown}]",
    )


def selection(**chosen: Any) -> Selection:
    """What the options select. Keywords are the fields of `Selection`."""
    from storage.records import Selection

    return Selection(**chosen)
