"""Signatures that were tampered with: none passes, whatever was changed, and nothing but our own error comes out."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from receiver.errors import InvalidSignature
from receiver.signing import STYLES, Verifier, sign
from tests.support.klen import webhook

if TYPE_CHECKING:
    import random

    from tests.faults.conftest import Figure, Size

NOW = 1_746_094_530
SECRETS = {
    **dict.fromkeys(STYLES, "a-long-enough-test-secret"),
    "standard-webhooks": "whsec_" + base64.b64encode(bytes(range(32))).decode(),
    "standard-webhooks, Ed25519": "whsk_" + base64.b64encode(bytes(range(32))).decode(),
}
JUNK = "0123456789abcdefABCDEF+/=,. \t\0:;vt-_éÿ１\udcff\u202e\U0001f600"
Request = tuple[CIMultiDict[str], bytes]


class Forger:
    """Changes genuine requests of one style."""

    def __init__(self, style: str, secret: str, choice: random.Random) -> None:
        self.style, self._choice = style, choice
        self._others: list[Request] = [
            self._signed(secret, webhook(title="other"), NOW, "msg_2"),
            self._signed(secret, b"", NOW, "msg_3"),
            self._signed(secret, webhook(), NOW - 200, "msg_1"),
        ]
        self.genuine = self._signed(secret, webhook(), NOW, "msg_1")
        self._names = [name for name in self.genuine[0] if name]
        self.signature_header = STYLES[style].headers[0].signature

    def _signed(self, secret: str, body: bytes, now: int, message_id: str) -> Request:
        return CIMultiDict(sign(self.style, secret, body, now=now, message_id=message_id)), body

    def forged(self) -> Request:
        """The genuine request with one to three changes."""
        headers, body = self.genuine[0].copy(), self.genuine[1]
        for _ in range(self._choice.choice((1, 1, 1, 2, 3))):
            headers, body = self._changed(headers, body)
        return headers, body

    def _changed(self, headers: CIMultiDict[str], body: bytes) -> Request:
        choice = self._choice
        name = choice.choice(self._names)
        other_headers, other_body = choice.choice(self._others)
        kind = choice.randrange(7)
        if kind < 3 and name in headers:
            headers[name] = self._text(headers[name])
        elif kind == 3:
            body = self._bytes(body)
        elif kind == 4:
            headers[name] = other_headers[name]
        elif kind == 5:
            body = other_body
        elif choice.random() < 0.5:
            headers.add(name, headers.get(name, ""))
        else:
            headers.popall(name, None)
        return headers, body

    def _text(self, text: str) -> str:
        choice = self._choice
        at = choice.randrange(len(text) + 1)
        junk = choice.choice(JUNK)
        return choice.choice(
            (
                text[:at] + junk + text[at:],
                text[:at] + junk + text[at + 1 :],
                text[:at] + text[at + 1 :],
                text[:at],
                text[at:],
                text.upper(),
                text.swapcase(),
                text + text,
                text[::-1],
                f"{text},{text}",
                f" {text}",
                f"{text} ",
                f"{junk * 64} {text[at:]}",
                text.replace("=", ""),
                text.replace("v1", "v0"),
                "",
            )
        )

    def _bytes(self, body: bytes) -> bytes:
        choice = self._choice
        at = choice.randrange(len(body) + 1)
        bit = bytes([body[at] ^ 1 << choice.randrange(8)]) if at < len(body) else b" "
        return choice.choice(
            (body[:at] + bit + body[at + 1 :], body[:at], body[at:], body + b"\0", body + body, b"\n" + body)
        )

    def may_pass(self, headers: CIMultiDict[str], body: bytes) -> bool:
        """Whether all that some genuine request signed is as it was, and its whole signature is still there."""
        return any(self._holds(request, headers, body) for request in (self.genuine, *self._others))

    def _holds(self, signed: Request, headers: CIMultiDict[str], body: bytes) -> bool:
        genuine, genuine_body = signed
        covered = [name for name in self._names if name != self.signature_header]
        text = headers.get(self.signature_header, "").lower()
        parts = genuine[self.signature_header].lower().removeprefix("sha256=").split(",")
        return (
            body == genuine_body
            and all(headers.getall(name, []) == genuine.getall(name) for name in covered)
            and all(part in text for part in parts)
        )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", SECRETS)
def test_no_forged_signature_is_accepted(
    size: Size, moments: random.Random, figure: Figure, kind: str
) -> None:
    """Of requests with any part changed, only those pass whose signed parts and signature came through whole."""
    style = kind.partition(",")[0]
    forger = Forger(style, SECRETS[kind], moments)
    verifier = Verifier(style, [SECRETS[kind]])
    assert verifier.verify(*forger.genuine, now=NOW)
    tried = refused = 0
    for _ in range(size(1_500, 150_000)):
        headers, body = forger.forged()
        tried += 1
        try:
            verifier.verify(headers, body, now=NOW)
        except InvalidSignature:
            refused += 1
        else:
            assert forger.may_pass(headers, body), (dict(headers), body)
    assert refused > tried // 2
    figure(f"{kind}: {tried:,}")
