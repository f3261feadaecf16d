"""Why a captured delivery is refused: which step from the sender to here differs, and what to do about it.

The service's own check comes first; if it refuses, `ways` explains what would have fitted. The rule easiest
to break: findings name steps, headers, lengths and secrets by their place in the configuration, and never
show a secret or a right signature.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final

from receiver.doctor.finding import Finding, error, fine
from receiver.doctor.nearmiss import changed_byte, changed_signature
from receiver.doctor.variants import HASHES, digests
from receiver.doctor.ways import API_KEY, EMPTY, OTHER_SOURCE, Way, key_of, prefixes, sent_at, ways
from receiver.errors import InvalidJSON, InvalidSignature
from receiver.jsonbody import parse_json
from receiver.signing import STYLES, Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from receiver.config import Source
    from receiver.doctor.capture import Capture

_signature_like = re.compile(r"signature|hmac", re.IGNORECASE)

FEW_DIGITS: Final = 16
"""Less of a signature proves nothing."""
KEEP_BYTES: Final = (
    "Something between the sender and klenhook changes the body: a proxy, a tunnel, a gateway, or the "
    "program that captured it. Have it pass the bytes on as they came."
)
COPY_AGAIN: Final = (
    "Copy the secret of this very webhook from the sender once more (at Klen: API > Webhooks; each webhook "
    "has its own), and write it into the configuration exactly as it is shown there."
)
KEEP_HEADERS: Final = "Have the proxy leave the sender's headers as they are."


def diagnose(capture: Capture, sources: Mapping[str, Source]) -> list[Finding]:
    """Judge a delivery by the source it is for: the one at its path, else the one that explains it best."""
    at_path = [name for name, source in sources.items() if source.path == capture.path]
    headers = "1 header" if len(capture.headers) == 1 else f"{len(capture.headers)} headers"
    size = f"{headers} and a body of {len(capture.body)} bytes"
    about = fine("capture", f"{size}" + (f", for {capture.path}" if capture.path else "") + ".")
    judged = [_Judge(capture, name, sources).findings() for name in at_path or sources]
    return [about, *min(judged, key=_badness)]


def _badness(findings: list[Finding]) -> tuple[bool, bool, int]:
    """How little is explained: without a signature nothing, with another secret little."""
    wrong = [finding.check for finding in findings if finding.level != "fine"]
    return "headers" in wrong, "secret" in wrong, len(wrong)


class _Judge:
    """One delivery and one source."""

    def __init__(self, capture: Capture, name: str, sources: Mapping[str, Source]) -> None:
        self._capture = capture
        self._name = name
        self._sources = sources
        self._source = sources[name]
        self._style = STYLES[self._source.signature]
        own = [names.signature for names in self._style.headers]
        self._headers = [self._source.signature_header] if self._source.signature_header else own

    def findings(self) -> list[Finding]:
        """What is to say about it, step by step."""
        fitting = self._verified(self._source.signature, self._source.signature_header)
        if fitting is not None:
            return [fine("signature", f"It fits {self._place(fitting)}: this delivery is accepted.")]
        found = [(name, text) for name in self._headers for text in self._capture.headers.getall(name, ())]
        if len(found) > 1:
            message = f"There are {len(found)} signature headers; with more than one, a request is refused."
            return [error("headers", message, KEEP_HEADERS)]
        if not found:
            return [self._elsewhere()]
        header, text = found[0]
        way = next(ways(text, self._capture, self._name, self._sources), None)
        steps = [self._unexplained(text)] if way is None else self._differences(way, text)
        return [fine("headers", f"The signature is in {header}."), *steps]

    def _verified(self, style: str, header: str) -> int | None:
        """Which of the source's secrets the service would accept it with, whenever it was sent."""
        now = sent_at(self._capture, STYLES[style])
        for number, secret in enumerate(self._source.secrets):
            try:
                verifier = Verifier(
                    style,
                    [secret.get_secret_value()],
                    header=header or None,
                    json_fallback=self._source.json_fallback and style == "klen",
                )
                verifier.verify(self._capture.headers, self._capture.body, now=now)
            except (InvalidSignature, ValueError):
                continue
            return number
        return None

    def _place(self, number: int) -> str:
        return f"sources.{self._name}.secrets[{number}]"

    def _elsewhere(self) -> Finding:
        """The header of the configured way to sign is not there; another one may be."""
        expected, table = " or ".join(self._headers), f"[sources.{self._name}]"
        for other in STYLES:
            if other != self._source.signature and self._verified(other, "") is not None:
                message = f"Its signature is that of {other}, not of {self._source.signature}."
                return error("headers", message, f'Set signature = "{other}" in {table}.')
        alike = [name for name in dict.fromkeys(self._capture.headers) if _signature_like.search(name)]
        for name in alike:
            if self._verified(self._source.signature, name) is not None:
                message = f"The signature is right, but stands in {name}, not in {expected}."
                return error("headers", message, f'Set signature_header = "{name}" in {table}.')
        there = f"; there is {', '.join(alike)}" if alike else ""
        fix = (
            "If a proxy drops it, have that pass X-* headers on. If only the capture lacks it, capture all "
            "of them. Otherwise the request is not from the sender you expect."
        )
        return error("headers", f"There is no {expected}{there}, so nothing can be verified.", fix)

    def _differences(self, way: Way, text: str) -> Iterator[Finding]:
        """Every step, for a signature that is explained."""
        if form := self._form(way, text):
            yield error("signature", form, f"Have it written as {self._source.signature} does.")
        if way.prefix_change:
            message = f"Signed was {way.prefix_change}."
            yield error("signed content", message, "Set the signature style that this sender uses.")
        yield self._key(way)
        if way.body_change:
            yield error("body", f"The bytes were changed: {way.body_change}.", self._keep_bytes(way))
        else:
            yield fine("body", "These are the bytes that were signed.")

    def _keep_bytes(self, way: Way) -> str:
        if self._source.signature == "klen" and way.body_change.endswith("is compact JSON"):
            return (
                f"{KEEP_BYTES} Or set json_fallback = true in [sources.{self._name}], which undoes just this."
            )
        return KEEP_BYTES

    def _key(self, way: Way) -> Finding:
        if not way.key_change:
            return fine("secret", f"The right one: {way.secret}.")
        if way.key_change in {API_KEY, EMPTY}:
            return error("secret", f"The wrong one: it was signed with {way.key_change}.", COPY_AGAIN)
        if way.key_change == OTHER_SOURCE:
            fix = f"Send it to that source's path, or add the secret to sources.{self._name}.secrets."
            return error("secret", f"The wrong one: {way.secret} fits, the secret {way.key_change}.", fix)
        message = f"Not as it should be: it fits {way.secret} {way.key_change}."
        return error("secret", message, COPY_AGAIN)

    def _form(self, way: Way, text: str) -> str:
        """How the text of the signature differs from what its style writes; nothing if it does not."""
        name = HASHES[2 * len(way.digest)]
        if name != "sha256":
            return f"It is HMAC-{name.upper()}; expected HMAC-SHA256."
        usual = "base64" if self._style.base64 else "hex"
        if way.encoding != usual:
            return f"Its encoding is {way.encoding}; expected {usual}."
        entries = text.split(self._style.separator) if self._style.separator else [text]
        if not any(self._style.signature.fullmatch(entry) for entry in entries):
            wanted = self._style.written.format(signature=f"<{usual}>", timestamp="<time>", version="v1")
            return f"There is a prefix or something else around it that is not expected; expected {wanted}."
        return ""

    def _unexplained(self, text: str) -> Finding:
        given = [raw for _, raw in digests(text)]
        body, prefix = self._capture.body, prefixes(self._capture, self._style)[0][1]
        for number, secret in enumerate(self._source.secrets):
            key = key_of(self._style, secret.get_secret_value().encode())
            expected = hmac.digest(key, prefix + body, "sha256")
            if len(text) >= FEW_DIGITS and text.lower() in expected.hex():
                message = f"It was cut off: expected 64 hex digits, found {len(text)}, and those are right."
                return error("signature", message, KEEP_HEADERS)
            if any(changed_signature(expected, raw) for raw in given):
                return error("signature", "Some of its digits were changed; all else is right.", KEEP_HEADERS)
            for raw in given:
                if where := changed_byte(key, prefix, body, raw):
                    message = (
                        f"The bytes were changed at {where}. The secret is right: {self._place(number)}."
                    )
                    return error("body", message, KEEP_BYTES)
        if not given:
            usual = "44 characters of base64" if self._style.base64 else "64 hex digits"
            return error(
                "signature", f"Expected {usual}, found none among {len(text)} characters.", KEEP_HEADERS
            )
        return self._changed_body() or self._wrong_secret()

    def _changed_body(self) -> Finding | None:
        """Signs that the body is not as it was sent, whatever the secret."""
        length, size = self._capture.headers.get("Content-Length", ""), len(self._capture.body)
        if re.fullmatch("[0-9]{1,12}", length) and int(length) != size:
            message = f"The bytes were changed: Content-Length says {length}, and there are {size}."
            return error("body", message, KEEP_BYTES)
        try:
            parse_json(self._capture.body)
        except InvalidJSON as problem:
            message = f"The bytes were changed or cut off: they are {problem.reason}."
            return error("body", message, KEEP_BYTES)
        return None

    def _wrong_secret(self) -> Finding:
        count = len(self._source.secrets)
        known = "the secret" if count == 1 else f"any of the {count} secrets"
        message = (
            f"Most likely the wrong one: the signature does not come from {known} of sources.{self._name}, "
            "read in any usual way, over this body with any usual change undone. "
            "A body that was changed in several places looks the same."
        )
        return error("secret", message, COPY_AGAIN)
