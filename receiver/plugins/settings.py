"""What a plugin lets its operator set: a class that is filled from the table `[handlers.<name>]`.

The rule easiest to break: a value may be a secret, so a mistake names the key and never quotes the value.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from receiver.config.mistakes import KINDS
from receiver.errors import PluginError, ReceiverError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

RESERVED: Final = ("enabled", "paused", "retry", "timeout", "concurrency", "ordered", "stale")
"""Keys of `[handlers.<name>]` that say how the handler runs; no field may have one of these names."""


class Settings(BaseModel):
    """Subclass it in a plugin and name it in the second parameter, `ctx: Context[MySettings]`.

    Its fields are filled from `[handlers.<name>]`, without the keys klenhook itself reads there, and checked
    when the service starts. A text field takes `env:NAME` or `file:PATH` as well; give secrets the type
    `pydantic.SecretStr`, so that no log line ever shows them. Unknown keys are mistakes.

    Raises:
        PluginError: at the class statement, when a field has a reserved name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a field that could never be filled."""
        super().__pydantic_init_subclass__(**kwargs)
        for key in RESERVED:
            if key in _keys(cls):
                raise PluginError(
                    f"the settings class {cls.__name__} has a field {key!r}, a key that klenhook "
                    "itself reads in [handlers.<name>]; give the field another name."
                )


S = TypeVar("S", bound=Settings)


class SettingsError(Exception):
    """The table does not fit its class. `mistakes` has a line for each: the key, and what is wrong."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(self.mistakes))


def fill(
    settings_class: type[S], values: Mapping[str, Any], *, table: str, resolve: Callable[[str], str]
) -> S:
    """The settings a table gives.

    `table` begins each mistake, such as `handlers.hello`. `resolve` turns `env:NAME` or `file:PATH` into the
    text meant, and raises a ValueError or one of our errors that says what is missing.

    Raises:
        SettingsError: with every mistake.
    """
    resolved: dict[str, Any] = {}
    unresolved: dict[str, str] = {}
    texts = _text_keys(settings_class)
    for key, value in values.items():
        try:
            resolved[key] = _resolved(value, resolve) if key in texts else value
        except (ValueError, ReceiverError) as error:
            unresolved[key] = f"{table}.{key}: {error}"
    mistakes = list(unresolved.values())
    try:
        filled = settings_class.model_validate(resolved)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_context=False):
            if not found["loc"] or found["loc"][0] not in unresolved:
                path = ".".join([table, *map(str, found["loc"])])
                mistakes.append(f"{path}: {_in_words(found, settings_class)}")
        raise SettingsError(mistakes) from None
    except Exception as error:  # the class is the plugin's code; its message may quote a value
        mistakes.append(
            f"{table}: its settings class {settings_class.__name__} fails with {type(error).__name__}"
        )
        raise SettingsError(mistakes) from error
    if mistakes:
        raise SettingsError(mistakes)
    return filled


def _keys(settings_class: type[Settings]) -> dict[str, FieldInfo]:
    """The keys a table may have: a field's alias where it has one, else its name."""
    fields = settings_class.model_fields.items()
    return {
        field.validation_alias if isinstance(field.validation_alias, str) else name: field
        for name, field in fields
    }


def _text_keys(settings_class: type[Settings]) -> set[str]:
    return {key for key, field in _keys(settings_class).items() if _takes_text(field.annotation)}


def _takes_text(annotation: object) -> bool:
    return annotation in (str, SecretStr) or any(_takes_text(part) for part in get_args(annotation))


def _resolved(value: Any, resolve: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_resolved(item, resolve) for item in value]
    return resolve(value) if isinstance(value, str) and value.startswith(("env:", "file:")) else value


def _in_words(found: ErrorDetails, settings_class: type[Settings]) -> str:
    if found["type"] == "missing":
        return "required, and missing"
    if found["type"] == "extra_forbidden" and len(found["loc"]) == 1:
        return _unknown_key(str(found["loc"][0]), _keys(settings_class))
    if not found["msg"].startswith("Input should be"):
        return found["msg"].removeprefix("Value error, ")
    value = found["input"]
    kind = next((words for types, words in KINDS.items() if isinstance(value, types)), "something else")
    return f"{found['msg'].replace('Input should be', 'expected', 1)}, found {kind}"


def _unknown_key(key: str, own: Iterable[str]) -> str:
    """What to say about a key of `[handlers.<name>]` that neither klenhook nor the handler reads."""
    own = tuple(own)
    nearest = difflib.get_close_matches(key, [*own, *RESERVED], n=1)
    if nearest:
        return f"unknown key; did you mean {nearest[0]}?"
    return (
        f"unknown key; this handler's own keys are {', '.join(own)}"
        if own
        else ("unknown key; this handler has no settings of its own")
    )
