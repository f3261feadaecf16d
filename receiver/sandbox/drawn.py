"""What looks random in the sandbox, and is the same again with the same seed.

The rule easiest to break: each draw depends on the seed and on what it is for, never on what was drawn before
it; so a sandbox that was stopped goes on where it was, and one more request does not change all that follow.
"""

from __future__ import annotations

import random
from uuid import UUID


def draws(seed: int, *about: object) -> random.Random:
    """A generator of its own for this use."""
    return random.Random(" ".join(map(str, (seed, *about))))  # noqa: S311 -- it must be repeatable


def drawn_uuid(seed: int, *about: object) -> str:
    """A UUID, version 4."""
    return str(UUID(int=draws(seed, *about).getrandbits(128), version=4))


def drawn_secret(seed: int, *about: object) -> str:
    """32 bytes in hex."""
    return draws(seed, *about).randbytes(32).hex()
