"""Signatures of webhooks, checked and made: a table of the ways to sign, and no I/O.

Whatever arrives, `Verifier.verify` returns a fingerprint or raises `InvalidSignature`, and nothing else.
The rule easiest to break: header text is matched whole against an ASCII pattern before anything decodes,
converts or compares it, since `int`, `bytes.fromhex` and `b64decode` all take more than a sender writes.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import InvalidSignature
from receiver.keys import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multidict import MultiMapping

__all__ = ["STYLES", "HeaderNames", "Secret", "Style", "Verifier", "sign"]

# A key change needs two signatures in one header. More only buys an attacker our time: Ed25519 is slow.
MAX_SIGNATURES: Final = 16
TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
# Visible ASCII without the full stop, which separates id, time and body in what is signed: with it, parts
# of one signed message could pass for another. https://www.standardwebhooks.com
MESSAGE_ID: Final = re.compile(r"[!-\-/-~]+")
# https://www.rfc-editor.org/rfc/rfc9110#name-tokens
HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """The headers of one sender that matter here. The signature covers time and id where there are any."""

    signature: str
    timestamp: str | None = None
    message_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """One way to sign: which headers carry it, how a signature is written, and what it covers."""

    headers: tuple[HeaderNames, ...]
    """Alternative names. A request uses exactly one of them; we send the first."""
    signature: re.Pattern[str]
    """One signature as it is written. The group that matches is its encoded bytes."""
    written: str = "{signature}"
    """The signature header as we send it."""
    base64: bool = False
    """Signatures are in base64; otherwise in hex."""
    covers: str = ""
    """What is signed in front of the body."""
    separator: str | None = None
    """Stands between the entries of a signature header that is a list."""
    timestamp_entry: str | None = None
    """What the entry with the time begins with, where the time is in the signature header itself."""
    encoded_keys: bool = False
    """Secrets are base64 behind `whsec_`, `whsk_` or `whpk_`; otherwise their UTF-8 bytes are the key."""


STYLES: Final[Mapping[str, Style]] = {
    # https://docs.klen.ai/api-reference/webhooks/overview
    "klen": Style(
        headers=(HeaderNames("X-Klen-Signature"),),
        signature=re.compile(r"(?:sha256=)?([0-9a-fA-F]{64})"),
    ),
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    "github": Style(
        headers=(HeaderNames("X-Hub-Signature-256"),),
        signature=re.compile(r"sha256=([0-9a-f]{64})"),
        written="sha256={signature}",
    ),
    # https://docs.stripe.com/webhooks/signature
    "stripe": Style(
        headers=(HeaderNames("Stripe-Signature"),),
        signature=re.compile(r"v1=([0-9a-f]{64})"),
        written="t={timestamp},v1={signature}",
        covers="{timestamp}.",
        separator=",",
        timestamp_entry="t=",
    ),
    # https://docs.slack.dev/authentication/verifying-requests-from-slack
    "slack": Style(
        headers=(HeaderNames("X-Slack-Signature", "X-Slack-Request-Timestamp"),),
        signature=re.compile(r"v0=([0-9a-f]{64})"),
        written="v0={signature}",
        covers="v0:{timestamp}:",
    ),
    # https://www.standardwebhooks.com, https://docs.svix.com/receiving/verifying-payloads/how-manual
    "standard-webhooks": Style(
        headers=(
            HeaderNames("webhook-signature", "webhook-timestamp", "webhook-id"),
            HeaderNames("svix-signature", "svix-timestamp", "svix-id"),
        ),
        signature=re.compile(r"v1,([A-Za-z0-9+/]{43}=)|v1a,([A-Za-z0-9+/]{86}==)"),
        written="{version},{signature}",
        base64=True,
        covers="{message_id}.{timestamp}.",
        separator=" ",
        encoded_keys=True,
    ),
    # https://shopify.dev/docs/apps/build/webhooks/subscribe/https
    "shopify": Style(
        headers=(HeaderNames("X-Shopify-Hmac-SHA256"),),
        signature=re.compile(r"([A-Za-z0-9+/]{43}=)"),
        base64=True,
    ),
}


class Verifier:
    """Checks requests of one source against all of its secrets. Built once, then shared by all requests."""

    def __init__(
        self,
        style: str,
        secrets: Sequence[str],
        *,
        header: str | None = None,
        json_fallback: bool = False,
        tolerance_seconds: int = 300,
    ) -> None:
        """`header` replaces the style's name of the signature header; names of other headers stay.

        `json_fallback` (style klen) accepts a signature over the compact form of the body's JSON too, as some
        of the vendor's samples compute it. Equal JSON in other bytes passes then too: it is off by default.

        Raises:
            ValueError: the style is unknown, a secret is unusable, or an option does not fit; says which.
        """
        self._style = _style(style)
        self._families = _families(self._style, header)
        if not secrets:
            raise ValueError("no secret is given; without one nothing can be verified")
        self._secrets = tuple(Secret(self._style, text) for text in secrets)
        if json_fallback and style != "klen":
            raise ValueError(f"json_fallback works with the style klen only, not with {style}")
        self._json_fallback = json_fallback
        self._tolerance = tolerance_seconds

    def verify(self, headers: MultiMapping[str], body: bytes, *, now: float) -> str:
        """The fingerprint of the secret that signed this body, at `now` in seconds since 1970.

        `headers` ignore case in names, as in `CIMultiDict`.

        Raises:
            InvalidSignature: for every other request; its reason quotes nothing of it.
        """
        names, text = self._signature_header(headers)
        entries = text.split(self._style.separator) if self._style.separator else [text]
        signatures = _signatures(self._style, entries)
        prefix = self._prefix(headers, names, entries, now) if self._style.covers else b""
        matching = self._matching(prefix, body, signatures)
        if not matching and self._json_fallback and (compact := _compact_json(body)) is not None:
            matching = self._matching(prefix, compact, signatures)
        if not matching:
            raise InvalidSignature("no secret matches")
        return matching[0]

    def _signature_header(self, headers: MultiMapping[str]) -> tuple[HeaderNames, str]:
        """The one signature header. With two, it depends on the reader which of them counts."""
        found = [(names, text) for names in self._families for text in headers.getall(names.signature, ())]
        if len(found) != 1:
            raise InvalidSignature("more than one signature header" if found else "no signature header")
        return found[0]

    def _prefix(
        self, headers: MultiMapping[str], names: HeaderNames, entries: Sequence[str], now: float
    ) -> bytes:
        """What was signed in front of the body, from the header text as it came."""
        message_id = (name := names.message_id) and _only(headers.getall(name, ()), MESSAGE_ID, "message id")
        if names.timestamp is not None:
            times = headers.getall(names.timestamp, ())
        else:
            mark = self._style.timestamp_entry or ""
            times = [entry.removeprefix(mark) for entry in entries if entry.startswith(mark)]
        timestamp = _only(times, TIMESTAMP, "timestamp")
        if abs(now - int(timestamp)) > self._tolerance:
            raise InvalidSignature("timestamp outside the tolerance")
        return self._style.covers.format(message_id=message_id, timestamp=timestamp).encode("ascii")

    def _matching(self, prefix: bytes, body: bytes, signatures: Sequence[bytes]) -> list[str]:
        return [known.fingerprint for known in self._secrets if known.key.matches(prefix, body, signatures)]


def sign(
    style: str,
    secret: str,
    body: bytes,
    *,
    now: float,
    message_id: str | None = None,
    header: str | None = None,
) -> dict[str, str]:
    """The headers that a sender of this style adds to a request with this body.

    `now` is in seconds since 1970. `message_id` is needed, and sent, by style standard-webhooks only.

    Raises:
        ValueError: the style is unknown, the secret cannot sign, or the message id is missing or unusable.
    """
    row = _style(style)
    names = _families(row, header)[0]
    key = Secret(row, secret).key
    timestamp = str(int(now))
    if names.message_id is not None and not MESSAGE_ID.fullmatch(message_id or ""):
        raise ValueError(f"{style} needs a message id of visible ASCII characters without a full stop")
    prefix = row.covers.format(message_id=message_id, timestamp=timestamp).encode("ascii")
    signature = key.sign(prefix, body)
    encoded = base64.b64encode(signature).decode("ascii") if row.base64 else signature.hex()
    written = row.written.format(version=key.version, timestamp=timestamp, signature=encoded)
    headers = {names.signature: written, names.timestamp: timestamp, names.message_id: message_id}
    return {name: text for name, text in headers.items() if name and text}


def _style(name: str) -> Style:
    if name not in STYLES:
        raise ValueError(f"the signature style must be one of {', '.join(STYLES)}, not {name!r}")
    return STYLES[name]


def _families(style: Style, header: str | None) -> tuple[HeaderNames, ...]:
    """The header names to look for. A renamed signature header is one alternative, not one more."""
    if not header:
        return style.headers
    if not HEADER_NAME.fullmatch(header):
        raise ValueError(f"{header!r} cannot be the name of a header")
    known = [names for names in style.headers if names.signature.lower() == header.lower()]
    return (known[0],) if known else (replace(style.headers[0], signature=header),)


def _only(values: Sequence[str], pattern: re.Pattern[str], what: str) -> str:
    if len(values) != 1:
        raise InvalidSignature(f"more than one {what}" if values else f"no {what}")
    if not pattern.fullmatch(values[0]):
        raise InvalidSignature(f"malformed {what}")
    return values[0]


def _signatures(style: Style, entries: Sequence[str]) -> list[bytes]:
    """The signatures among the entries of the header. Entries of other versions are passed over."""
    if "" in entries:
        raise InvalidSignature("malformed signature")
    matches = [match for entry in entries if (match := style.signature.fullmatch(entry))]
    if len(matches) > MAX_SIGNATURES:
        raise InvalidSignature("too many signatures")
    signatures = [raw for match in matches if (raw := _decode(style, match[match.lastindex or 0]))]
    if not signatures:
        raise InvalidSignature("malformed signature")
    return signatures


def _decode(style: Style, encoded: str) -> bytes | None:
    """The bytes of a signature, unless another spelling is the usual one: base64 has bits to spare."""
    if not style.base64:
        return bytes.fromhex(encoded)
    decoded = base64.b64decode(encoded, validate=True)
    return decoded if base64.b64encode(decoded) == encoded.encode("ascii") else None


def _compact_json(body: bytes) -> bytes | None:
    """The body's JSON without blanks, keys in order, text unescaped. None where that is in any doubt."""
    try:
        parsed = json.loads(body.decode("utf-8"), object_pairs_hook=_unique)
        return json.dumps(parsed, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are unique: of two, the signature would cover one only."""
    if len(members := dict(pairs)) != len(pairs):
        raise ValueError
    return members
