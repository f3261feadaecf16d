"""Sends events on to other services, as they came or as CloudEvents, signed if there is a secret.

It requests by itself instead of staging for the outbox, so that every attempt is signed at its own time:
receivers refuse a signature that is five minutes old, and retries go on for hours. The rule easiest to
break: the bytes that are signed are the bytes that are sent, and the id stays the same at every attempt.

https://www.standardwebhooks.com
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field, SecretStr

from receiver import AnyEvent, Context, Settings, on

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST_SECONDS: Final = 20
"""For one address; below the time for the whole call, so that a slow one is told from a slow handler."""
LEAST_KEY_BYTES: Final = 16


def _web_address(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("https://", "http://")):
        raise ValueError("expected an address such as https://example.com/hook")
    return url


def _signing_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    try:
        size = len(_key(text))
    except (binascii.Error, UnicodeEncodeError):
        size = 0
    if not text.startswith("whsec_") or size < LEAST_KEY_BYTES:
        raise ValueError(f"expected whsec_ and the base64 of at least {LEAST_KEY_BYTES} bytes")
    return secret


class Forward(Settings):
    """The table `[handlers.forward]`."""

    urls: list[Annotated[SecretStr, AfterValidator(_web_address)]] = Field(min_length=1)
    """Where to send. An address may hold a token, so none is ever shown."""
    format: Literal["event", "cloudevents"] = "event"
    """The vendor's JSON, or CloudEvents 1.0 around it, in structured mode."""
    secret: Annotated[SecretStr, AfterValidator(_signing_secret)] | None = None
    """Signs each request in the way of Standard Webhooks."""
    events: tuple[str, ...] = ("*",)
    """Only events whose type one of these matches: `calendar.*`."""


@on(AnyEvent)
async def forward(event: AnyEvent, ctx: Context[Forward]) -> None:
    """Post the event to every address. If one fails, all are asked again, with the same `webhook-id`."""
    settings = ctx.settings
    if not any(fnmatchcase(event.event_type or "", glob) for glob in settings.events):
        return
    kind, content = _content(event, settings.format)
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")
    headers = {"Content-Type": kind, **_identity(ctx.idempotency_key, body, settings.secret)}
    posts = (_post(ctx, url.get_secret_value(), body, headers) for url in settings.urls)
    results = await asyncio.gather(*posts, return_exceptions=True)
    _raise_worst([result for result in results if isinstance(result, BaseException)], of=len(results))


async def _post(ctx: Context[Forward], url: str, body: bytes, headers: dict[str, str]) -> None:
    (await ctx.http.post(url, data=body, headers=headers, timeout=REQUEST_SECONDS)).raise_for_status()


def _raise_worst(failures: Sequence[BaseException], *, of: int) -> None:
    """Raise the failure that asks for the longest wait, with a note about the others."""
    if not failures:
        return
    worst = max(failures, key=lambda failure: getattr(failure, "retry_after", None) or 0)
    if len(failures) > 1:
        worst.add_note("\n".join([f"{len(failures)} of {of} addresses failed:", *map(str, failures)]))
    raise worst


def _content(event: AnyEvent, form: str) -> tuple[str, Any]:
    """The content type and what to send."""
    if form == "event":
        return "application/json", event.raw
    subject = _subject(event)
    envelope = {
        "specversion": "1.0",
        "id": event.event_id,
        "source": f"/sources/{quote(event.source, safe='')}",
        "type": "ai.klen." + (_printable(event.event_type or "") or "unknown"),
        **({"subject": subject} if subject else {}),
        **({"time": event.timestamp.isoformat()} if event.timestamp else {}),
        "datacontenttype": "application/json",
        "data": event.raw,
    }
    return "application/cloudevents+json; charset=utf-8", envelope


def _subject(event: AnyEvent) -> str:
    """What the event is about: the vendor's uuid or id of the appointment or call, empty if unknown."""
    about = getattr(event, "calendar_event", None) or getattr(event, "call", None)
    ids = (getattr(about, name, None) for name in ("uuid", "id"))
    return next((_printable(str(value)) for value in ids if isinstance(value, (str, int))), "")


def _printable(text: str) -> str:
    """The text without what CloudEvents forbid in an attribute: control characters and lone surrogates."""
    return "".join(character for character in text if character.isprintable())


def _identity(message_id: str, body: bytes, secret: SecretStr | None) -> dict[str, str]:
    """The headers by which receivers recognise a repeated request and, with a secret, who sent it."""
    timestamp = str(int(time.time()))
    headers = {"Idempotency-Key": message_id, "webhook-id": message_id, "webhook-timestamp": timestamp}
    if secret is not None:
        signed = f"{message_id}.{timestamp}.".encode() + body
        digest = hmac.digest(_key(secret.get_secret_value()), signed, hashlib.sha256)
        headers["webhook-signature"] = "v1," + base64.b64encode(digest).decode("ascii")
    return headers


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_").encode("ascii"), validate=True)
