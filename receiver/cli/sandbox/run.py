"""`klenhook sandbox`: a local Klen to try everything with, until it is told to stop.

The rule easiest to break: its keys are published, so it listens on loopback unless that is asked for plainly.
"""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import config_option, fail, load, printable

if TYPE_CHECKING:
    from datetime import datetime

    from receiver.sandbox import APIKey, Sandbox

CHANCE: Final = click.FloatRange(0, 1)
WEBHOOKS: Final = ("created", "updated", "cancelled", "completed", "reminder")


def _duration(_ctx: click.Context, _option: click.Parameter, text: str | None) -> timedelta:
    from receiver.sandbox.durations import parse_duration

    try:
        return parse_duration(text) if text else timedelta()
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


def _moment(_ctx: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    from receiver.clock import SystemClock, to_datetime
    from receiver.times import parse_time

    try:
        return to_datetime(parse_time(text, now_ms=SystemClock().now_ms())) if text else None
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{error}.") from None


@click.group(invoke_without_command=True)
@click.option("--listen", default="127.0.0.1:8090", show_default=True, help="Port 0 takes a free one.")
@click.option("--allow-remote", is_flag=True, help="Let other machines in, though everybody knows the keys.")
@click.option(
    "--speed",
    type=click.FloatRange(0, 100_000),
    default=1,
    help="Sandbox seconds in a second, for retries, reminders, completions and limits.  [default: 1]",
)
@click.option(
    "--start",
    callback=_moment,
    metavar="TIME",
    help="What its clock shows at first, such as 3h for 3 hours ago.",
)
@click.option("--seed", type=int, help="Same seed, same ids and secrets.  [default: drawn]")
@click.option("--webhook", "urls", multiple=True, metavar="URL", help="Register it for all events.")
@click.option("--connect", is_flag=True, help="Register the service of the configuration, with its secret.")
@click.option(
    "--db", type=click.Path(dir_okay=False), help="Keep everything in this file.  [default: memory]"
)
@click.option("--duplicate", type=CHANCE, default=0.0, help="Send a webhook twice at once.")
@click.option("--reorder", type=CHANCE, default=0.0, help="Hold it back until a later one was sent.")
@click.option("--drop", type=CHANCE, default=0.0, help="Never send it.")
@click.option("--bad-signature", type=CHANCE, default=0.0, help="Sign an attempt wrongly.")
@click.option("--unknown", type=CHANCE, default=0.0, help="Send one of an unknown kind after it.")
@click.option("--delay", callback=_duration, metavar="TIME", help="Send every webhook so much later.")
@click.option("--key", "keys", multiple=True, metavar="NAME=PERMISSIONS", help="One more API key.")
@click.option("--requests-per-minute", type=click.IntRange(1), default=60, show_default=True)
@click.option("--creations-per-day", type=click.IntRange(1), default=50, show_default=True)
@config_option
@click.pass_context
def sandbox(ctx: click.Context, /, **options: Any) -> None:
    """Run a local Klen: its Calendar API and its webhooks, as its documentation describes them.

    It has an AI agent 42 and a team 5. --duplicate, --reorder, --drop, --bad-signature and --unknown are
    chances from 0 to 1 that something goes wrong with a webhook; with the same --seed, the same goes wrong.

    PERMISSIONS are can_read_calendar and can_write_calendar, with a comma between. Limits are for each key.

    Exit status: 0 it was stopped, 1 it cannot listen.

    \b
    Example:
      klenhook sandbox --connect
      klenhook sandbox --speed 60 --webhook http://127.0.0.1:8080/webhooks/klen
      klenhook sandbox --connect --duplicate 0.1 --reorder 0.1 --drop 0.05 --delay 2s --seed 7
      klenhook sandbox --key klen_guest=can_read_calendar
    """
    if ctx.invoked_subcommand is None:
        asyncio.run(_run(_built(options), _webhooks(options)))


def _built(options: dict[str, Any]) -> Sandbox:
    from receiver.config.values import parse_address
    from receiver.sandbox import Faults, Sandbox, SandboxError

    try:
        address = parse_address(options["listen"])
    except ValueError as error:
        raise click.UsageError(f"--listen: {error}.") from None
    if not address.is_loopback and not options["allow_remote"]:
        raise click.UsageError(
            f"--listen: {address} can be reached from other machines, and everybody knows the sandbox's "
            "keys. Listen on 127.0.0.1, or say --allow-remote."
        )
    try:
        return Sandbox(
            host=address.host,
            port=address.port,
            speed=options["speed"],
            start=options["start"],
            seed=options["seed"],
            faults=Faults(
                **{
                    name: options[name]
                    for name in ("duplicate", "reorder", "drop", "bad_signature", "unknown")
                },
                delay=options["delay"],
            ),
            keys=_keys(options),
            db=Path(options["db"]) if options["db"] else None,
        )
    except SandboxError as error:
        raise fail(str(error)) from None


def _keys(options: dict[str, Any]) -> list[APIKey]:
    from dataclasses import replace

    from receiver.sandbox.errors import SandboxError
    from receiver.sandbox.keys import DEFAULT_KEYS, parse_key

    try:
        keys = [*DEFAULT_KEYS, *map(parse_key, options["keys"])]
    except SandboxError as error:
        raise click.UsageError(f"--key: {error}") from None
    limits = {name: options[name] for name in ("requests_per_minute", "creations_per_day")}
    return [replace(key, **limits) for key in keys]


def _webhooks(options: dict[str, Any]) -> list[tuple[str, str | None]]:
    """URLs to register, each with its secret if that is settled."""
    from receiver.sandbox.webhooks import is_http_url

    for url in options["urls"]:
        if not is_http_url(url):
            raise click.UsageError(f"--webhook: expected an http or https URL, found {url!r}.")
    found: list[tuple[str, str | None]] = [(url, None) for url in options["urls"]]
    if options["connect"]:
        from receiver.cli.send import target

        config = load(options["config_path"])
        found += [
            (target(config, source, None), source.secrets[0].get_secret_value())
            for source in config.sources.values()
            if source.signature == "klen"
        ]
        if len(found) == len(options["urls"]):
            raise click.UsageError("--connect: no source of the configuration signs as Klen does.")
    return found


async def _run(running: Sandbox, webhooks: list[tuple[str, str | None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with running:
        for url, secret in webhooks:
            known = [one for one in running.webhooks if one.url == url and secret in (None, one.secret)]
            if not known:
                running.register(url, secret=secret)
        click.echo(_introduction(running, {secret for _, secret in webhooks if secret}))
        await stop.wait()


def _introduction(running: Sandbox, configured: set[str]) -> str:
    keys = ((key.key, ", ".join(sorted(key.permissions)) or "may do nothing") for key in running.keys)
    lines = [
        f"A local Klen listens at {running.url}",
        "",
        f"  page     {running.url}/",
        f"  api_url  {running.api_url}",
        *(f"  key      {key}  {permissions}" for key, permissions in keys),
        f"  seed     {running.seed}",
    ]
    for webhook in running.webhooks:
        shown = "the one in the configuration" if webhook.secret in configured else webhook.secret
        lines += [f"  webhook  {webhook.id}: {printable(webhook.url)}", f"  secret   {shown}"]
    return "\n".join([*lines, "", *_next(running)])


def _next(running: Sandbox) -> list[str]:
    from receiver.sandbox.appointment import text_of

    start = running.clock.now().replace(minute=0, second=0, microsecond=0) + timedelta(days=1)
    header = "-H 'Authorization: Bearer klen_sandbox_full' -H 'Content-Type: application/json'"
    body = (
        f'{{"title": "Client Meeting", "start_time": "{text_of(start)}", '
        f'"end_time": "{text_of(start + timedelta(hours=1))}"}}'
    )
    book = [
        "Book an appointment:",
        f"  curl {running.api_url}/calendar/events/create {header} \\",
        f"    -d '{body}'",
    ]
    if list(running.webhooks):
        return book
    register = {
        "name": "klenhook",
        "url": "http://127.0.0.1:8080/webhooks/klen",
        "subscribed_events": [f"calendar.{what}" for what in WEBHOOKS],
    }
    return [
        "Tell it where to send webhooks; the answer has the secret:",
        f"  curl {running.url}/api/webhooks/create/ {header} \\",
        f"    -d '{json.dumps(register)}'",
        "",
        *book,
    ]
