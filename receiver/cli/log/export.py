"""`klenhook log export`: many events into a file, for other programs.

The rule easiest to break: titles are written by strangers, and a spreadsheet runs a cell that begins like a
formula (https://owasp.org/www-community/attacks/CSV_Injection).
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import ask, config_option, fail, printable, say, to_json
from receiver.cli.log.filters import filters, limit_option, selection
from receiver.cli.log.records import KEYS, to_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from storage.calendar import CalendarEventRecord
    from storage.reader import EventReader
    from storage.records import EventRecord, Selection

    Write = Callable[[EventRecord], object]

HEADER: Final = (*KEYS, "title", "status", "start", "end")
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that a spreadsheet would run; the last four are the wide forms of the first."""
PATIENCE_SECONDS: Final = 2.0
"""After this the person at the terminal is told how far it got, and again each time."""


@click.command()
@filters
@limit_option(0, "all")
@click.option(
    "--format", "form", type=click.Choice(["jsonl", "csv", "ics"]), default="jsonl", show_default=True
)
@click.option("--output", type=click.Path(dir_okay=False), metavar="FILE", help="Instead of standard output.")
@config_option
def export(config_path: str | None, *, form: str, output: str | None, **chosen: Any) -> None:
    """Write events as JSON Lines or as CSV, in UTF-8: those that `log list` with the same filters shows.

    In CSV, changes and runs are JSON, and a cell that a spreadsheet would run begins with '. As ics, the
    calendar events that those events are about are written for calendars, each once, as it is known now.

    \b
    Example:
      klenhook log export --since 30d > events.jsonl
      klenhook log export --format csv --type 'calendar.*' --output events.csv
      klenhook log export --format ics --since 90d --output appointments.ics
    """
    selected = selection(**chosen)
    found = ask(config_path, lambda log: _export(log, selected, form, output))
    if not found:
        say("No events match.")


async def _export(log: EventReader, selected: Selection, form: str, output: str | None) -> int:
    """Write the selected events; how many there were."""
    found = 0
    with _destination(output) as stream:
        if form == "ics":
            return await write_calendar(log, selected, stream)
        write = _csv_writer(stream) if form == "csv" else _json_writer(stream)
        progress = _Progress(shown=sys.stderr.isatty() and not stream.isatty())
        async for event in log.stream(selected):
            write(event)
            found += 1
            progress.tell(found)
    return found


@contextlib.contextmanager
def _destination(output: str | None) -> Iterator[TextIO]:
    """Standard output, or a new file that only its owner can read: it holds people's names."""
    if output is None or output == "-":
        with io.TextIOWrapper(
            os.fdopen(os.dup(sys.stdout.fileno()), "wb"), encoding="utf-8", newline=""
        ) as stream:
            yield stream
        return
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", newline="") as stream:  # noqa: PTH123 -- a descriptor, not a path
            yield stream
    except OSError as error:
        raise fail(
            f"cannot write {printable(output)}: {error.strerror}. What is there is not complete."
        ) from error


async def write_calendar(log: EventReader, selected: Selection, stream: TextIO) -> int:
    """Write the calendar events of the selected events, in the order in which these come; how many events."""
    from receiver.history import in_order_of_time
    from receiver.ics import CLOSING, opening, vevent

    found = without_start = 0
    written: set[int] = set()
    stream.write(opening())
    async for event in log.stream(selected):
        found += 1
        for known in await _calendar_events(log, event):
            if known.subject in written:
                continue
            written.add(known.subject)
            uid = known.uuid or f"{known.number}.{known.source}"
            entry = vevent(uid, in_order_of_time(await log.history(known.subject)))
            stream.write(entry or "")
            without_start += entry is None
    stream.write(CLOSING)
    if without_start:
        say(f"{without_start} calendar events were left out, since it is not known when they begin.")
    return found


async def _calendar_events(log: EventReader, event: EventRecord) -> list[CalendarEventRecord]:
    """The one that the event is about, if it is about one and routed."""
    name = event.calendar_event_uuid or event.calendar_event_id
    known = [] if name is None else await log.calendar_events(str(name))
    return [one for one in known if one.source == event.source]


def _json_writer(stream: TextIO) -> Write:
    return lambda event: stream.write(to_json(to_record(event)) + "\n")


def _csv_writer(stream: TextIO) -> Write:
    rows = csv.writer(stream)
    rows.writerow(HEADER)
    shown: Callable[[str], str] = printable if stream.isatty() else str
    return lambda event: rows.writerow(
        [shown(cell) if isinstance(cell, str) else cell for cell in to_cells(event)]
    )


def to_cells(event: EventRecord) -> list[str | int | None]:
    """The event as cells under `HEADER`; numbers stay numbers."""
    record = to_record(event)
    values = [*record.values(), event.title, event.status, event.start_time, event.end_time]
    return [_cell(value) for value in values]


def _cell(value: Any) -> str | int | None:
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value  # type: ignore[no-any-return]  # None, a number or harmless text


class _Progress:
    """Says now and then how many events were written."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._next = time.monotonic() + PATIENCE_SECONDS

    def tell(self, count: int) -> None:
        if self._shown and time.monotonic() >= self._next:
            say(f"{count} events written ...")
            self._next = time.monotonic() + PATIENCE_SECONDS
