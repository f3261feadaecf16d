"""`klenhook webhooks`: register this service at the vendor, list what is registered, delete.

The rule easiest to break: the secret is shown once, to the person who asked for it, and only if it could not
be put where it belongs.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

from receiver.cli.common import (
    PipeGroup,
    config_option,
    confirm,
    fail,
    json_option,
    one_line,
    say,
    write_json,
    write_table,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from receiver.config import Config
    from receiver.klen import Klen, Webhook
    from receiver.klen.registering import Place

T = TypeVar("T")

source_option = click.option("--source", help="The source in the configuration, if there are several.")


@click.group(cls=PipeGroup)
def webhooks() -> None:
    """See and change what is registered at Klen. Needs `api_key` of the source.

    \b
    Example:
      klenhook webhooks list
    """


@webhooks.command()
@click.option("--url", required=True, help="Where Klen reaches this service, path and all.")
@click.option(
    "--event", "events", multiple=True, help="Subscribe to this one; default: the five of the calendar."
)
@click.option("--name", default="klenhook", show_default=True, help="What it is called in Klen's dashboard.")
@click.option(
    "--create-path", help="Where Klen makes them, instead of the configuration's webhook_create_path."
)
@click.option(
    "--again", is_flag=True, help="Also if one with this URL is there; every event comes twice then."
)
@source_option
@json_option
@config_option
def register(
    config_path: str | None,
    source: str | None,
    url: str,
    events: tuple[str, ...],
    name: str,
    create_path: str | None,
    *,
    again: bool,
    as_json: bool,
) -> None:
    """Register this service, and keep the secret that Klen generates.

    The secret goes into the file that a `file:` in the source's `secrets` names, if there is none yet. Else
    the line to add is printed. It cannot be asked for again.

    \b
    Example:
      klenhook webhooks register --url https://hooks.example.com/webhooks/klen
    """
    from receiver.klen.registering import CALENDAR_EVENTS, load_without_secrets

    config, places = load_without_secrets(config_path)
    chosen = _chosen(config, source)
    _advise(url, config.sources[chosen].path)
    path = create_path or config.sources[chosen].webhook_create_path

    async def registering(klen: Klen) -> tuple[Webhook, str | None]:
        if not again:
            there = [webhook for webhook in await klen.webhooks.list() if webhook.url == url]
            if there:
                raise fail(
                    f"webhook {there[0].id} goes to this URL already. Delete it first, or use --again. "
                    "Nothing was changed."
                )
        return await klen.webhooks.create(name=name, url=url, events=events or CALENDAR_EVENTS, path=path)

    made, secret = _with_client(config, chosen, registering)
    stored = _keep(places[chosen], secret)
    if as_json:
        kept = {"secret_file": str(places[chosen].file)} if stored else {"secret": secret}
        write_json(_record(made) | {"url": url} | kept)
        return
    click.echo(f"Registered webhook {made.id} for {one_line(url)}.")
    _tell(chosen, places[chosen], secret, stored=stored)


def _advise(url: str, path: str) -> None:
    """What will probably not work.

    Raises:
        click.UsageError: it is no URL that anybody could send to.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not url.isprintable():
        raise click.UsageError(f"--url: expected one such as https://hooks.example.com{path}.")
    if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        say("Note: without https everybody on the way can read people's data. Klen recommends https, too.")
    if parts.path != path:
        say(f"Note: the path of this URL is not {path}, where the source listens. Let your proxy rewrite it.")


def _keep(place: Place, secret: str | None) -> bool:
    """Whether the secret is where it belongs now."""
    if secret is None or place.file is None:
        return False
    try:
        place.write(secret)
    except OSError as error:
        say(f"Cannot write {place.file}: {error.strerror}.")
        return False
    return True


def _tell(source: str, place: Place, secret: str | None, *, stored: bool) -> None:
    if stored:
        click.echo(f"Its secret is in {place.file}. Restart the service, or send it SIGHUP.")
    elif secret is None:
        say(
            "The answer has no secret. Copy it from Klen's dashboard, API > Webhooks, into the configuration."
        )
    elif place.variable is not None:
        click.echo("Its secret is shown this once. Set it where the service is started:\n")
        click.echo(f"export {place.variable}={json.dumps(one_line(secret))}")
    else:
        click.echo(f"Its secret is shown this once. Add it to those of [sources.{source}]:\n")
        click.echo(f"secrets = [{json.dumps(one_line(secret))}]")


@webhooks.command(name="list")
@source_option
@json_option
@config_option
def list_(config_path: str | None, source: str | None, *, as_json: bool) -> None:
    """Show what is registered at Klen.

    \b
    Example:
      klenhook webhooks list --json
    """
    from receiver.klen.registering import load_without_secrets

    config, _ = load_without_secrets(config_path)  # one may look before there is a secret
    found = _with_client(config, _chosen(config, source), lambda klen: klen.webhooks.list())
    if as_json:
        for webhook in found:
            write_json(_record(webhook))
    elif found:
        rows = [
            (f"{one.id}", one.name or "", one.url or "", ", ".join(one.subscribed_events)) for one in found
        ]
        write_table(None, ("id", "name", "url", "events"), rows, elastic=("events",))
    else:
        say("None is registered. `klenhook webhooks register --url URL` registers this service.")


@webhooks.command()
@click.argument("webhook_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@source_option
@config_option
def delete(config_path: str | None, source: str | None, webhook_id: str, *, yes: bool) -> None:
    """Delete a registered webhook. Klen sends nothing to its URL any more.

    \b
    Example:
      klenhook webhooks delete 5
    """
    from receiver.klen.registering import load_without_secrets

    config, _ = load_without_secrets(config_path)
    chosen = _chosen(config, source)
    found = _with_client(config, chosen, lambda klen: klen.webhooks.get(webhook_id))
    say(f"This deletes webhook {one_line(webhook_id)}, which goes to {one_line(str(found.url))}.")
    confirm("Go on?", yes=yes)
    _with_client(config, chosen, lambda klen: klen.webhooks.delete(webhook_id))
    click.echo(f"Deleted webhook {one_line(webhook_id)}.")


def _record(webhook: Webhook) -> dict[str, Any]:
    return webhook.model_dump(mode="json", include={"id", "name", "url", "subscribed_events"})


def _chosen(config: Config, source: str | None) -> str:
    """The source that is meant.

    Raises:
        click.UsageError: there is no such one, or none is named where there are several.
    """
    names = ", ".join(config.sources)
    if source is None and len(config.sources) > 1:
        raise click.UsageError(f"--source: expected one of {names}.")
    if source is not None and source not in config.sources:
        raise click.UsageError(f"--source: expected one of {names}, found {one_line(source)!r}.")
    return source or next(iter(config.sources))


def _with_client(config: Config, source: str, action: Callable[[Klen], Awaitable[T]]) -> T:
    """Do something at the vendor, as patiently as a person is."""
    from receiver.clock import SystemClock
    from receiver.klen import Accounts

    async def doing() -> T:
        async with Accounts(config.sources, SystemClock(), patience_seconds=120) as accounts:
            return await action(accounts.of(source))

    return asyncio.run(doing())
