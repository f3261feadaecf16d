"""Signatures as properties: for all bytes, secrets and headers, in every style."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from receiver.errors import InvalidSignature
from receiver.signing import STYLES, Verifier, sign

STYLE_NAMES = st.sampled_from(sorted(STYLES))
BODIES = st.binary(max_size=400)
TIMES = st.integers(min_value=0, max_value=10**11)
IDS = st.text("".join(set(string.printable) - set(string.whitespace) - {"."}), min_size=1, max_size=40)
# What a server makes of header bytes: text with lone surrogates where they are not UTF-8.
HEADER_TEXT = st.one_of(
    st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.text(st.characters(), max_size=100),
    st.from_regex(r"((t=[0-9]{10}|v1a?|v0|sha256)[=,][0-9a-fA-F/+=]{0,90}[ ,]?){0,4}", fullmatch=True),
)
KNOWN_NAMES = sorted(
    {
        name
        for style in STYLES.values()
        for names in style.headers
        for name in (names.signature, names.timestamp, names.message_id)
        if name
    }
)


@st.composite
def secrets(draw: st.DrawFn, style: str) -> str:
    if style != "standard-webhooks":
        return draw(st.text(min_size=1, max_size=60))
    if draw(st.booleans()):
        return "whsec_" + base64.b64encode(draw(st.binary(min_size=16, max_size=64))).decode()
    return "whsk_" + base64.b64encode(draw(st.binary(min_size=32, max_size=32))).decode()


@st.composite
def signed(draw: st.DrawFn) -> tuple[str, str, dict[str, str], bytes, int]:
    """A style, a secret, the headers of a signed request, its body and its time."""
    style, body, now = draw(STYLE_NAMES), draw(BODIES), draw(TIMES)
    secret = draw(secrets(style))
    return style, secret, sign(style, secret, body, now=now, message_id=draw(IDS)), body, now


def fails(style: str, secret: str, headers: dict[str, str], body: bytes, now: float) -> None:
    with pytest.raises(InvalidSignature):
        Verifier(style, [secret]).verify(CIMultiDict(headers), body, now=now)


@given(signed(), st.text(min_size=1, max_size=40))
def test_what_we_sign_we_accept(request_: tuple[str, str, dict[str, str], bytes, int], other: str) -> None:
    """What `sign` makes, `verify` accepts in the same style, with the secret at any place among others."""
    style, secret, headers, body, now = request_
    more = base64.b64encode(other.encode().ljust(16)).decode()

    for known in ([secret], [secret, more], [more, secret]):
        assert Verifier(style, known).verify(CIMultiDict(headers), body, now=now)


@given(signed(), st.data())
def test_a_changed_body_fails(
    request_: tuple[str, str, dict[str, str], bytes, int], data: st.DataObject
) -> None:
    """One byte of the body changed, added or taken away, and nothing verifies."""
    style, secret, headers, body, now = request_
    at = data.draw(st.integers(0, len(body)))
    byte = bytes([data.draw(st.integers(0, 255))])
    changed = data.draw(
        st.sampled_from(
            [body[:at] + byte + body[at:], body[:at] + byte + body[at + 1 :], body[:at] + body[at + 1 :]]
        )
    )
    assume(changed != body)

    fails(style, secret, headers, changed, now)


@given(signed(), st.data())
def test_a_changed_header_fails(
    request_: tuple[str, str, dict[str, str], bytes, int], data: st.DataObject
) -> None:
    """One character changed in the signature, the time or the id, and nothing verifies."""
    style, secret, headers, body, now = request_
    name = data.draw(st.sampled_from(sorted(headers)))
    text = headers[name]
    at = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.one_of(st.sampled_from(string.printable), st.characters(max_codepoint=0x1FF)))
    changed = text[:at] + character + text[at + 1 :]
    assume(changed != text)
    assume(style != "klen" or changed.lower() != text.lower())

    fails(style, secret, headers | {name: changed}, body, now)


@given(signed(), st.data())
def test_a_changed_secret_fails(
    request_: tuple[str, str, dict[str, str], bytes, int], data: st.DataObject
) -> None:
    """Another secret does not verify."""
    style, secret, headers, body, now = request_
    other = data.draw(secrets(style))
    # Keys of HMAC are padded with zero bytes, so these alone do not make another key.
    assume(other.rstrip("\0") != secret.rstrip("\0"))
    if style == "standard-webhooks":
        keys = [base64.b64decode(text.partition("_")[2]).rstrip(b"\0") for text in (other, secret)]
        assume(keys[0] != keys[1])

    fails(style, other, headers, body, now)


@given(
    STYLE_NAMES,
    st.lists(st.tuples(st.sampled_from(KNOWN_NAMES), HEADER_TEXT), max_size=6),
    BODIES,
    st.booleans(),
)
def test_arbitrary_requests_are_refused(
    style: str,
    headers: list[tuple[str, str]],
    body: bytes,
    fallback: bool,  # noqa: FBT001 -- drawn
) -> None:
    """Whatever headers and body arrive, nothing but `InvalidSignature` comes of it."""
    secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    verifier = Verifier(
        style,
        [secret],
        json_fallback=fallback and style == "klen",
        tolerance_seconds=10**12,
    )

    with pytest.raises(InvalidSignature):
        verifier.verify(CIMultiDict(headers), body, now=0)


@given(STYLE_NAMES, st.text(max_size=80))
def test_arbitrary_secrets_are_used_or_refused(style: str, secret: str) -> None:
    """Any text is a secret that signs and verifies, or a ValueError that does not quote it."""
    try:
        headers = sign(style, secret, b"{}", now=0, message_id="m")
    except ValueError as error:
        message = repr(error)
    else:
        assert Verifier(style, [secret]).verify(CIMultiDict(headers), b"{}", now=0)
        return

    assert message.startswith("ValueError(")
    assert len(secret) < 12 or secret not in message
