"""`klenhook log sql`: a person's own question, over the documented views, reading only."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.common import ask, config_option, json_option, say, write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.argument("query")
@json_option
@config_option
def sql(query: str, config_path: str | None, *, as_json: bool) -> None:
    """Answer one SELECT over the views of the log: events, deliveries, runs, attempts, quarantine.

    QUERY is SQL as SQLite speaks it; - reads it from standard input. Nothing but reading is possible, and a
    query may take 10 seconds. Binary values are shown in hexadecimal.

    \b
    Example:
      klenhook log sql "SELECT event_type, count(*) FROM events GROUP BY 1"
      klenhook log sql --json - < report.sql
    """
    text = _standard_input() if query == "-" else query
    columns, rows = ask(config_path, lambda log: log.sql(text))
    if as_json:
        names = _unique(columns)
        for row in rows:
            write_json(dict(zip(names, map(_to_json, row), strict=True)))
    elif rows:
        write_table(None, columns, [[_to_text(value) for value in row] for row in rows])
    if not rows:
        say("No rows.")


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise click.UsageError("expected a query in UTF-8 on standard input, found other bytes.") from None


def _unique(columns: Sequence[str]) -> list[str]:
    """Names that can be keys of one object: a second `seq` is `seq_2`."""
    names: list[str] = []
    for column in columns:
        name, number = column, 2
        while name in names:
            name, number = f"{column}_{number}", number + 1
        names.append(name)
    return names


def _to_json(value: Any) -> Any:
    """The value itself, or text where JSON has none like it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _to_text(value: Any) -> str:
    return "" if value is None else str(_to_json(value))
