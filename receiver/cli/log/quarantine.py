"""`klenhook log quarantine`: signed bodies that could not be read, and the way back for them."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.common import (
    ask,
    change,
    config_option,
    fail,
    json_option,
    printable,
    say,
    write_json,
    write_table,
)
from receiver.cli.log.filters import limit_option
from receiver.cli.log.filters import number as in_range
from receiver.cli.log.records import short_time

if TYPE_CHECKING:
    from receiver.config import Config
    from storage.reader import EventReader
    from storage.records import Appended, QuarantineRecord, Refused


@click.group(invoke_without_command=True)
@limit_option(50, "50")
@json_option
@config_option
@click.pass_context
def quarantine(ctx: click.Context, config_path: str | None, *, as_json: bool, limit: int) -> None:
    """List bodies that were signed but are not JSON, newest first. They were answered with 400.

    \b
    Example:
      klenhook log quarantine
      klenhook log quarantine show 3 > body.bin
      klenhook log quarantine release 3
    """
    if ctx.invoked_subcommand is not None:
        # --config may stand before or after the subcommand's name.
        ctx.default_map = {name: {"config_path": config_path} for name in ("show", "release")}
        return
    records = ask(config_path, lambda log: log.quarantined(limit=limit))
    if as_json:
        for record in records:
            write_json(asdict(record))
    elif records:
        columns = ("id", "received (UTC)", "source", "bytes", "state", "reason")
        write_table(None, columns, [_row(record) for record in records])
    if not records:
        say("Quarantine is empty.")


def _row(record: QuarantineRecord) -> tuple[str, ...]:
    received = short_time(record.received_at)
    return str(record.id), received, record.source, str(record.size), record.state, record.reason


@quarantine.command()
@click.argument("number", type=int, callback=in_range, metavar="ID")
@json_option
@config_option
def show(number: int, config_path: str | None, *, as_json: bool) -> None:
    """Write one body as it came; on a terminal with its control characters made visible.

    \b
    Example:
      klenhook log quarantine show 3 > body.bin
      klenhook log quarantine show 3 --json
    """
    record, refused = ask(config_path, lambda log: _find(log, number))
    if as_json:
        write_json(_to_object(record, refused))
    elif sys.stdout.isatty():
        click.echo(printable(refused.body.decode("utf-8", "backslashreplace")))
    else:
        click.echo(refused.body, nl=False)


def _to_object(record: QuarantineRecord, refused: Refused) -> dict[str, Any]:
    try:
        body = {"body": refused.body.decode()}
    except UnicodeDecodeError:
        body = {"body_base64": base64.b64encode(refused.body).decode("ascii")}
    return {
        **asdict(record),
        "headers": json.loads(refused.headers),
        "secret_fingerprint": refused.secret_fingerprint,
        **body,
    }


@quarantine.command()
@click.argument("number", type=int, callback=in_range, metavar="ID")
@config_option
def release(number: int, config_path: str | None) -> None:
    """Read one body again and, if it is JSON now, record it as an event, received when it was received.

    The running service does it; without one, this command does, and handlers get the event when the service
    starts.

    \b
    Example:
      klenhook log quarantine release 3
    """
    from receiver.cli.running import post
    from receiver.quarantine import release as let_in
    from storage.records import Appended

    async def there(config: Config) -> Appended:
        answer = await post(config, f"/quarantine/{number}/release", {})
        return Appended(str(answer["event_id"]), duplicate=answer["status"] == "duplicate")

    ask(config_path, lambda log: _find(log, number))  # before a log is made where there is none
    appended = change(config_path, lambda log: let_in(log, number), there=there)
    if appended.duplicate:
        say(f"The log has it already, as event {appended.event_id}; {number} is marked as released.")
    else:
        say(f"Released {number} as event {appended.event_id}.")


async def _find(log: EventReader, number: int) -> tuple[QuarantineRecord, Refused]:
    refused = await log.quarantined_body(number)
    records = [record for record in await log.quarantined(limit=0) if record.id == number]
    if refused is None or not records:
        raise fail(f"Quarantine has no body {number}. `klenhook log quarantine` lists what it has.")
    return records[0], refused
