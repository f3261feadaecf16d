"""What the doctor says: one finding for each thing it has looked at.

The rule easiest to break: whatever is not fine comes with what to do about it, in words of the person who
has to do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Level: TypeAlias = Literal["fine", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What was looked at, in a word or two."""
    level: Level
    message: str
    fix: str | None = None
    """What to do; there whenever the level is not `fine`."""


def fine(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, "fine", message)


def warning(check: str, message: str, fix: str) -> Finding:
    """It works, and should be better."""
    return Finding(check, "warning", message, fix)


def error(check: str, message: str, fix: str) -> Finding:
    """It does not work."""
    return Finding(check, "error", message, fix)
