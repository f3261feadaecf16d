"""The keys that sign webhooks: read from the text of a secret, used, and judged before they are trusted.

Pure, and below `receiver.signing`, whose styles say how signatures travel: nothing here imports it.
The rule easiest to break: a secret is never quoted, neither by a `repr` nor by a message nor by the error
of a decoder, which ends here.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidSignature as BadEd25519Signature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Secret", "is_weak"]

MIN_SECRET_BYTES: Final = 16


class _Key(Protocol):
    """Makes and checks signatures over `prefix + body`."""

    version: str

    def sign(self, prefix: bytes, body: bytes) -> bytes: ...

    def matches(self, prefix: bytes, body: bytes, signatures: Sequence[bytes]) -> bool: ...


class _SharedKey:
    """HMAC-SHA256. The keyed state is prepared once; to copy it costs half of setting it up."""

    version = "v1"

    def __init__(self, key: bytes) -> None:
        self._prepared = HMAC(key, SHA256())

    def sign(self, prefix: bytes, body: bytes) -> bytes:
        mac = self._prepared.copy()
        mac.update(prefix + body)
        return mac.finalize()

    def matches(self, prefix: bytes, body: bytes, signatures: Sequence[bytes]) -> bool:
        expected = self.sign(prefix, body)
        return sum(bytes_eq(expected, signature) for signature in signatures) > 0


class _KeyPair:
    """Ed25519, of which the receiver may have the public half only."""

    version = "v1a"

    def __init__(self, public: Ed25519PublicKey, private: Ed25519PrivateKey | None = None) -> None:
        self._public = public
        self._private = private

    def sign(self, prefix: bytes, body: bytes) -> bytes:
        if self._private is None:
            raise ValueError("a whpk_ key can only verify; signing needs the whsk_ key")
        return self._private.sign(prefix + body)

    def matches(self, prefix: bytes, body: bytes, signatures: Sequence[bytes]) -> bool:
        return any(self._is_ours(prefix + body, signature) for signature in signatures)

    def _is_ours(self, content: bytes, signature: bytes) -> bool:
        try:
            self._public.verify(signature, content)
        except BadEd25519Signature:
            return False
        return True


class _Style(Protocol):
    """What a key needs to know of its style."""

    @property
    def encoded_keys(self) -> bool: ...


class Secret:
    """The key of one secret in one style. Its text is not kept, and `repr` shows the fingerprint only."""

    __slots__ = ("fingerprint", "key")

    fingerprint: str
    """12 hex digits that tell secrets apart and may be stored: the same key gives the same ones."""

    def __init__(self, style: _Style, text: str) -> None:
        """Raises ValueError for text that is no key of this style; the message does not quote it."""
        if not text:
            raise ValueError("the secret is empty")
        self.key: _Key
        if style.encoded_keys and text.startswith(("whsk_", "whpk_")):
            self.key, identity = _key_pair(text)
        else:
            identity = _decode_key(text, "whsec_") if style.encoded_keys else _utf8(text)
            self.key = _SharedKey(identity)
        domain = HMAC(b"klenhook: fingerprint of a signing key", SHA256())
        domain.update(identity)
        self.fingerprint = domain.finalize().hex()[:12]

    def __repr__(self) -> str:
        return f"Secret(fingerprint={self.fingerprint!r})"


# What examples and manuals print: everyone knows them, the two halves of a published key pair included.
SAMPLES: Final = frozenset(
    text.casefold()
    for text in (
        "It's a Secret to Everybody",
        "8f742231b10e8888abcd99yyyzzz85a5",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==",
        "1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=",
    )
)
PLACEHOLDER: Final = re.compile(r"<?(?:change[-_ ]?(?:me|this|it)|replace(?:[-_ ]|me|this)|your[-_ ])")


def is_weak(secret: str) -> str | None:
    """Why this secret must be refused, as a sentence that does not quote it; None when it is good enough."""
    size = len(secret.encode("utf-8", "replace"))
    bare = secret.strip().casefold()
    for prefix in ("whsec_", "whsk_", "whpk_"):
        bare = bare.removeprefix(prefix)
    if not bare:
        return "the secret is empty"
    if size < MIN_SECRET_BYTES:
        return f"the secret has {size} bytes; at least {MIN_SECRET_BYTES} are needed"
    if len(set(bare)) == 1:
        return "the secret is one character repeated"
    if bare in SAMPLES or PLACEHOLDER.match(bare):
        return "the secret is a published sample or a placeholder; use the one the sender shows you"
    return None


def _utf8(text: str) -> bytes:
    """The secret's bytes; those of an environment variable that are not UTF-8 come back as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("the secret has characters that UTF-8 cannot hold") from None


def _decode_key(text: str, prefix: str) -> bytes:
    try:
        key = base64.b64decode(_utf8(text.removeprefix(prefix)), validate=True)
    except binascii.Error:
        raise ValueError(f"the secret must be {prefix} followed by base64") from None
    if len(key) < MIN_SECRET_BYTES:
        raise ValueError(f"the secret holds {len(key)} bytes; at least {MIN_SECRET_BYTES} are needed")
    return key


def _key_pair(text: str) -> tuple[_KeyPair, bytes]:
    """The key pair and its public bytes. Private keys come as 32 bytes, alone or with the public ones."""
    half = 32
    prefix = text[: len("whsk_")]
    raw = _decode_key(text, prefix)
    if prefix == "whpk_":
        if len(raw) != half:
            raise ValueError(f"a whpk_ key holds {half} bytes; this one has {len(raw)}")
        return _KeyPair(Ed25519PublicKey.from_public_bytes(raw)), raw
    if len(raw) not in {half, 2 * half}:
        raise ValueError(f"a whsk_ key holds {half} or {2 * half} bytes; this one has {len(raw)}")
    private = Ed25519PrivateKey.from_private_bytes(raw[:half])
    public = private.public_key().public_bytes_raw()
    if raw[half:] not in {b"", public}:
        raise ValueError("the two halves of this whsk_ key do not belong together")
    return _KeyPair(private.public_key(), private), public
