"""The ways in which a signature may have come about: with which secret, over which bytes, by which hash.

Pure. Everything that usually goes wrong is undone, one thing at a time and then several. The rule easiest to
break: ways with fewer changes come first, since the simplest explanation is the likeliest.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from receiver.doctor.variants import DECODED, HASHES, bodies, digests, keys
from receiver.signing import STYLES, Style

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from receiver.config import Source
    from receiver.doctor.capture import Capture

OTHER_SOURCE: Final = "of another source"
API_KEY: Final = "the API key in place of the secret"
EMPTY: Final = "an empty secret"
_timestamp = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Way:
    """One way. Empty words: that is as it should be."""

    secret: str
    """Which secret fits, by its place in the configuration."""
    digest: bytes
    encoding: str
    key_change: str
    body_change: str
    prefix_change: str


def ways(text: str, capture: Capture, name: str, sources: Mapping[str, Source]) -> Iterator[Way]:
    """Those that lead to the signature in this header's text, for a delivery to the source of this name."""
    given = digests(text)
    contents = [("", capture.body), *bodies(capture.body, capture.headers)]
    combined = sorted(
        product(_keys(name, sources), contents, prefixes(capture, STYLES[sources[name].signature])),
        key=lambda one: sum(bool(words) for words in (one[0][1], one[1][0], one[2][0])),
    )
    for (place, key_change, key), (body_change, body), (prefix_change, prefix) in combined:
        for encoding, raw in given:
            if hmac.compare_digest(hmac.digest(key, prefix + body, HASHES[2 * len(raw)]), raw):
                yield Way(place, raw, encoding, key_change, body_change, prefix_change)


def prefixes(capture: Capture, style: Style) -> list[tuple[str, bytes]]:
    """What may have been signed in front of the body; as the style says, first."""
    headers = capture.headers
    if style.covers:
        ids = [headers.get(names.message_id or "", "") for names in style.headers]
        message_id, time = next(filter(None, ids), ""), f"{sent_at(capture, style):.0f}"
        own = style.covers.format(timestamp=time, message_id=message_id)
        return [("", own.encode("utf-8", "replace")), ("the body alone", b"")]
    times = [(name, text) for name, text in headers.items() if name.lower().endswith("timestamp")]
    return [("", b""), *((f"{name}, a dot, and the body", f"{text}.".encode()) for name, text in times)]


def sent_at(capture: Capture, style: Style) -> float:
    """The time that the request itself gives, in seconds since 1970, so that its age does not matter."""
    headers = capture.headers
    texts = [text for names in style.headers for text in headers.getall(names.timestamp or "", ())]
    if mark := style.timestamp_entry:
        signatures = [headers.get(names.signature, "") for names in style.headers]
        entries = [entry for text in signatures for entry in text.split(style.separator)]
        texts = [entry.removeprefix(mark) for entry in entries if entry.startswith(mark)]
    return next((float(text) for text in texts if _timestamp.fullmatch(text)), 0.0)


def key_of(style: Style, secret: bytes) -> bytes:
    """The key of HMAC that a secret stands for in this style."""
    return dict(keys(secret)).get(DECODED, secret) if style.encoded_keys else secret


def _keys(own: str, sources: Mapping[str, Source]) -> list[tuple[str, str, bytes]]:
    """Place, change and bytes of every key that may have been used."""
    found: list[tuple[str, str, bytes]] = []
    for name, source in sources.items():
        for number, secret in enumerate(source.secrets):
            place, text = f"sources.{name}.secrets[{number}]", secret.get_secret_value().encode()
            right = key_of(STYLES[source.signature], text)
            found.append((place, "" if name == own else OTHER_SOURCE, right))
            found += [(place, words, key) for words, key in keys(text) if key != right]
        if api_key := source.api_key.get_secret_value():
            found.append((f"sources.{name}.api_key", API_KEY, api_key.encode()))
    return [*found, ("", EMPTY, b"")]
