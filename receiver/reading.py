"""How single values of a payload are read: each function takes any JSON value and never raises.

The vendor's types are what its pages promise, not what must arrive, so a value that cannot be read is
None and the event stays usable. The typed events and the columns of the log both read through here; the
rule easiest to break is to read a value in a second place, and let the two disagree.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["boolean", "identifier", "instant", "integer", "milliseconds", "storable", "text", "uuid"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_surrogates = re.compile("[\ud800-\udfff]")
_decimal = re.compile(r"-?[0-9]{1,19}")
_uuid = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def text(value: object) -> str | None:
    """Text that can be printed and encoded: half a surrogate pair becomes U+FFFD."""
    if not isinstance(value, str):
        return None
    return value if value.isascii() else _surrogates.sub(_REPLACEMENT, value)


def storable(value: object, limit: int) -> str | None:
    """Text for a column: as `text` reads it, without NUL characters, at which SQLite and PostgreSQL stop."""
    if not isinstance(value, str):
        return None
    if value.isascii() and len(value) <= limit and "\0" not in value:  # as nearly every one is
        return value
    return _surrogates.sub(_REPLACEMENT, value)[:limit].replace("\0", _REPLACEMENT)


def uuid(value: object) -> str | None:
    """A UUID in lower case. Other text stays, since the vendor may call that one; "" is none."""
    found = text(value)
    if found and _uuid.fullmatch(found):
        return found.lower()
    return found or None


def integer(value: object) -> int | None:
    """A whole number of 64 bits, or the decimal digits of one."""
    if isinstance(value, str) and _decimal.fullmatch(value):
        value = int(value)
    if type(value) is int and -(2**63) <= value < 2**63:  # `is`, because True is an int too
        return value
    return None


def identifier(value: object) -> int | str | None:
    """A number as `integer` reads it, else the text that the vendor puts in its place; "" is none."""
    number = integer(value)
    return number if number is not None else (text(value) or None)


def boolean(value: object) -> bool | None:
    """True or false, nothing like them."""
    return value if isinstance(value, bool) else None


def instant(value: object) -> datetime | None:
    """A moment in UTC from ISO 8601 text, with or without fraction and offset; without offset it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.upper())  # RFC 3339 allows "z"
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    if value.tzinfo is UTC:
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:  # the year is 0 or 10000 in UTC
        return None


def milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970 in UTC."""
    return (moment - _EPOCH) // _MILLISECOND
