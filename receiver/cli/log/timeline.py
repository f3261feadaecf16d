"""`klenhook log timeline`: one calendar event from its first to its last event.

The rule easiest to break: events stand in the order in which they happened, and what each changed is told in
that order; the verdict says how it was judged when it came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import ask, config_option, fail, json_option, one_line, say, utf8, write_json
from receiver.cli.log.records import short_time
from receiver.cli.log.show import change_lines, change_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from receiver.history import Step
    from storage.calendar import CalendarEventRecord, RebookingRecord
    from storage.reader import EventReader

_LINKED: Final = {"rebooked_as": "cancelled", "rebooked_from": "created"}
"""The change that an inferred link stands beside."""


@click.command()
@click.argument("calendar_event", callback=utf8, metavar="UUID|ID")
@json_option
@config_option
def timeline(calendar_event: str, config_path: str | None, *, as_json: bool) -> None:
    """Print one calendar event from its first to its last event, with what each of them changed.

    Events stand in the order in which they happened. One that came late is marked `stale`: something newer
    was known already. A cancellation and a booking of the same customer within a week of it are linked as a
    likely reschedule; that is inferred, and says so. If a number is that of several calendar events, all of
    them are printed, and it is said how to name one of them.

    \b
    Example:
      klenhook log timeline 123
      klenhook log timeline f47ac10b-58cc-4372-a567-0e02b2c3d479 --json
    """
    stories = ask(config_path, lambda log: _stories(log, calendar_event))
    if not stories:
        raise unknown(calendar_event)
    for found, steps, rebookings in stories:
        if as_json:
            for step in steps:
                write_json(_record(found, step, rebookings))
        else:
            click.echo("\n".join(_lines(found, steps, rebookings)))


def unknown(calendar_event: str) -> click.ClickException:
    """What to raise when the log has no such calendar event."""
    return fail(
        f"No calendar event has the uuid or number '{one_line(calendar_event)}'. "
        "`klenhook log search` finds one by its title or customer."
    )


def tell_apart(name: str, found: Sequence[CalendarEventRecord]) -> None:
    """Say that a number means several calendar events, and how to name each of them."""
    if len(found) > 1:
        each = ", ".join(f"{one.uuid or 'one without a uuid'} of source {one.source}" for one in found)
        say(one_line(f"'{name}' means {len(found)} calendar events: {each}. A uuid names one alone."))


async def _stories(
    log: EventReader, name: str
) -> list[tuple[CalendarEventRecord, list[Step], list[RebookingRecord]]]:
    from receiver.history import in_order_of_time

    known = await log.calendar_events(name)
    tell_apart(name, known)
    return [
        (found, in_order_of_time(await log.history(found.subject)), await log.rebookings(found.subject))
        for found in known
    ]


def _record(found: CalendarEventRecord, step: Step, rebookings: list[RebookingRecord]) -> dict[str, Any]:
    from receiver.clock import to_iso

    event = step.record
    changes = [change.name for change in step.changes]
    linked = [link for link in rebookings if _LINKED[link.name] in changes]
    return {
        "seq": event.seq,
        "event_id": event.event_id,
        "source": found.source,
        "event_type": event.event_type,
        "calendar_event_uuid": found.uuid,
        "calendar_event_id": found.number,
        "occurred_at": to_iso(event.occurred_at_ms),
        "received_at": to_iso(event.received_at_ms),
        "origin": event.origin,
        "verdict": event.verdict,
        "changes": changes,
        "change_details": [change_object(change) for change in step.changes],
        "inferred": [
            {"name": link.name, "calendar_event_uuid": link.uuid, "calendar_event_id": link.number}
            for link in linked
        ],
    }


def _lines(found: CalendarEventRecord, steps: list[Step], rebookings: list[RebookingRecord]) -> Iterator[str]:
    state = steps[-1].state if steps else None
    title = state.get("title") if state else None
    names = " ".join(str(name) for name in (found.uuid, found.number) if name is not None)
    yield click.style(one_line(f"{title or 'Calendar event'}  {names}"), bold=True)
    for step in steps:
        record = _record(found, step, rebookings)
        judged = "" if step.record.verdict in (None, "fresh", "same") else f"  {step.record.verdict}"
        came = "" if step.record.origin == "webhook" else f"  by {step.record.origin}"
        time = short_time(record["occurred_at"]) or f"received {short_time(record['received_at'])}"
        yield one_line(
            f"{time}  {step.record.event_type or 'unknown'}{judged}{came}  event {step.record.seq}"
        )
        for change in step.changes:
            yield from (f"    {one_line(line)}" for line in change_lines(change))
        for link in record["inferred"]:
            other = link["calendar_event_uuid"] or link["calendar_event_id"]
            yield one_line(f"    {link['name']} {other} (inferred: the same customer)")
    yield ""
