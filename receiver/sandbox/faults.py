"""What goes wrong with deliveries on request: chances, and what they come to for each delivery.

The rule easiest to break: what happens to a delivery depends on the seed and its number alone, so that a run
with the same seed fails in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Final

from receiver.sandbox.drawn import draws
from receiver.sandbox.errors import SandboxError

HELD_FOR: Final = timedelta(seconds=5)
"""By the sandbox's clock: how long a delivery is held back if no other about its appointment comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Chances from 0 to 1, for each delivery unless it says otherwise."""

    duplicate: float = 0.0
    """It is sent twice, at the same time."""
    reorder: float = 0.0
    """It is held back until a later one about the same appointment has been sent."""
    drop: float = 0.0
    """It is never sent."""
    bad_signature: float = 0.0
    """An attempt, each by itself, is signed wrongly."""
    unknown: float = 0.0
    """A webhook of a kind that nobody knows follows."""
    delay: timedelta = timedelta()
    """Every delivery leaves this much later, in real time."""

    def __post_init__(self) -> None:
        for one in fields(self):
            chance = getattr(self, one.name)
            if one.name != "delay" and not (isinstance(chance, int | float) and 0 <= chance <= 1):
                raise SandboxError(f"{one.name}: expected a chance from 0 to 1, found {chance!r}.")
        if self.delay < timedelta():
            raise SandboxError("delay: expected a time that is not negative.")

    def fate(self, seed: int, number: int) -> Fate:
        """What is to happen to the delivery of this number."""
        dice = draws(seed, "fate", number)
        return Fate(
            duplicated=dice.random() < self.duplicate,
            held=dice.random() < self.reorder,
            dropped=dice.random() < self.drop,
            followed=dice.random() < self.unknown,
        )

    def forges(self, seed: int, number: int, attempt: int) -> bool:
        """Whether this attempt is signed wrongly."""
        return draws(seed, "forged", number, attempt).random() < self.bad_signature


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one delivery."""

    duplicated: bool
    held: bool
    dropped: bool
    followed: bool
    """By a webhook of an unknown kind."""
