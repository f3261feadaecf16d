"""What is said about each mistake: its key, what was expected, what was found, and which key was meant.

The rule easiest to break: the value at a key that may hold a secret is never shown, only what kind of thing
it is; nor is the value of an unknown key, which may be a misspelt secret.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final, get_args

from receiver.config.keys import Key, children, dotted, is_secret, is_single, kind_of, nearest, variable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

MAX_SHOWN: Final = 60

LARGE: Final = 10**18
BOUNDS: Final = {"gt", "ge", "le"}

KINDS: Final = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a table",
    dt.date: "a date",
    dt.time: "a time",
}
# https://docs.pydantic.dev/latest/errors/validation_errors/
EXPECTED: Final = {
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "string_unicode": "expected text that UTF-8 can hold",
    "string_too_short": "expected some text",
    "tuple_type": "expected a list",
    "model_type": "expected a table",
    "dict_type": "expected a table",
    "finite_number": "expected a finite number",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than_equal": "expected at most {le}",
}
NO_SOURCE: Final = (
    "no source is configured; expected at least one, such as [sources.klen] "
    'with secrets = ["env:KLEN_WEBHOOK_SECRET"]'
)


def describe(error: ErrorDetails, origins: Mapping[tuple[str, ...], str]) -> str:
    """One line for one of pydantic's errors; `origins` has the variables that set keys."""
    key = tuple(part for part in error["loc"] if part != "[key]")
    return f"{named(key, origins)}: {_mistake(error, key, by_variable=origin_of(key, origins) is not None)}"


def named(key: Key, origins: Mapping[tuple[str, ...], str]) -> str:
    """The key, behind the variable that set it if one did."""
    name = origin_of(key, origins)
    return f"{name} ({dotted(key)})" if name else dotted(key)


def origin_of(key: Key, origins: Mapping[tuple[str, ...], str]) -> str | None:
    """The variable that set this key, its list, or something below it."""
    names = [part for part in key if isinstance(part, str)]
    return next((name for at, name in origins.items() if list(at[: len(names)]) == names[: len(at)]), None)


def _mistake(error: ErrorDetails, key: Key, *, by_variable: bool) -> str:
    kind, value = error["type"], error["input"]
    if key == ("sources",) and kind in {"missing", "too_short"}:
        return NO_SOURCE
    if kind == "extra_forbidden":
        return "unknown key" + _hint(key, by_variable=by_variable)
    if kind == "missing":
        return 'missing; expected a list such as ["env:KLEN_WEBHOOK_SECRET"]'
    if kind == "value_error":
        sentence = str(error.get("ctx", {})["error"])
        shown = sentence.startswith("expected") and is_single(key) and not is_secret(key)
        return f"{sentence}, found {found(value, key)}" if shown else sentence
    if kind == "literal_error":
        expected = f"expected one of {', '.join(get_args(kind_of(key)))}"
    else:
        bounds = {name: f"{bound:.0f}" for name, bound in error.get("ctx", {}).items() if name in BOUNDS}
        expected = EXPECTED.get(kind, "expected another value").format_map(bounds)
    hint = _hint(key, by_variable=by_variable) if kind == "model_type" and key[0] == "handlers" else ""
    return f"{expected}, found {found(value, key)}{hint}"


def _hint(key: Key, *, by_variable: bool) -> str:
    names = [str(part) for part in key]
    meant = nearest(names)
    if meant:
        return (
            f"; did you mean {' or '.join(variable(one) if by_variable else dotted(one) for one in meant)}?"
        )
    if names[0] == "handlers":
        return ""
    return f"; valid here: {', '.join(children(kind_of(names[:-1])))}"


def found(value: Any, key: Key) -> str:
    """The value, shortened; where it may be a secret or is no single value, only what kind of thing it is."""
    kind = next(
        (words for types, words in KINDS.items() if isinstance(value, types)), "another kind of value"
    )
    if value == "":
        return "empty text"
    if not isinstance(value, (str, int, float)) or is_secret(key) or not is_single(key):
        return kind
    return f"text {_quoted(value)}" if isinstance(value, str) else _number(value)


def _quoted(text: str) -> str:
    if "@" in text or "?" in text:  # what stands before the one or behind the other may be a password
        return "with an @ or a ?"
    return json.dumps(text[:MAX_SHOWN] + ("..." if len(text) > MAX_SHOWN else ""))


def _number(value: float) -> str:
    return "a number beyond all bounds" if abs(value) >= LARGE else json.dumps(value)
