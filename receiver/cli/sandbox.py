"""`klenhook sandbox`: a local Klen to try everything with, until it is told to stop.

The rule easiest to break: its keys are published, so it listens on loopback unless that is asked for plainly.
"""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import config_option, load

if TYPE_CHECKING:
    from receiver.sandbox import APIKey, Sandbox

WEBHOOKS: Final = ("created", "updated", "cancelled", "completed", "reminder")


@click.group(invoke_without_command=True)
@click.option("--listen", default="127.0.0.1:8090", show_default=True, help="Port 0 takes a free one.")
@click.option("--allow-remote", is_flag=True, help="Let other machines in, though everybody knows the keys.")
@click.option(
    "--speed",
    type=click.FloatRange(0, 1_000_000),
    default=1,
    help="Sandbox seconds in a second, for retries, reminders, completions and limits.  [default: 1]",
)
@click.option("--seed", type=int, help="Same seed, same ids and secrets.  [default: drawn]")
@click.option("--webhook", "urls", multiple=True, metavar="URL", help="Register it for all events.")
@click.option("--connect", is_flag=True, help="Register the service of the configuration, with its secret.")
@click.option("--key", "keys", multiple=True, metavar="NAME=PERMISSIONS", help="One more API key.")
@click.option("--requests-per-minute", type=click.IntRange(1), default=60, show_default=True)
@click.option("--creations-per-day", type=click.IntRange(1), default=50, show_default=True)
@config_option
@click.pass_context
def sandbox(ctx: click.Context, /, **options: Any) -> None:
    """Run a local Klen: its Calendar API and its webhooks, as its documentation describes them.

    It has an AI agent 42 and a team 5, and keeps everything in memory.

    PERMISSIONS are can_read_calendar and can_write_calendar, with a comma between. Limits are for each key.

    Exit status: 0 it was stopped, 1 it cannot listen.

    \b
    Example:
      klenhook sandbox --connect
      klenhook sandbox --speed 60 --webhook http://127.0.0.1:8080/webhooks/klen
      klenhook sandbox --key klen_guest=can_read_calendar
    """
    if ctx.invoked_subcommand is None:
        asyncio.run(_run(_built(options), _webhooks(options)))


def _built(options: dict[str, Any]) -> Sandbox:
    from receiver.config.values import parse_address
    from receiver.sandbox import Sandbox, SandboxClock

    try:
        address = parse_address(options["listen"])
    except ValueError as error:
        raise click.UsageError(f"--listen: {error}.") from None
    if not address.is_loopback and not options["allow_remote"]:
        raise click.UsageError(
            f"--listen: {address} can be reached from other machines, and everybody knows the sandbox's "
            "keys. Listen on 127.0.0.1, or say --allow-remote."
        )
    return Sandbox(
        host=address.host,
        port=address.port,
        clock=SandboxClock(speed=options["speed"]),
        seed=options["seed"],
        keys=_keys(options),
    )


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
    return found


async def _run(running: Sandbox, webhooks: list[tuple[str, str | None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with running:
        click.echo(_introduction(running, webhooks))
        await stop.wait()


def _introduction(running: Sandbox, webhooks: list[tuple[str, str | None]]) -> str:
    lines = [
        f"A local Klen listens at {running.url}",
        "",
        f"  api_url  {running.api_url}",
        *(
            f"  key      {key.key}  {', '.join(sorted(key.permissions)) or 'may do nothing'}"
            for key in running.keys
        ),
        f"  seed     {running.seed}",
    ]
    for url, secret in webhooks:
        registered = running.register(url, secret=secret)
        shown = "the one in the configuration" if secret else registered.secret
        lines += [f"  webhook  {url}", f"  secret   {shown}"]
    return "\n".join([*lines, "", *_next(running, registered=bool(webhooks))])


def _next(running: Sandbox, *, registered: bool) -> list[str]:
    from datetime import timedelta

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
    if registered:
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
