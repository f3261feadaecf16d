"""`klenhook log overdue`: webhooks that should have come and did not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.common import ask, config_option, json_option, load, say, write_json, write_table
from receiver.cli.durations import duration
from receiver.cli.log.records import short_time

if TYPE_CHECKING:
    from receiver.overdue import Expectation
    from storage.reader import EventReader


@click.command()
@json_option
@config_option
def overdue(config_path: str | None, *, as_json: bool) -> None:
    """List completions and reminders that were due in the last 7 days and did not come, the oldest first.

    An appointment that has ended should have been completed, cancelled or missed, and one that begins soon
    reminded of. [overdue] in the configuration says how long to wait.

    \b
    Example:
      klenhook log overdue
      klenhook log overdue --json
    """
    settings = load(config_path).overdue
    now_ms = time.time_ns() // 1_000_000

    async def found(log: EventReader) -> list[Expectation]:
        from receiver.overdue import missing

        return await missing(log, settings, now_ms)

    records = [_record(one, now_ms) for one in ask(config_path, found)]
    if as_json:
        for record in records:
            write_json(record)
    elif records:
        columns = ("due (UTC)", "late", "expected", "calendar", "title")
        write_table(None, columns, [_row(record) for record in records], elastic=("title",))
    if not records:
        say("Nothing is overdue.")


def _record(one: Expectation, now_ms: int) -> dict[str, Any]:
    from receiver.clock import to_iso

    return {
        "source": one.record.source,
        "calendar_event_uuid": one.record.uuid,
        "calendar_event_id": one.record.number,
        "title": one.calendar_event.get("title"),
        "expected": one.expected,
        "due_at": to_iso(one.due_ms),
        "late_minutes": (now_ms - one.due_ms) // 60_000,
    }


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        short_time(record["due_at"]),
        duration(record["late_minutes"] * 60_000),
        record["expected"],
        str(record["calendar_event_id"] or (record["calendar_event_uuid"] or "")[:8]),
        str(record["title"] or ""),
    )
