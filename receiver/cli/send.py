"""`klenhook send`: one sample event to the running service, signed and sent as the vendor does it."""

from __future__ import annotations

import difflib
import json
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import click

from receiver.cli.common import config_option, fail, json_option, load, printable, say, write_json

if TYPE_CHECKING:
    from receiver.config import Config, Source


def _with_equals(_ctx: click.Context, _option: click.Parameter, found: tuple[str, ...]) -> tuple[str, ...]:
    for assignment in found:
        if "=" not in assignment:
            raise click.BadParameter(f"expected PATH=VALUE, such as customer.name=Ada, found {assignment!r}.")
    return found


@click.command()
@click.argument("event_type", required=False)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    callback=_with_equals,
    metavar="PATH=VALUE",
    help="Change a field of the appointment or call, or `timestamp`. JSON if it parses, else text.",
)
@click.option(
    "--file",
    "file",
    type=click.File("rb"),
    help="Send these bytes instead of a sample; `-` is standard input.",
)
@click.option("--delivery-id", help="The delivery's id; '' sends none.  [default: a new one]")
@click.option(
    "--url", help="Where to, if not to the configured address; without a path, the source's is added."
)
@click.option("--source", "source_name", help="Which `[sources.NAME]` to send as.  [default: the only one]")
@click.option("--bad-signature", is_flag=True, help="Sign another body: the service must refuse it.")
@config_option
@json_option
def send(
    event_type: str | None,
    assignments: tuple[str, ...],
    file: IO[bytes] | None,
    delivery_id: str | None,
    url: str | None,
    source_name: str | None,
    config_path: str | None,
    **flags: bool,
) -> None:
    """Sign one sample event, post it to the running service, and print the answer.

    EVENT_TYPE is one of the vendor's webhooks, such as calendar.created; with --file it may be any, or none.
    Each is a new event; sent twice with the same --delivery-id, the second one is a duplicate.

    Exit status: 0 the answer is a success (2xx), 1 it is not or there is none.

    \b
    Example:
      klenhook send calendar.created
      klenhook send calendar.updated --set customer.email=ada@example.com --set location=null
      klenhook send lead.scored --file body.json
      klenhook send calendar.cancelled --bad-signature
    """
    body = _body(event_type, assignments, file)
    config = load(config_path)
    source = chosen_source(config, source_name)
    if delivery_id is None:
        delivery_id = _new_delivery_id()
    from receiver.sender import delivery_headers, exchange

    goal = target(config, source, url)
    try:
        headers = delivery_headers(
            source.signature,
            source.secrets[0].get_secret_value(),
            body,
            now=time.time(),
            event_type=event_type or _type_of(body),
            delivery_id=delivery_id,
            header=source.signature_header or None,
            forged=flags["bad_signature"],
        )
    except ValueError as error:
        raise fail(f"This source cannot be sent to: {error}.") from None
    answer = exchange("POST", goal, body, headers)
    if flags["as_json"]:
        write_json(
            {"status": answer.status, "body": _parsed(answer.body), "url": goal, "delivery_id": delivery_id}
        )
    else:
        click.echo(printable(f"{answer.status} {answer.body}"))
    if not answer.is_success:
        say("The event was not accepted.")
        click.get_current_context().exit(1)


def _body(event_type: str | None, assignments: tuple[str, ...], file: IO[bytes] | None) -> bytes:
    if file is not None:
        if assignments:
            raise click.UsageError("--set changes a sample; the bytes of --file are sent as they are.")
        return file.read()
    if event_type is None:
        raise click.UsageError(f"Missing EVENT_TYPE, one of {_known_types()}.")
    return _sample(event_type, assignments)


def _sample(event_type: str, assignments: tuple[str, ...]) -> bytes:
    from datetime import UTC, datetime

    from receiver.samples import SAMPLE_TYPES, assign, sample_event, to_body

    if event_type not in SAMPLE_TYPES:
        nearest = difflib.get_close_matches(event_type, SAMPLE_TYPES, n=1)
        advice = f"Did you mean {nearest[0]}? " if nearest else ""
        raise click.UsageError(
            f"There is no sample of {event_type!r}. {advice}There are {_known_types()}. "
            "Any other type can be sent with --file."
        )
    event = sample_event(event_type, timestamp=datetime.now(UTC))
    try:
        for assignment in assignments:
            path, _, text = assignment.partition("=")
            assign(event, path, _value(text))
        return to_body(event)
    except UnicodeEncodeError:
        raise click.UsageError("--set: expected text that UTF-8 can write.") from None
    except ValueError as error:
        raise click.UsageError(f"--set: {error}.") from None


def _value(text: str) -> object:
    """JSON if it is JSON, else the text: `null`, `true`, `[1]` are values, `+15551234567`, `NaN` are text."""

    def refuse(_: str) -> None:
        raise ValueError

    try:
        value: object = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return text
    return value


def chosen_source(config: Config, name: str | None) -> Source:
    """The source of this name, or the only one.

    Raises:
        click.UsageError: there is none of this name, or no name and several.
    """
    names = ", ".join(config.sources)
    if name is None and len(config.sources) > 1:
        raise click.UsageError(f"There are several sources; say which with --source: {names}.")
    source = next(iter(config.sources.values())) if name is None else config.sources.get(name)
    if source is None:
        raise click.UsageError(f"--source: there is no source {name!r}; there are {names}.")
    return source


def target(config: Config, source: Source, url: str | None) -> str:
    """The URL of a source: at `url`, or where the configuration says that the service listens."""
    if url is not None:
        scheme, _, rest = url.rstrip("/").partition("://")
        return url if "/" in rest or "?" in rest else f"{scheme}://{rest}{source.path}"
    listen = config.server.listen
    if listen.port == 0:
        raise click.UsageError("server.listen has port 0, so the service chose one; give it with --url.")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)  # noqa: S104 -- compared, not bound
    return f"http://{listen._replace(host=host)}{source.path}"


def _type_of(body: bytes) -> str | None:
    """What the vendor would write into its event header, if the body says so in plain ASCII."""
    with suppress(ValueError, RecursionError, TypeError, KeyError):
        found = json.loads(body)["event_type"]
        return found if isinstance(found, str) and found.isascii() and found.isprintable() else None
    return None


def _new_delivery_id() -> str:
    from uuid import uuid4

    return str(uuid4())


def _known_types() -> str:
    from receiver.samples import SAMPLE_TYPES

    return ", ".join(SAMPLE_TYPES)


def _parsed(text: str) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text
