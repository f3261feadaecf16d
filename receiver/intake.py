"""From a verified request to the row that is stored. Pure: bytes and text in, a record out.

A body that is JSON is always an event, whatever it says. The rule easiest to break: the signature covers
the body alone, so nothing in a header may decide what an event is or whether it is new; a header that
disagrees with the body only earns it a flag.
"""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2b, sha256
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from receiver.columns import columns
from receiver.errors import InvalidJSON
from receiver.jsonbody import JSON, canonical, parse_json
from receiver.parts import in_parts
from storage.records import NewEvent, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.columns import Columns

DELIVERY_ID_HEADERS: Final = {
    "klen": "X-Klen-Delivery-ID",
    "github": "X-GitHub-Delivery",
    "standard-webhooks": "webhook-id",
    "shopify": "X-Shopify-Webhook-Id",
}
"""By signature style; the other styles have none."""

KEPT_HEADERS: Final = ("Content-Type", "User-Agent", "X-Klen-Event")
"""What is stored of a request's headers. Signatures, cookies and credentials never are."""

MOST_HEADER_CHARACTERS: Final = 200


class Delivery(NamedTuple):
    """One verified request."""

    source: str
    body: bytes
    received_at_ms: int
    secret_fingerprint: str | None
    delivery_id: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """The kept headers that were there, in the order of `KEPT_HEADERS`."""


_random = Random()  # noqa: S311 -- ids have to be unique, nobody has to guess them


def read_event(delivery: Delivery) -> NewEvent:
    """The row for a delivery, with the columns that one parse of the body gives.

    Raises:
        InvalidJSON: the body is no JSON; `refused` makes the row for quarantine.
    """
    return _read([delivery])[0]


def read_deliveries(deliveries: Sequence[Delivery]) -> list[NewEvent | Refused]:
    """The rows for deliveries that came together, whatever they are."""
    return [row for part in in_parts(deliveries) for row in _read_part(part)]


def _read_part(deliveries: Sequence[Delivery]) -> list[NewEvent | Refused]:
    try:
        return [*_read(deliveries)]
    except InvalidJSON as error:
        if len(deliveries) == 1:
            return [refused(deliveries[0], error)]
        return [row for delivery in deliveries for row in _read_part([delivery])]


def _read(deliveries: Sequence[Delivery]) -> list[NewEvent]:
    bodies = [parse_json(delivery.body) for delivery in deliveries]
    found = [columns(body) for body in bodies]
    contents = [_content_digest(body) for body in bodies]
    digests = [sha256(delivery.body).digest() for delivery in deliveries]
    return [*map(_row, deliveries, found, contents, digests)]


def _row(delivery: Delivery, found: Columns, content_digest: bytes, body_sha256: bytes) -> NewEvent:
    flags = found.flags
    headers, named = _headers(delivery.headers)
    if named is not None and named != found.event_type:
        flags = (*flags, "event_header_differs")
    return NewEvent(
        new_event_id(delivery.received_at_ms),
        delivery.source,
        delivery.body,
        body_sha256,
        content_digest,
        _delivery_digest(delivery.delivery_id),
        delivery.received_at_ms,
        "webhook",
        printable_header(delivery.delivery_id),
        headers,
        delivery.secret_fingerprint,
        *found[:-1],
        " ".join(flags) or None,
    )


def refused(delivery: Delivery, error: InvalidJSON) -> Refused:
    """The row that keeps a signed body which is no JSON."""
    return Refused(
        source=delivery.source,
        body=delivery.body,
        body_sha256=sha256(delivery.body).digest(),
        received_at_ms=delivery.received_at_ms,
        reason=f"{error.code}: {error.reason}" if error.reason else error.code,
        delivery_id=printable_header(delivery.delivery_id),
        headers=_headers(delivery.headers)[0],
        secret_fingerprint=delivery.secret_fingerprint,
    )


def new_event_id(now_ms: int) -> str:
    """A UUID of version 7 (RFC 9562): unique anywhere, and ordered by time, so its index grows at the end."""
    random = _random.getrandbits(80) & 0x0FFF_3FFF_FFFF_FFFF_FFFF
    digits = f"{(now_ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7000_8000_0000_0000_0000 | random:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _content_digest(value: JSON) -> bytes:
    """8 bytes over the content apart from `timestamp`, which a retry may renew.

    The vendor's overview page tells receivers to use the delivery id against duplicates; it is not signed,
    so it counts only together with the content (https://docs.klen.ai/api-reference/webhooks/overview).
    """
    if isinstance(value, dict):
        value = value.copy()
        value.pop("timestamp", None)
    return blake2b(canonical(value), digest_size=8).digest()


def _delivery_digest(delivery_id: str | None) -> bytes | None:
    if delivery_id is None:
        return None
    return blake2b(delivery_id.encode("utf-8", "surrogateescape"), digest_size=8).digest()


@lru_cache(maxsize=1024)
def _headers(headers: tuple[tuple[str, str], ...]) -> tuple[str, str | None]:
    """What is stored of them, and the type of the event that they name."""
    stored = json.dumps({name: printable_header(value) for name, value in headers})
    return stored, dict(headers).get("X-Klen-Event")


def printable_header(value: str | None) -> str | None:
    """A header's text made storable and harmless to show: other characters escaped, and not too long."""
    if value is None or (value.isascii() and value.isprintable() and len(value) <= MOST_HEADER_CHARACTERS):
        return value
    cut = value[:MOST_HEADER_CHARACTERS]
    return "".join(c if c.isascii() and c.isprintable() else f"\\x{ord(c):02x}" for c in cut)
