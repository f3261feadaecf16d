"""`klenhook log agenda`: what is booked on a day, as is known now or as was known at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import ask, config_option, json_option, one_line, say, write_json, write_table
from receiver.cli.log.filters import moment

if TYPE_CHECKING:
    from storage.calendar import CalendarEventRecord
    from storage.reader import EventReader

DAY: Final = timedelta(days=1)
MOST_DAYS: Final = 366
COLUMNS: Final = ("time (UTC)", "calendar", "title", "status", "customer", "where")
STYLES: Final = {"cancelled": "red", "no_show": "red", "completed": "green", "scheduled": "yellow"}


def _day(ctx: click.Context, param: click.Parameter, value: str) -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    near = {"today": today, "tomorrow": today + DAY, "yesterday": today - DAY}
    if value.lower() in near:
        return near[value.lower()]
    try:
        found = datetime.strptime(value, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise click.BadParameter(
            f"expected a day such as 2025-05-01, today or tomorrow, found {one_line(value[:50])!r}.",
            ctx,
            param,
        ) from None
    return found


@click.command()
@click.argument("day", callback=_day, default="today")
@click.option(
    "--days",
    type=click.IntRange(1, MOST_DAYS),
    default=1,
    show_default=True,
    metavar="N",
    help="This many days from DAY on.",
)
@click.option(
    "--as-of",
    "as_of_ms",
    callback=moment,
    metavar="TIME",
    help="As was known then, by the events received until then.  [default: now]",
)
@click.option("--all", "everything", is_flag=True, help="Also what is cancelled.")
@json_option
@config_option
def agenda(
    config_path: str | None,
    *,
    day: datetime,
    days: int,
    as_of_ms: int | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Print what is booked on a day, today if none is given. Days and times are in UTC.

    What began before and is not over yet is in it; what is cancelled is not, unless --all.

    \b
    Example:
      klenhook log agenda
      klenhook log agenda 2025-05-01 --days 7
      klenhook log agenda tomorrow --as-of 2d --json
    """
    end = min(day, datetime.max.replace(tzinfo=UTC) - days * DAY) + days * DAY
    found = ask(config_path, lambda log: _booked(log, day, end, as_of_ms))
    booked = [one for one in found if everything or one["status"] != "cancelled"]
    if as_json:
        for one in booked:
            write_json(one)
    elif booked:
        rows = [_row(one, dated=days > 1) for one in booked]
        write_table(None, COLUMNS, rows, elastic=("title", "customer", "where"))
    if not booked:
        say("Nothing is booked." if as_of_ms is None else "Nothing was booked, as far as was known then.")


async def _booked(
    log: EventReader, start: datetime, end: datetime, as_of_ms: int | None
) -> list[dict[str, Any]]:
    from receiver.reading import milliseconds

    span = milliseconds(start), milliseconds(end)
    records = []
    for known in await log.agenda(*span, moved_since_ms=as_of_ms):
        about = await _known(log, known, as_of_ms)
        record = None if about is None else _record(known, about)
        if record is not None and _is_in(record, *span):
            records.append(record)
    return sorted(records, key=lambda record: record["start_time"])


async def _known(log: EventReader, known: CalendarEventRecord, as_of_ms: int | None) -> dict[str, Any] | None:
    """The calendar event as it is, or was known then."""
    from receiver.history import state_at

    if as_of_ms is None:
        found: dict[str, Any] = json.loads(known.calendar_event or "{}")
        return found
    state = state_at(await log.history(known.subject), time_ms=as_of_ms)
    return None if state is None else state.calendar_event()


def _record(known: CalendarEventRecord, about: dict[str, Any]) -> dict[str, Any]:
    from receiver.clock import to_iso
    from receiver.reading import instant, milliseconds

    customer = about.get("customer")
    parts = customer if isinstance(customer, dict) else {}
    times = {name: instant(about.get(name)) for name in ("start_time", "end_time")}
    return {
        "source": known.source,
        "calendar_event_uuid": known.uuid,
        "calendar_event_id": known.number,
        **{name: None if at is None else to_iso(milliseconds(at)) for name, at in times.items()},
        **{name: about.get(name) for name in ("title", "status")},
        "kind": about.get("event_type"),
        **{name: about.get(name) for name in ("location", "video_conference_url")},
        "customer": {name: parts.get(name) for name in ("name", "email", "phone")},
    }


def _is_in(record: dict[str, Any], start_ms: int, end_ms: int) -> bool:
    """Whether it is under way in the span; times of the log compare as text."""
    from receiver.clock import to_iso

    first, last = to_iso(start_ms) or "", to_iso(end_ms) or ""
    begins, ends = record["start_time"] or last, record["end_time"] or ""
    return begins < last and (begins >= first or ends > first)


def _row(record: dict[str, Any], *, dated: bool) -> tuple[Any, ...]:
    begins, ends = (str(record[name] or "")[:16].replace("T", " ") for name in ("start_time", "end_time"))
    if ends[:10] == begins[:10]:
        ends = ends[11:]
    if not dated:
        begins = begins[11:]
    status = str(record["status"] or "")
    where = record["location"] or record["video_conference_url"]
    customer = record["customer"]
    return (
        f"{begins}-{ends}" if ends else begins,
        str(record["calendar_event_id"] or "") or str(record["calendar_event_uuid"] or "")[:8],
        str(record["title"] or ""),
        [(status, STYLES.get(status, ""))],
        str(customer["name"] or customer["email"] or customer["phone"] or ""),
        str(where or ""),
    )
