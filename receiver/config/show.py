"""The effective configuration, key by key, with where each value comes from and every secret hidden.

The rule easiest to break: a text that may be a secret is shown only if it is a reference, `env:NAME` or
`file:PATH`. That covers all text among a handler's own settings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from receiver.config.fields import Section
from receiver.config.keys import is_secret, written
from receiver.config.mistakes import origin_of
from receiver.config.values import Address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from receiver.config.load import Layers
    from receiver.config.models import Config

HIDDEN: Final = "********"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key as it is in effect."""

    key: tuple[str, ...]
    value: Any
    """As it is written in TOML, secrets hidden."""
    origin: str
    """`default`, `file`, or the variable that set it."""


def effective(config: Config, layers: Layers) -> Iterator[Setting]:
    """Every key of the configuration that `layers` made, table by table."""
    for key, value in _walk((), config):
        as_written, is_set = _at(layers.merged, key)
        shown = _hide(as_written if is_set else "") if is_secret(key) else _plain(value)
        yield Setting(key, shown, origin_of(key, layers.origins) or ("file" if is_set else "default"))


def to_tables(settings: Iterable[Setting]) -> dict[str, Any]:
    """The settings as nested tables."""
    tables: dict[str, Any] = {}
    for setting in settings:
        table = tables
        for part in setting.key[:-1]:
            table = table.setdefault(part, {})
        table[setting.key[-1]] = setting.value
    return tables


def to_toml(settings: Iterable[Setting]) -> str:
    """The settings as TOML, each with its origin as a comment."""
    lines: list[str] = []
    header: tuple[str, ...] = ()
    for setting in settings:
        in_named_table = setting.key[0] in {"sources", "handlers"} and len(setting.key) > 2  # noqa: PLR2004 -- a table, a name, a key
        table = setting.key[: 2 if in_named_table else 1]
        if table != header:
            lines += ["", f"[{'.'.join(map(written, table))}]"]
            header = table
        key = ".".join(map(written, setting.key[len(table) :]))
        lines.append(f"{key} = {_toml(setting.value)}  # {setting.origin}")
    return "\n".join(lines).strip()


def _walk(key: tuple[str, ...], section: Section) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys of a table and of the tables in it. None means that something else decides."""
    fields = {name: getattr(section, name) for name in type(section).model_fields}
    tables: dict[tuple[str, ...], Section] = {}
    for name, value in (fields | (section.model_extra or {})).items():
        if isinstance(value, Section):
            tables[*key, name] = value
        elif key == () and isinstance(value, dict):
            tables |= {(name, inner): table for inner, table in value.items()}
        elif value is not None:
            yield (*key, name), value
    for inner_key, table in tables.items():
        yield from _walk(inner_key, table)


def _at(tables: Any, key: tuple[str, ...]) -> tuple[Any, bool]:
    """The value as it was written at this key, and whether there is one."""
    for part in key:
        if not isinstance(tables, dict) or part not in tables:
            return None, False
        tables = tables[part]
    return tables, True


def _hide(value: Any) -> Any:
    if isinstance(value, str):
        return value if not value or value.startswith(("env:", "file:")) else HIDDEN
    if isinstance(value, list):
        return [_hide(item) for item in value]
    return {name: _hide(item) for name, item in value.items()} if isinstance(value, dict) else value


def _plain(value: Any) -> Any:
    """The value as TOML would have it."""
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _toml(value: Any) -> str:
    """The value as TOML 1.0 writes it: https://toml.io/en/v1.0.0."""
    if isinstance(value, str):
        # JSON's escapes are TOML's; DEL is the one character that only TOML refuses.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{written(name)} = {_toml(item)}' for name, item in value.items())}}}"
    return str(value)
