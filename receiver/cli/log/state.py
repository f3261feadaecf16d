"""`klenhook log state`: what is known of one calendar event, now or at a time, and who said so."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.common import ask, config_option, fail, json_option, one_line, utf8, write_json
from receiver.cli.log.filters import moment
from receiver.cli.log.records import short_time
from receiver.cli.log.timeline import tell_apart, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from storage.reader import EventReader


@click.command()
@click.argument("calendar_event", callback=utf8, metavar="UUID|ID")
@click.option(
    "--as-of", "as_of_ms", callback=moment, metavar="TIME", help="What was known then.  [default: now]"
)
@click.option(
    "--by",
    type=click.Choice(["received", "occurred"]),
    default="received",
    show_default=True,
    help="Which clock --as-of means: received, what we knew then; occurred, what had happened by then, as we "
    "know now.",
)
@click.option("--why", is_flag=True, help="Name the event that set each field, and its time.")
@json_option
@config_option
def state(calendar_event: str, config_path: str | None, *, as_json: bool, **asked: Any) -> None:
    """Print the state of one calendar event, put together from every event about it.

    For each field, the newest event that carries it counts, whenever it came. If a number is that of several
    calendar events, all of them are printed, and it is said how to name one of them.

    \b
    Example:
      klenhook log state 123 --why
      klenhook log state f47ac10b-58cc-4372-a567-0e02b2c3d479 --as-of 2025-05-01T12:00
      klenhook log state 123 --as-of 2d --by occurred --json
    """
    found = ask(config_path, lambda log: _states(log, calendar_event, **asked))
    if found is None:
        raise unknown(calendar_event)
    if not found:
        raise fail(f"Nothing was known of '{one_line(calendar_event)}' at that time.")
    for record in found:
        if as_json:
            write_json(record)
        else:
            click.echo("\n".join(_lines(record)))


async def _states(
    log: EventReader, name: str, *, as_of_ms: int | None, by: str, why: bool
) -> list[dict[str, Any]] | None:
    """One record for each such calendar event, mostly one; None if there is none."""
    from receiver.clock import to_iso
    from receiver.history import state_at

    known = await log.calendar_events(name)
    tell_apart(name, known)
    records = []
    for one in known:
        history = await log.history(one.subject)
        found = state_at(history, time_ms=as_of_ms, by_occurred=by == "occurred")
        if found is None:
            continue
        record: dict[str, Any] = {
            "calendar_event": found.calendar_event(),
            "as_of": to_iso(time.time_ns() // 1_000_000 if as_of_ms is None else as_of_ms),
            "source": one.source,
        }
        if why:
            ids = {event.seq: event.event_id for event in history}
            record["provenance"] = {
                path: {"event_id": ids[mark.seq], "timestamp": to_iso(mark.at_ms)}
                for path, mark in found.provenance().items()
            }
        records.append(record)
    return records if known else None


def _lines(record: dict[str, Any]) -> Iterator[str]:
    reasons = record.get("provenance", {})
    for path, value in _flat(record["calendar_event"]):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        line = f"{path:<20}  {text}"
        if path in reasons:
            line += f"    ({short_time(reasons[path]['timestamp'])}, event {reasons[path]['event_id']})"
        yield one_line(line)
    yield ""


def _flat(calendar_event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields with the customer's as `customer.email`, as provenance has them."""
    for name, value in calendar_event.items():
        if name == "customer" and isinstance(value, dict):
            yield from ((f"customer.{part}", content) for part, content in value.items())
        else:
            yield name, value
