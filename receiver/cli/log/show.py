"""`klenhook log show`: one event whole.

The rule easiest to break: bodies and errors are shown as they are in JSON, and made harmless for people.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from receiver.cli.common import ask, config_option, fail, json_option, one_line, printable, utf8, write_json
from receiver.cli.durations import duration
from receiver.cli.log.filters import MOST, selection
from receiver.cli.log.records import short_time, to_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from receiver.changes import Change
    from storage.calendar import ChangeRecord
    from storage.reader import EventReader
    from storage.records import EventDetail, MessageRecord, RunRecord


@click.command()
@click.argument("event_id", callback=utf8)
@json_option
@config_option
def show(event_id: str, config_path: str | None, *, as_json: bool) -> None:
    """Print one event whole: headers, body, deliveries, what routing found, runs and their attempts.

    The first letters of EVENT_ID are enough, if no other event's id begins with them; its seq does too.

    \b
    Example:
      klenhook log show 34
      klenhook log show 0196a1f2-7c40-7d3e-9a51-5f0e6c2b8d17
      klenhook log show 0196a1f2-7c40-7d3 --json
    """
    detail = ask(config_path, lambda log: _find(log, event_id))
    if as_json:
        write_json(to_object(detail))
    else:
        click.echo("\n".join(_lines(detail)))


async def _find(log: EventReader, event_id: str) -> EventDetail:
    """The one event whose id begins so, else the one of this seq."""
    ids = await log.find(event_id) or await _with_seq(log, event_id)
    detail = await log.get(ids[0]) if len(ids) == 1 else None
    if detail is not None:
        return detail
    wanted = one_line(event_id)
    if not ids:
        raise fail(f"No event has the id or seq '{wanted}'. `klenhook log list` shows them.")
    raise fail(f"More than one event has an id that begins with '{wanted}', such as:\n  " + "\n  ".join(ids))


async def _with_seq(log: EventReader, text: str) -> list[str]:
    """The id of the event with this seq. No id looks like one: those begin with 0 for centuries to come."""
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= MOST):
        return []
    events = await log.page(selection(after_seq=int(text[:20]) - 1, limit=1))
    return [event.event_id for event in events if str(event.seq) == text]


def to_object(detail: EventDetail) -> dict[str, Any]:
    """Everything in one object: a record, with its deliveries and runs in full."""
    event = detail.record
    return {
        **to_record(event),
        "title": event.title,
        "status": event.status,
        "start_time": event.start_time,
        "end_time": event.end_time,
        "flags": list(event.flags),
        "headers": dict(detail.headers),
        "body_sha256": detail.body_sha256,
        "secret_fingerprint": detail.secret_fingerprint,
        "body": _read(detail.body),
        "change_details": [change_object(change) for change in detail.changes],
        "deliveries": [asdict(delivery) for delivery in detail.deliveries],
        "runs": [asdict(run) for run in detail.runs],
        "messages": [asdict(message) for message in detail.messages],
    }


def _read(body: bytes) -> Any:
    """The body as JSON. Numbers that no computer has are text; so is a body that is not JSON."""
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text, parse_float=_number, parse_int=_number)
    except (ValueError, RecursionError):
        return text


def _number(digits: str) -> int | float | str:
    try:
        number = float(digits) if any(c in digits for c in ".eE") else int(digits)
    except ValueError:  # Python reads no more than 4300 digits
        return digits
    return number if math.isfinite(number) else digits


def _lines(detail: EventDetail) -> Iterator[str]:
    yield from _facts(detail)
    yield from _section("changes", [line for change in detail.changes for line in change_lines(change)])
    yield from _section("headers", [f"{name}: {value}" for name, value in detail.headers.items()])
    body = _read(detail.body)
    text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
    yield from _section(f"body, {len(detail.body)} bytes, SHA-256 {detail.body_sha256}", text.split("\n"))
    yield from _section(
        "deliveries",
        [
            f"{short_time(one.received_at)}  {one.outcome:<9}  {one.delivery_id or 'no delivery id'}"
            for one in detail.deliveries
        ],
    )
    yield from _section("runs", [line for run in detail.runs for line in _run(run)])
    yield from _section("messages", [line for message in detail.messages for line in _message(message)])


def _facts(detail: EventDetail) -> Iterator[str]:
    event = detail.record
    facts = {
        "event": event.event_id,
        "seq": str(event.seq),
        "type": event.event_type,
        "source": event.source,
        "origin": event.origin,
        "received": event.received_at,
        "occurred": event.occurred_at,
        "calendar event": " ".join(
            str(name) for name in (event.calendar_event_uuid, event.calendar_event_id) if name is not None
        ),
        "title": event.title,
        "status": event.status,
        "start": event.start_time,
        "end": event.end_time,
        "verdict": event.verdict,
        "flags": ", ".join(event.flags),
        "secret": detail.secret_fingerprint and f"fingerprint {detail.secret_fingerprint}",
    }
    for name, value in facts.items():
        if value:
            yield f"{name:<14}  {one_line(value)}"


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield ""
        yield click.style(title, bold=True)
        yield from (f"  {one_line(line)}" for line in lines)


def _run(run: RunRecord) -> Iterator[str]:
    due = f", due {short_time(run.due_at)}" if run.due_at else ""
    replay = f", replay {run.replay_id}" if run.replay_id is not None else ""
    yield f"{run.handler}: {run.state}{due}{replay}"
    for attempt in run.attempts:
        times = f"{short_time(attempt.started_at)} to {short_time(attempt.finished_at)}"
        code = f"  code {attempt.code_version}" if attempt.code_version else ""
        yield f"  attempt {attempt.attempt}  {times}  {attempt.outcome}{code}"
        for line in printable(attempt.error or "").splitlines():
            yield f"    {line}"


def change_object(change: Change | ChangeRecord) -> dict[str, Any]:
    """A change as JSON: its name, the fields before and after, and for other times by how many minutes."""
    found = {"name": change.name, "before": change.before, "after": change.after, "reason": change.reason}
    return found | ({"by_minutes": _minutes(change)} if change.name == "rescheduled" else {})


def _minutes(change: Change | ChangeRecord) -> float | None:
    """How much later it begins."""
    from receiver import reading

    before, after = (reading.instant(fields.get("start_time")) for fields in (change.before, change.after))
    return (after - before).total_seconds() / 60 if before and after else None


def change_lines(change: Change | ChangeRecord) -> Iterator[str]:
    """A change in words: its name, and each field before and after."""
    minutes = _minutes(change) if change.name == "rescheduled" else None
    by = (
        ""
        if minutes is None
        else f", {duration(abs(minutes) * 60_000)} {'later' if minutes >= 0 else 'earlier'}"
    )
    yield change.name + by + (f": {change.reason}" if change.reason else "")
    for path in change.after:
        before, after = (_shown(values.get(path)) for values in (change.before, change.after))
        yield f"  {path}: {before} -> {after}"


def _by(minutes: float | None) -> str:
    if not minutes:  # unknown, or only the end is another one
        return ""
    return f", {duration(abs(minutes) * 60_000)} {'later' if minutes > 0 else 'earlier'}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _message(message: MessageRecord) -> Iterator[str]:
    due = f", due {short_time(message.due_at)}" if message.due_at else ""
    answer = "" if message.status is None else f", answered {message.status}"
    attempts = "1 attempt" if message.attempts == 1 else f"{message.attempts} attempts"
    yield f"{message.handler}: {message.state}{due}, {attempts}{answer}  {without_query(message.url)}"
    for line in printable(message.error or "").splitlines():
        yield f"    {line}"


def without_query(url: str) -> str:
    """Scheme, host and path: what is behind them may be a token, and so may be what is before the host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
