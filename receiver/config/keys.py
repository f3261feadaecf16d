"""The valid keys as a tree read off the models, how a key is written, and what a wrong key was meant for.

A key is a tuple such as ("server", "listen"); `NAME` stands for the name of a source or of a handler.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, Union, get_args, get_origin

from pydantic import SecretStr

from receiver.config.fields import Section
from receiver.config.models import Config

if TYPE_CHECKING:
    from collections.abc import Sequence

Key: TypeAlias = tuple[str | int, ...]

PREFIX: Final = "KLENHOOK_"
NAME: Final = "NAME"
# difflib's ratio: 0.6 takes "listn" for "listen"; across tables, where there are more keys, be surer.
CLOSE: Final = 0.6
CLOSE_ELSEWHERE: Final = 0.8


def children(kind: Any) -> dict[str, Any]:
    """The keys below something of this type, each with its type. `NAME` stands for any other key."""
    kind = plain(kind)
    if kind is Any:
        return {NAME: Any}
    if get_origin(kind) is dict:
        return {NAME: get_args(kind)[1]}
    if not is_table(kind):
        return {}
    keys: dict[str, Any] = {name: field.annotation for name, field in kind.model_fields.items()}
    return keys | ({NAME: kind.other_keys} if kind.other_keys is not None else {})


def kind_of(key: Sequence[str | int]) -> Any:
    """The type of the value at this key, or None where no key is valid."""
    kind: Any = Config
    for part in key:
        if isinstance(part, int):
            kind = next(iter(get_args(plain(kind))), None)
        else:
            below = children(kind)
            kind = below.get(part, below.get(NAME))
    return plain(kind)


def plain(kind: Any) -> Any:
    """The type without constraints and without `| None`."""
    while get_origin(kind) in {Annotated, Union, UnionType}:
        kind = get_args(kind)[0]
    return kind


def is_table(kind: Any) -> bool:
    """A table of its own keys."""
    return isinstance(kind, type) and issubclass(kind, Section)


def is_single(key: Sequence[str | int]) -> bool:
    """The value there is one text, number or truth value."""
    kind = kind_of(key)
    return kind is not None and not children(kind) and get_origin(kind) is not tuple


def is_secret(key: Sequence[str | int]) -> bool:
    """The value there may be a secret. A handler's own settings may be, too: nobody here knows them."""
    kind = kind_of(key)
    return kind is Any or SecretStr in {kind, *(plain(item) for item in get_args(kind))}


@cache
def valid_keys() -> tuple[tuple[str, ...], ...]:
    """Every key that holds a value."""

    def below(key: tuple[str, ...], kind: Any) -> list[tuple[str, ...]]:
        if plain(kind) is Any:
            return []
        keys = children(kind)
        return [leaf for name in keys for leaf in below((*key, name), keys[name])] if keys else [key]

    return tuple(below((), Config))


def dotted(key: Sequence[str | int]) -> str:
    """The key as people write it: `sources.klen.secrets[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{written(part)}" for part in key)
    return text.removeprefix(".")


def written(name: str) -> str:
    """One part of a key in TOML, in quotes where it needs them."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def variable(key: Sequence[str | int]) -> str:
    """The environment variable that sets this key."""
    return PREFIX + "__".join(str(part).upper() for part in key)


def nearest(key: Sequence[str]) -> list[tuple[str, ...]]:
    """What a wrong key was probably meant to be: a key of the same table, else of another one."""
    *table, name = key
    name = name.lower().replace("-", "_")
    siblings = [sibling for sibling in children(kind_of(table)) if sibling != NAME]
    if close := get_close_matches(name, siblings, n=1, cutoff=CLOSE):
        return [(*table, close[0])]
    elsewhere = get_close_matches(name, {valid[-1] for valid in valid_keys()}, n=1, cutoff=CLOSE_ELSEWHERE)
    return [_named(valid, table) for valid in valid_keys() if valid[-1] in elsewhere]


def _named(valid: tuple[str, ...], table: Sequence[str]) -> tuple[str, ...]:
    """The valid key with the name of the source or handler at hand in place of `NAME`."""
    at_hand = len(table) > 1 and table[0] == valid[0]
    return tuple(table[1] if part == NAME and at_hand else part for part in valid)
