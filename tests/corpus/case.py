"""One file of the corpus, and the outcomes that many of them share."""

from __future__ import annotations

from typing import Final

READ: Final = ("200",)
REFUSED: Final = ("400",)
EITHER: Final = ("200", "400")
FORGED: Final = ("401",)

Case = tuple[str, bytes, tuple[str, ...]]
"""A name, the bytes, and what may come of them."""
