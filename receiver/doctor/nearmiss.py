"""A body or a signature in which a single character was changed: found by trying them all.

Pure. It tells a changed body from a wrong secret, which nothing else can when both look as they should.
"""

from __future__ import annotations

import hmac
from typing import Final

LONGEST_BODY: Final = 2_048
"""Bytes. Trying all changes takes the square of the length: about two seconds for this one."""
PRINTABLE: Final = tuple(bytes([code]) for code in range(0x20, 0x7F))
FEW: Final = 8
"""Hex digits of 64 that may differ before two digests are simply different: chance gives 60."""


def changed_signature(expected: bytes, given: bytes) -> bool:
    """Whether a few digits of the signature are other ones."""
    pairs = zip(expected.hex(), given.hex(), strict=False)
    return len(expected) == len(given) and sum(a != b for a, b in pairs) <= FEW


def changed_byte(key: bytes, prefix: bytes, body: bytes, signature: bytes) -> str | None:
    """Which one byte of the body was changed, added or lost after signing, in words; None if it is none."""
    if len(body) > LONGEST_BODY:
        return None
    before = hmac.new(key, prefix, "sha256")
    for at in range(len(body) + 1):
        here, rest = body[at : at + 1], body[at + 1 :]
        found = _at(before, here, rest, signature)
        if found is not None:
            return f"byte {at + 1}: {found}"
        before.update(here)
    return None


def _at(before: hmac.HMAC, here: bytes, rest: bytes, signature: bytes) -> str | None:
    if here and _signs(before, rest, signature):
        return f"{_shown(here)} was added there"
    for other in PRINTABLE:
        if here and other != here and _signs(before, other + rest, signature):
            return f"{_shown(here)} stands there, and {_shown(other)} was signed"
        if _signs(before, other + here + rest, signature):
            return f"{_shown(other)} was lost there"
    return None


def _signs(before: hmac.HMAC, rest: bytes, signature: bytes) -> bool:
    mac = before.copy()
    mac.update(rest)
    return mac.digest() == signature


def _shown(byte: bytes) -> str:
    return repr(byte.decode("latin-1"))
