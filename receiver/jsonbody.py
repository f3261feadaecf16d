r"""The one place that decides what is JSON: RFC 8259, in UTF-8 without a BOM.

Reading takes two steps: a fast parser, then, for what it refuses, the standard library's, which reads
grammatical oddities such as a lone `\ud800` or a hundred levels more. Both keep the last of two equal keys.
The rule easiest to break: whatever the bytes are, `parse_json` ends in a value or in `InvalidJSON`, and
`canonical` can write every value it gave.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import orjson
from pydantic_core import from_json

from receiver.errors import InvalidJSON

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["JSON", "canonical", "parse_json"]

JSON: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None

MAX_DEPTH: Final = 500
"""Levels of nesting: half of Python's recursion limit, so that what is read here can be written anywhere."""


def parse_json(body: bytes) -> JSON:
    """The value that the bytes are. Numbers too large for Python are infinite.

    Raises:
        InvalidJSON: they are not JSON, or nested deeper than `MAX_DEPTH`.
    """
    try:
        value: JSON = from_json(body, allow_inf_nan=False)
    except ValueError:
        return _parse_patiently(body)
    return value


def canonical(value: JSON) -> bytes:
    """Bytes that are equal for equal content, whatever the order of keys and the spelling in the body."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # a lone surrogate, a number of more than 64 bits, very deep nesting
        return _encode(value).encode("ascii")


# ASCII output, because lone surrogates have no UTF-8. JSON has no cycles to check for.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


def _parse_patiently(body: bytes) -> JSON:
    try:
        value: JSON = _decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidJSON("not UTF-8") from None
    except ValueError:
        raise InvalidJSON("not JSON") from None
    except RecursionError:
        raise InvalidJSON("nested too deeply") from None
    if _deeper_than(MAX_DEPTH, value):
        raise InvalidJSON("nested too deeply")
    return value


def _integer(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # Python reads no more than 4300 digits
        return float(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse)


def _deeper_than(limit: int, value: JSON) -> bool:
    """Whether containers nest deeper than that. Level by level, so that depth costs no recursion here."""
    level = _containers([value])
    for _ in range(limit):
        level = [inner for container in level for inner in _containers(_children(container))]
        if not level:
            return False
    return bool(level)


def _containers(values: Iterable[JSON]) -> list[dict[str, Any] | list[Any]]:
    return [value for value in values if isinstance(value, (dict, list))]


def _children(container: dict[str, Any] | list[Any]) -> Iterable[JSON]:
    return container.values() if isinstance(container, dict) else container
