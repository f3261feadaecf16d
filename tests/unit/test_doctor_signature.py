"""What `doctor --signature` says about captured deliveries, each with one thing or two wrong."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from typing import Any

import pytest

from receiver.config import Source
from receiver.doctor.capture import Capture, CaptureError, read_capture
from receiver.doctor.signature import diagnose
from receiver.signing import sign

SECRET = "a-long-enough-test-secret"
OTHER = "another-secret-of-another-source"
API_KEY = "klen_0123456789abcdef"
VALUE: dict[str, Any] = {
    "event_type": "calendar.created",
    "calendar_event": {"id": 123, "title": "Café sync", "url": "https://x.example/y"},
    "timestamp": "2025-05-01T10:15:30.000Z",
}
BODY = json.dumps(VALUE, ensure_ascii=False, separators=(",", ":")).encode()


def sources(**more: Any) -> dict[str, Source]:
    first = {"path": "/webhooks/klen", "secrets": ["an-older-secret-of-enough", SECRET], "api_key": API_KEY}
    return {
        "klen": Source.model_validate(first | more),
        "second": Source.model_validate({"path": "/webhooks/second", "secrets": [OTHER]}),
    }


def signature(body: bytes = BODY, secret: str | bytes = SECRET, algorithm: str = "sha256") -> str:
    key = secret if isinstance(secret, bytes) else secret.encode()
    return hmac.new(key, body, algorithm).hexdigest()


def captured(body: bytes = BODY, text: str | None = None, header: str = "X-Klen-Signature") -> Capture:
    head = f"POST /webhooks/klen HTTP/1.1\r\nHost: x\r\n{header}: {signature() if text is None else text}\r\n\r\n"
    return read_capture(head.encode() + body)


def wrong(capture: Capture, **more: Any) -> list[tuple[str, str]]:
    """The findings that are not fine; no secret and no right signature is ever among them."""
    findings = diagnose(capture, sources(**more))
    told = json.dumps([[finding.message, finding.fix] for finding in findings])
    assert not any(secret in told for secret in (SECRET, OTHER, API_KEY, signature()))
    assert all(finding.fix for finding in findings if finding.level != "fine")
    return [(finding.check, finding.message) for finding in findings if finding.level != "fine"]


def test_a_genuine_delivery_is_fine() -> None:
    """What the service accepts has no finding, and it is said which secret fits."""
    assert wrong(captured()) == []
    assert "sources.klen.secrets[1]" in diagnose(captured(), sources())[-1].message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (BODY + b"\n", "a newline was added"),
        (b"\xef\xbb\xbf" + BODY, "byte order mark"),
        (json.dumps(VALUE).encode(), "compact JSON"),
        (json.dumps(VALUE, indent=2).encode(), "compact JSON"),
        (BODY.decode().encode("latin-1"), "Latin-1"),
        (BODY.decode("latin-1").encode(), "a second time"),
        (gzip.compress(BODY), "compressed"),
        (b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), "chunks"),
        (BODY.replace(b"123", b"124"), "'4' stands there, and '3' was signed"),
        (BODY.replace(b"sync", b"snc"), "'y' was lost"),
        (BODY.replace(b"sync", b"syync"), "'y' was added"),
        (BODY[:-30], "cut off"),
    ],
)
def test_changed_bytes_are_named(body: bytes, words: str) -> None:
    """A body that was changed after signing is told from a wrong secret, with what was done to it."""
    [(check, message)] = wrong(captured(body))
    assert (check, words in message) == ("body", True), message


def test_json_that_was_signed_compact_may_be_allowed() -> None:
    """For a body that was only written anew, the switch that accepts it is named, and works."""
    capture = captured(json.dumps(VALUE, ensure_ascii=False).encode())
    assert "json_fallback" in (diagnose(capture, sources())[-1].fix or "")
    assert wrong(capture, json_fallback=True) == []


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("some-secret-that-nobody-knows", "Most likely the wrong one"),
        (OTHER, "sources.second.secrets[0]"),
        (API_KEY, "API key"),
        ("", "an empty secret"),
        (f"{SECRET}\n", "a newline at its end"),
        (hashlib.sha256(b"x").digest(), "decoded from hex"),
    ],
)
def test_a_wrong_secret_is_named(key: str | bytes, words: str) -> None:
    """A signature with another secret, or with ours read another way, is the secret's fault."""
    extra = {"secrets": [SECRET, hashlib.sha256(b"x").hexdigest()]}
    [(check, message)] = wrong(captured(text=signature(secret=key)), **extra)
    assert (check, words in message) == ("secret", True), message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (base64.b64encode(bytes.fromhex(signature())).decode(), "encoding is base64"),
        (f"v1={signature()}", "prefix"),
        (f'"{signature()}"', "prefix"),
        (signature(algorithm="sha1"), "SHA1"),
        (signature()[:40], "cut off"),
        ("0f1e" + signature()[4:], "digits were changed"),
        ("nonsense", "none among 8 characters"),
        ("é" * 64, "none among"),
        ("", "none among 0"),
    ],
)
def test_a_wrong_spelling_is_named(text: str, words: str) -> None:
    """Encoding, prefix, algorithm and damage of the signature itself are told apart."""
    found = wrong(read_capture(f"X-Klen-Signature: {text}\n\n".encode() + BODY))
    assert [(check, words in message) for check, message in found] == [("signature", True)], found


def test_several_things_may_be_wrong() -> None:
    """Each step that differs has its own finding."""
    text = base64.b64encode(bytes.fromhex(signature(secret=f"{SECRET}\n"))).decode()
    found = wrong(captured(BODY + b"\n", text))
    assert [check for check, _ in found] == ["signature", "secret", "body"]


def test_the_header_is_looked_for() -> None:
    """A signature under another name, in another style, twice, or not at all: each says what to set."""
    assert "stands in X-Relay-Signature" in wrong(captured(header="X-Relay-Signature"))[0][1]
    assert (
        "that of github" in wrong(captured(text=f"sha256={signature()}", header="X-Hub-Signature-256"))[0][1]
    )
    assert "There is no X-Klen-Signature" in wrong(captured(header="X-Other"))[0][1]
    twice = f"X-Klen-Signature: {signature()}\nx-klen-signature: {signature()}\n\n".encode() + BODY
    assert "2 signature headers" in wrong(read_capture(twice))[0][1]


@pytest.mark.parametrize("style", ["stripe", "slack", "github", "shopify", "standard-webhooks"])
def test_other_styles_are_judged_at_their_own_time(style: str) -> None:
    """An old capture of any style is judged as of when it was sent, and a changed body is seen."""
    secret = "whsec_" + base64.b64encode(SECRET.encode()).decode() if "standard" in style else SECRET
    headers = sign(style, secret, BODY, now=1_700_000_000, message_id="m1")
    value: dict[str, Any] = {"headers": headers, "body": BODY.decode()}
    assert wrong(read_capture(json.dumps(value).encode()), signature=style, secrets=[secret]) == []
    value["body"] += "\n"
    [(check, _)] = wrong(read_capture(json.dumps(value).encode()), signature=style, secrets=[secret])
    assert check == "body"


def test_json_captures_hold_the_same_bytes() -> None:
    """Headers may be lists, and a body that is no text comes in base64."""
    value = {"headers": {"x-klen-signature": [signature()]}, "body_base64": base64.b64encode(BODY).decode()}
    assert read_capture(json.dumps(value).encode()).body == BODY
    assert wrong(read_capture(json.dumps(value).encode())) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no blank line",
        b"no header here\n\nbody",
        b"{",
        b"{}",
        b'{"headers": []}',
        b'{"headers": {"a": {}}, "body": ""}',
        b'{"headers": {}, "body": 1}',
        b'{"headers": {}, "body": "", "body_base64": ""}',
        b'{"headers": {}, "body_base64": "%"}',
        b'{"headers": {}, "body": "\\ud800"}',
        b"\xff\xfe\n\n",
    ],
)
def test_what_is_no_capture_says_what_is_expected(content: bytes) -> None:
    """Any other file ends in one sentence with both forms."""
    with pytest.raises(CaptureError, match="Expected a raw HTTP request"):
        read_capture(content)
