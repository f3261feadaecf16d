"""The types that keys of the configuration have, and the table they stand in.

A secret is resolved while it is checked, which needs the `Place` as pydantic's context: without one it is
./config.toml and the process's environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping  # noqa: TC003 -- pydantic evaluates the annotations
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    ValidationInfo,
)

from receiver.config.values import Address, parse_address, resolve_secret
from receiver.keys import is_weak

# Upper bounds catch a slip of the unit, and keep times and sizes within what a database takes.
YEAR: Final = 31_536_000
GIGABYTE: Final = 1_000_000_000
SOURCE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a configuration is read: its file and the environment. The context of validation."""

    path: Path
    environ: Mapping[str, str] = field(repr=False)


def _place(info: ValidationInfo) -> Place:
    context = info.context
    return context if isinstance(context, Place) else Place(Path("config.toml").absolute(), os.environ)


def _resolve(value: object, info: ValidationInfo) -> object:
    place = _place(info)
    return resolve_secret(value, place.path.parent, place.environ) if isinstance(value, str) else value


def refuse_weak(secret: SecretStr) -> SecretStr:
    """The secret, unless it is too easy to guess."""
    if reason := is_weak(secret.get_secret_value()):
        raise ValueError(reason)
    return secret


def _check_source_name(name: str) -> str:
    if not SOURCE_NAME.fullmatch(name):
        raise ValueError("expected a source's name of up to 64 letters, digits, - and _")
    return name


Listen: TypeAlias = Annotated[Address, PlainValidator(parse_address)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=YEAR)]
Pause: TypeAlias = Annotated[float, Field(ge=0, le=YEAR)]
Factor: TypeAlias = Annotated[float, Field(ge=1, le=1_000)]
Days: TypeAlias = Annotated[int, Field(ge=0, le=36_500)]
Tries: TypeAlias = Annotated[int, Field(ge=1, le=1_000)]
Concurrency: TypeAlias = Annotated[int, Field(ge=1, le=10_000)]
Secret: TypeAlias = Annotated[SecretStr, BeforeValidator(_resolve)]
SourceName: TypeAlias = Annotated[str, AfterValidator(_check_source_name)]
StrongSecret: TypeAlias = Annotated[Secret, AfterValidator(refuse_weak)]


class Section(BaseModel):
    """A table of config.toml."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False
    )
    other_keys: ClassVar[Any] = None
    """What a key that is no field holds, where such keys are allowed."""
