"""`klenhook log tail`: events as they come in, until it is stopped.

The rule easiest to break: nothing is shown twice or left out, so it goes by the number of the last event
shown and never by time.
"""

from __future__ import annotations

import contextlib
import select
import sys
from typing import TYPE_CHECKING, Final

import click

from receiver.cli.common import ask, config_option, json_option, one_line, say, write_json
from receiver.cli.log.filters import number, selection
from receiver.cli.log.records import calendar_event, short_time, to_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.reader import EventReader
    from storage.records import EventRecord

FIRST: Final = 10
"""Events that are shown to begin with."""
POLL_SECONDS: Final = 0.5
"""One look at the end of the log: an index read, while the service writes on."""


@click.command()
@click.option(
    "--after",
    "after_seq",
    type=int,
    callback=number,
    metavar="SEQ",
    help="Resume behind this number.  [default: behind all but the last 10]",
)
@json_option
@config_option
def tail(config_path: str | None, *, after_seq: int | None, as_json: bool) -> None:
    """Print events as they come in, oldest first, until Ctrl-C.

    An event is printed once, as soon as it is in the log; `klenhook log show` tells what became of it.

    \b
    Example:
      klenhook log tail
      klenhook log tail --after 1200 --json
    """
    write = _write_json if as_json else _write_line
    with contextlib.suppress(KeyboardInterrupt):
        ask(config_path, lambda log: _follow(log, after_seq, write))


async def _follow(log: EventReader, after_seq: int | None, write: Callable[[EventRecord], None]) -> None:
    import asyncio

    from storage.errors import LogUnavailable, QueryError

    if after_seq is None:
        newest = await log.page(selection(limit=FIRST))
        after_seq = newest[-1].seq - 1 if newest else 0
    told = False
    while not _reader_gone():
        events: list[EventRecord] = []
        try:
            events = await log.page(selection(after_seq=after_seq, limit=0))
            told = False
        except (LogUnavailable, QueryError) as error:  # it is busy, or its disk is: that passes
            if not told:
                say(f"{error} Still trying.")
            told = True
        for event in events:
            write(event)
            after_seq = event.seq
        if not events:
            await asyncio.sleep(POLL_SECONDS)


def _reader_gone() -> bool:
    """Whether nobody reads our output any more. Writing would tell only with the next event."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    return any(found & (select.POLLERR | select.POLLHUP) for _, found in watch.poll(0))


def _write_json(event: EventRecord) -> None:
    write_json(to_record(event))


def _write_line(event: EventRecord) -> None:
    """A line under no header: what comes next is not known, so columns have fixed places."""
    click.echo(
        one_line(
            f"{event.seq:>6}  {short_time(event.received_at)}  {event.event_type or '':<18}  "
            f"{calendar_event(event):<8}  {event.event_id}  {event.title or ''}"
        ).rstrip()
    )
