"""Keys set by environment variables: `KLENHOOK_SERVER__LISTEN`, two underscores between levels.

Text becomes what the key's type needs; lists and tables are JSON. The rule easiest to break: a variable that
the configuration itself names as `env:KLENHOOK_...` holds a secret, and is no key.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from receiver.config.keys import (
    NAME,
    PREFIX,
    children,
    dotted,
    is_table,
    kind_of,
    nearest,
    valid_keys,
    variable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic.fields import FieldInfo

CONFIG_VARIABLE: Final = "KLENHOOK_CONFIG"
# difflib's ratio: a slip of the keyboard in a whole name, such as one underscore for two.
SURELY: Final = 0.9


class EnvironmentSource(PydanticBaseSettingsSource):
    """What the environment sets, as tables; also which variable set what, and what is wrong with them."""

    def __init__(
        self, settings_cls: type[BaseSettings], environ: Mapping[str, str], file: Mapping[str, Any]
    ) -> None:
        """`file` has the tables of the configuration file: sources and handlers are spelled as there."""
        super().__init__(settings_cls)
        self._file = file
        self._tables: dict[str, Any] = {}
        self.origins: dict[tuple[str, ...], str] = {}
        """The variable that set a key."""
        self.problems: list[str] = []
        unknown = [name for name in sorted(environ) if not self._take(name, environ[name])]
        referenced = {*_references(file), *_references(self._tables)}
        self.problems += [_unknown(name) for name in unknown if name not in referenced]

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 -- pydantic's signature
        """One table."""
        return self._tables.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All tables."""
        return self._tables

    def _take(self, name: str, text: str) -> bool:
        """Set the key that this variable names. False when there is none."""
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            return True
        key = self._key(name.removeprefix(PREFIX).split("__"))
        if key is None or (_is_handler(key) and not text.startswith("{")):
            return False
        try:
            value = _read(kind_of(key), text)
        except ValueError as error:
            self.problems.append(f"{name} ({dotted(key)}): {error}")
            return True
        self._set(key, value)
        self.origins |= dict.fromkeys(_leaves(key, value), name)
        return True

    def _key(self, parts: list[str]) -> tuple[str, ...] | None:
        """The key of a variable's parts, which are upper case. None where there is no such key."""
        key: tuple[str, ...] = ()
        spelled: Any = self._file
        for part in parts:
            below = children(kind_of(key))
            name = part.lower()
            if name not in below:
                if NAME not in below or not part:
                    return None
                name = next((other for other in _names(spelled) if other.lower() == name), name)
            key = (*key, name)
            spelled = spelled.get(name) if isinstance(spelled, dict) else None
        return key

    def _set(self, key: tuple[str, ...], value: Any) -> None:
        """Put the value into its table; the more special variable wins, since it sorts behind the other."""
        table = self._tables
        for part in key[:-1]:
            if not isinstance(table.get(part), dict):
                table[part] = {}
            table = table[part]
        table[key[-1]] = value


def _read(kind: Any, text: str) -> Any:
    """The text as a value of this type, or unchanged where it is none: checking the value comes later.

    Raises:
        ValueError: it is not the JSON it has to be, or not UTF-8.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("expected text in UTF-8") from None
    if kind is Any:
        return _json_or_text(text)
    if kind in {bool, int, float}:
        try:
            return TypeAdapter(kind).validate_strings(text)
        except ValidationError:
            return text
    if children(kind):
        return _json(text, dict, 'a JSON object such as {"key": "value"}')
    if get_origin(kind) is tuple:
        return _json(text, list, 'a JSON list such as ["env:NAME"]')
    return text


def _json(text: str, wanted: type, words: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"expected {words}, found text that is not JSON") from None
    if not isinstance(value, wanted):
        raise ValueError(f"expected {words}, found other JSON")  # noqa: TRY004 -- bytes from outside, not a type of ours
    return value


def _json_or_text(text: str) -> Any:
    """A handler's own key: a list or an object if it looks like one, else text for its Settings to read."""
    try:
        return json.loads(text) if text.startswith(("[", "{")) else text
    except (ValueError, RecursionError):
        return text


def _names(table: Any) -> list[str]:
    return list(table) if isinstance(table, dict) else []


def _leaves(key: tuple[str, ...], value: Any) -> Iterator[tuple[str, ...]]:
    """The keys that are set when this value is put at this key."""
    if not isinstance(value, dict) or not value:
        yield key
        return
    for name in value:
        yield from _leaves((*key, name), value[name])


def _references(value: Any) -> Iterator[str]:
    """The variables that the configuration names as `env:NAME`."""
    if isinstance(value, str) and value.startswith("env:"):
        yield value.removeprefix("env:")
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references(item)


def _is_handler(key: tuple[str, ...]) -> bool:
    """The table of one handler. A text there is a misspelt key of `[handlers]` itself."""
    return len(key) == 2 and is_table(kind_of(key)) and key[0] == "handlers"  # noqa: PLR2004 -- table and name


def _unknown(name: str) -> str:
    known = [*map(variable, valid_keys()), CONFIG_VARIABLE]
    meant = get_close_matches(name, known, n=1, cutoff=SURELY)
    meant = meant or [variable(key) for key in nearest(name.removeprefix(PREFIX).lower().split("__"))]
    return f"{name}: unknown variable" + (f"; did you mean {' or '.join(meant)}?" if meant else "")
