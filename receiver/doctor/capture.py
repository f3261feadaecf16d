"""A delivery that somebody captured, read from a file: a raw HTTP request, or JSON with headers and body.

The body is what the signature is about, so the rule easiest to break: not a byte of it changes on the way in.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from multidict import CIMultiDict

from receiver.errors import InvalidJSON, ReceiverError
from receiver.jsonbody import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST_CAPTURE: Final = 16 * 1024 * 1024
"""Bytes of a file that are read."""
_blank_line = re.compile(rb"\r?\n\r?\n")
_request_line = re.compile(r"[A-Z]+ (\S+) HTTP/[0-9.]+")
_header = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")

EXPECTED: Final = (
    "Expected a raw HTTP request (headers, a blank line, the body's bytes), or JSON such as "
    '{"headers": {"X-Klen-Signature": "..."}, "body": "..."} with "body_base64" for bytes that are no text'
)


class CaptureError(ReceiverError):
    """The file is no captured delivery."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One request as it was captured."""

    headers: CIMultiDict[str]
    body: bytes
    path: str | None = None
    """Of its request line, if it has one."""


def read_capture(content: bytes) -> Capture:
    """The delivery in a file of this content.

    Raises:
        CaptureError: it is neither of the two forms; says what is expected.
    """
    if content.lstrip().startswith(b"{"):
        return _from_json(content)
    match = _blank_line.search(content)
    if match is None:
        raise CaptureError(f"{EXPECTED}; found no blank line.")
    lines = content[: match.start()].decode("latin-1").lstrip("\r\n").splitlines()
    first = _request_line.fullmatch(lines[0]) if lines else None
    headers: CIMultiDict[str] = CIMultiDict()
    for number, line in enumerate(lines[1:] if first else lines, 2 if first else 1):
        found = _header.fullmatch(line)
        if found is None:
            raise CaptureError(f"{EXPECTED}; line {number} is no header.")
        headers.add(found[1], found[2])
    return Capture(headers, content[match.end() :], first[1].partition("?")[0] if first else None)


def _from_json(content: bytes) -> Capture:
    try:
        value = parse_json(content)
    except InvalidJSON as error:
        raise CaptureError(f"{EXPECTED}; found text that is {error.reason}.") from None
    found = value if isinstance(value, dict) else {}
    headers = found.get("headers")
    if not isinstance(headers, dict):
        raise CaptureError(f'{EXPECTED}; found JSON without "headers". Is it the body alone?')
    pairs = CIMultiDict((name, text) for name, texts in headers.items() for text in _texts(name, texts))
    path = found.get("path")
    return Capture(pairs, _body(found), path if isinstance(path, str) else None)


def _texts(name: str, value: object) -> Iterable[str]:
    """The values of one header, which may have come several times."""
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(text, (str, int)) for text in values):
        raise CaptureError(f"{EXPECTED}; the header {name[:50]!r} is no text.")
    return map(str, values)


def _body(found: dict[str, Any]) -> bytes:
    text, encoded = found.get("body"), found.get("body_base64")
    if isinstance(text, str) and encoded is None:
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise CaptureError(f'{EXPECTED}; "body" has half a character.') from None
    if isinstance(encoded, str) and text is None:
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise CaptureError(f'{EXPECTED}; "body_base64" is no base64.') from None
    raise CaptureError(f'{EXPECTED}; found neither or both of "body" and "body_base64", or no text in it.')
