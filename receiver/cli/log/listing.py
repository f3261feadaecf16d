"""`klenhook log list`: the events that were received."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import ask, config_option, json_option, say, write_json, write_table
from receiver.cli.log.filters import filters, limit_option, selection
from receiver.cli.log.records import COLUMNS, ELASTIC, to_record, to_row

if TYPE_CHECKING:
    from receiver.cli.common import Cell
    from storage.reader import EventReader
    from storage.records import Selection

ROWS: Final = 500
"""Rows of one table. A longer listing is several, so that it starts at once and fits into memory."""


@click.command("list")
@filters
@limit_option(50, "50")
@click.option("--count", is_flag=True, help="Print only how many there are, whatever the limit.")
@json_option
@config_option
def list_events(config_path: str | None, *, as_json: bool, count: bool, **chosen: Any) -> None:
    """List events, newest first; with --after, oldest first.

    \b
    Example:
      klenhook log list --type 'calendar.*' --since 2h
      klenhook log list --handler hello --status dead --json
      klenhook log list --since 2025-05-01 --until 2025-06-01 --count
    """
    selected = selection(**chosen)
    if count:
        number = ask(config_path, lambda log: log.count(selected))
        write_json({"count": number}) if as_json else click.echo(number)
    elif not ask(config_path, lambda log: write_events(log, selected, as_json=as_json)):
        say(
            "No events match."
            if selected != selection(limit=selected.limit)
            else "The log has no events yet."
        )


async def write_events(log: EventReader, selected: Selection, *, as_json: bool) -> bool:
    """Write the selected events for a script or for people; whether there were any."""
    return await (_as_json if as_json else _as_tables)(log, selected)


async def _as_json(log: EventReader, selected: Selection) -> bool:
    """Write records; whether there were any."""
    found = False
    async for event in log.stream(selected):
        write_json(to_record(event))
        found = True
    return found


async def _as_tables(log: EventReader, selected: Selection) -> bool:
    """Write tables; whether there was anything to write."""
    found = False
    rows: list[tuple[Cell, ...]] = []
    async for event in log.stream(selected):
        found = True
        rows.append(to_row(event))
        if len(rows) == ROWS:
            _write(rows)
            rows = []
    if rows:
        _write(rows)
    return found


def _write(rows: list[tuple[Cell, ...]]) -> None:
    """Write a table of those columns that have something to tell."""
    used = [index for index in range(len(COLUMNS)) if any(row[index] for row in rows)]
    columns = [COLUMNS[index] for index in used]
    write_table(None, columns, [[row[index] for index in used] for row in rows], elastic=ELASTIC)
