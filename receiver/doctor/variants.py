"""What may have happened to a body, a secret or a signature on its way: each as a function that undoes it.

Pure. The rule easiest to break: a variant that equals what came is none, or the doctor would name a change
that never was.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Change: TypeAlias = "tuple[str, Callable[[bytes], bytes | None]]"
"""In words, and how to undo it; None where it cannot have happened."""

LARGEST_UNPACKED: Final = 16 * 1024 * 1024
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]*\r\n")


def _json(body: bytes, **style: Any) -> bytes | None:
    try:
        value = json.loads(body.decode("utf-8-sig"))
        return json.dumps(value, **style).encode()
    except (ValueError, RecursionError):
        return None


def _recoded(body: bytes, written: str, meant: str) -> bytes | None:
    try:
        return body.decode(written).encode(meant)
    except UnicodeError:
        return None


def _unpacked(body: bytes) -> bytes | None:
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
        return unpacker.decompress(body, LARGEST_UNPACKED)
    except zlib.error:
        return None


def _unchunked(body: bytes) -> bytes | None:
    """The content without the framing of https://www.rfc-editor.org/rfc/rfc9112#section-7.1 ."""
    found, at = bytearray(), 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        if size == 0:
            return bytes(found)
        found += body[match.end() : match.end() + size]
        at = match.end() + size + 2
    return None


_TIGHT: Final = {"separators": (",", ":")}

BODY_CHANGES: Final[tuple[Change, ...]] = (
    ("a newline was added at its end", lambda body: body.removesuffix(b"\n").removesuffix(b"\r")),
    ("the newline at its end was lost", lambda body: body + b"\n"),
    ("blanks or newlines around it were added", bytes.strip),
    ("line ends were changed from LF to CRLF", lambda body: body.replace(b"\r\n", b"\n")),
    ("line ends were changed from CRLF to LF", lambda body: body.replace(b"\n", b"\r\n")),
    ("a byte order mark was put in front of it", lambda body: body.removeprefix(b"\xef\xbb\xbf")),
    (
        "its JSON was written anew; what was signed is compact JSON",
        lambda body: _json(body, ensure_ascii=False, **_TIGHT),
    ),
    (
        "its JSON was written anew; what was signed is compact JSON in ASCII",
        lambda body: _json(body, **_TIGHT),
    ),
    ("its JSON was written anew; what was signed has blanks after , and :", _json),
    (
        "its JSON was written anew; what was signed has blanks after , and : and is not escaped",
        lambda body: _json(body, ensure_ascii=False),
    ),
    (
        "its JSON was written anew; what was signed is indented by 2",
        lambda body: _json(body, ensure_ascii=False, indent=2),
    ),
    (
        "its JSON was written anew; what was signed is indented by 4",
        lambda body: _json(body, ensure_ascii=False, indent=4),
    ),
    (
        "its JSON was written anew; what was signed is compact with its keys sorted",
        lambda body: _json(body, ensure_ascii=False, sort_keys=True, **_TIGHT),
    ),
    (
        "its JSON was written anew; what was signed has every / escaped",
        lambda body: (tight := _json(body, **_TIGHT)) and tight.replace(b"/", b"\\/"),
    ),
    ("it was compressed after signing", _unpacked),
    ("the framing of its chunks was taken for content", _unchunked),
    ("its UTF-8 was encoded a second time", lambda body: _recoded(body, "utf-8", "latin-1")),
    ("it was changed from UTF-8 to Latin-1", lambda body: _recoded(body, "latin-1", "utf-8")),
    ("it got lost or was not signed; the signature is over nothing", lambda _body: b""),
)


def bodies(body: bytes, headers: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """What may have been signed instead of this body, each with what happened then. None is equal to it."""
    length = headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and int(length[:12]) < len(body):
        yield "bytes were added behind the end that Content-Length gives", body[: int(length)]
    for words, undo in BODY_CHANGES:
        changed = undo(body)
        if changed is not None and changed != body:
            yield words, changed


DECODED: Final = "without its prefix, decoded from base64"
"""The usual reading of Standard Webhooks, and a mistake elsewhere."""
SECRET_CHANGES: Final[tuple[Change, ...]] = (
    ("without the blanks or newlines around it", bytes.strip),
    ("with a newline at its end", lambda key: key + b"\n"),
    ("without the quotes around it", lambda key: key.strip(b"\"'")),
    ("decoded from hex", lambda key: _decoded(binascii.unhexlify, key)),
    ("decoded from base64", lambda key: _decoded(base64.b64decode, key)),
    ("without its prefix", lambda key: re.sub(rb"^[a-z]{2,8}_", b"", key)),
    (
        DECODED,
        lambda key: _decoded(base64.b64decode, re.sub(rb"^[a-z]{2,8}_", b"", key)),
    ),
    ("in lower case", bytes.lower),
)


def _decoded(decode: Callable[..., bytes], text: bytes) -> bytes | None:
    try:
        return decode(text) or None
    except (binascii.Error, ValueError):
        return None


def keys(key: bytes) -> Iterator[tuple[str, bytes]]:
    """Other readings of the same secret. None is equal to it."""
    for words, read in SECRET_CHANGES:
        changed = read(key)
        if changed is not None and changed != key:
            yield words, changed


def digests(text: str) -> list[tuple[str, bytes]]:
    """The signatures that a header's text may hold, with the encoding each is in."""
    return list(islice(_digests(text[:LONGEST_HEADER]), MOST_SIGNATURES))


def _digests(text: str) -> Iterator[tuple[str, bytes]]:
    for run in re.findall(r"[0-9a-fA-F]{40,128}", text):
        if len(run) in HASHES:
            yield "hex", bytes.fromhex(run)
    for run in re.findall(r"[A-Za-z0-9+/_-]{27,88}={0,2}", text):
        usual = run.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            raw = base64.b64decode(usual + "=" * (-len(usual) % 4), validate=True)
        except (binascii.Error, ValueError):
            continue
        if 2 * len(raw) in HASHES:
            yield "base64", raw


LONGEST_HEADER: Final = 8_192
MOST_SIGNATURES: Final = 4
"""What is tried costs a second for each."""
HASHES: Final = {40: "sha1", 64: "sha256", 96: "sha384", 128: "sha512"}
"""By the hex digits of their digests."""
