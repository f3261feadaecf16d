"""What tells one set of words from another, to compare the index of words with where they come from.

The rule easiest to break: a mark holds for this process only, since Python begins to hash otherwise in each.
"""

from __future__ import annotations

from functools import reduce
from operator import xor

__all__ = ["mark_of"]


def mark_of(words: str) -> int:
    """The same for the same words in any order, each once; separated by blanks."""
    return reduce(xor, map(hash, words.split(" ")))
