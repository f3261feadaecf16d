"""Commands for a sandbox that is running: what nobody can ask of the real vendor.

The rule easiest to break: they go to the sandbox's own addresses under `/sandbox/`, which the real vendor
does not have, so none of them can do anything to a real account.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import config_option, fail, json_option, load, printable, write_json, write_table

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT: Final = "http://127.0.0.1:8090"
LONGEST_ANSWER: Final = 268_435_456
"""Bytes: a hundred thousand deliveries with all their attempts."""


def _at_option(command: Callable[..., None]) -> Callable[..., None]:
    at = click.option("--at", help=f"The sandbox.  [default: api_url of the configuration, else {DEFAULT}]")
    return at(config_option(command))


@click.command(epilog="Example: klenhook sandbox outage 40m")
@click.argument("span", metavar="TIME")
@_at_option
def outage(span: str, at: str | None, config_path: str | None) -> None:
    """Let no webhook reach its endpoint for TIME, such as 40m.

    The time is the sandbox's. After 36 minutes the vendor has stopped trying: what was sent first in the
    beginning of a longer outage is lost. The API answers all the while.
    """
    said = _ask(at, config_path, "outage", {"for": span})
    click.echo(f"No webhook arrives until {said['outage_until']} by the sandbox's clock.")


@click.command(epilog="Example: klenhook sandbox jump 2h")
@click.argument("span", metavar="TIME")
@_at_option
def jump(span: str, at: str | None, config_path: str | None) -> None:
    """Let TIME pass in the sandbox at once, with the reminders, completions and retries of that time."""
    said = _ask(at, config_path, "jump", {"for": span})
    click.echo(f"In the sandbox it is {said['now']}.")


@click.command(epilog="Example: klenhook sandbox burst 100 --changes 2")
@click.argument("count", type=click.IntRange(1, 100_000))
@click.option("--changes", type=click.IntRange(0, 100), default=0, help="Then change each so often.")
@_at_option
def burst(count: int, changes: int, at: str | None, config_path: str | None) -> None:
    """Book COUNT made-up appointments at once, past the limits of the API."""
    said = _ask(at, config_path, "burst", {"count": count, "changes": changes})
    click.echo(f"Booked {said['booked']} appointments.")


@click.command(epilog="Example: klenhook sandbox rotate 1")
@click.argument("webhook_id", type=int)
@_at_option
def rotate(webhook_id: int, at: str | None, config_path: str | None) -> None:
    """Give the webhook of this number another secret, and print it.

    Everything is signed with it at once, retries too: until the service has it, it refuses them.
    """
    said = _ask(at, config_path, "rotate", {"webhook_id": webhook_id})
    click.echo(said["secret"])


@click.command(epilog="Example: klenhook sandbox deliveries --json")
@click.option("--limit", type=click.IntRange(0), default=50, show_default=True, help="0 is all.")
@json_option
@_at_option
def deliveries(limit: int, at: str | None, config_path: str | None, *, as_json: bool) -> None:
    """List what the sandbox has sent, or tried to send, with the answers; the newest last."""
    found = _ask(at, config_path, f"deliveries?limit={limit}")["deliveries"]
    if as_json:
        for one in found:
            write_json(one)
        return
    write_table(
        None,
        ("no.", "happened at", "event", "state", "attempts", "last answer"),
        [
            (
                str(one["number"]),
                one["created_at"],
                one["event_type"],
                one["state"],
                str(len(one["attempts"])),
                _last_answer(one["attempts"]),
            )
            for one in found
        ],
    )


def _last_answer(attempts: list[dict[str, Any]]) -> str:
    if not attempts:
        return ""
    last = attempts[-1]
    said = " ".join(str(part) for part in (last["status"], last["note"]) if part)
    return f"{said} ({last['fault']})" if last["fault"] else said


def _ask(at: str | None, config_path: str | None, what: str, body: dict[str, Any] | None = None) -> Any:
    """What the sandbox says; without a body it is a question only."""
    from receiver.sender import NoAnswerError, exchange

    url = f"{_base(at, config_path)}/sandbox/{what}"
    sent = b"" if body is None else json.dumps(body).encode()
    try:
        answer = exchange("GET" if body is None else "POST", url, sent, seconds=600, longest=LONGEST_ANSWER)
    except NoAnswerError:
        raise fail(
            f"No sandbox answers at {printable(url)}. `klenhook sandbox` starts one; --at says where it is."
        ) from None
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = None
    if not isinstance(said, dict) or not answer.is_success:
        message = said.get("message") if isinstance(said, dict) else None
        raise fail(printable(f"{message or f'What answers at {url} is no sandbox: {answer.status}.'}"))
    return said


def _base(at: str | None, config_path: str | None) -> str:
    if at:
        return at.rstrip("/")
    from receiver.config.models import VENDOR_API_URL
    from receiver.errors import ConfigError

    try:
        sources = load(config_path).sources.values()
    except ConfigError:
        if config_path is not None:
            raise
        return DEFAULT
    urls = [source.api_url for source in sources if source.signature == "klen"]
    return next((url.removesuffix("/api/v1") for url in urls if url != VENDOR_API_URL), DEFAULT)
