"""From the configuration file and the environment to a `Config`, or to a `ConfigError` with every mistake.

pydantic-settings reads and merges the sources, the environment above the file; pydantic checks the result.
The rule easiest to break: pydantic's own errors quote values, so none of them leaves this module.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, TomlConfigSettingsSource

from receiver.config.environment import CONFIG_VARIABLE, EnvironmentSource
from receiver.config.fields import Place
from receiver.config.mistakes import describe, named
from receiver.config.models import Config
from receiver.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_FILE = "config.toml"


@dataclass(frozen=True)
class Layers:
    """What was read, unchecked: secrets stand in it as they were written."""

    place: Place
    merged: dict[str, Any] = field(repr=False)
    """The file with the environment laid over it."""
    origins: Mapping[tuple[str, ...], str]
    """The variables that set keys."""
    problems: tuple[str, ...]
    """Mistakes in the variables themselves."""


def load_config(path: str | Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration at `path`, else at `$KLENHOOK_CONFIG`, else in ./config.toml, under the environment.

    Raises:
        ConfigError: there is no such file, or it has mistakes; all of them are in it.
    """
    return check(read_layers(path, environ=environ))


def read_layers(path: str | Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Layers:
    """Read the file and the environment.

    Raises:
        ConfigError: the file is missing, unreadable or not TOML.
    """
    place = Place(_find(path, environ), environ)
    file = _read_file(place.path)
    variables = EnvironmentSource(BaseSettings, environ, file())
    return Layers(place, _merge(variables, file), variables.origins, tuple(variables.problems))


def check(layers: Layers) -> Config:
    """The configuration that these layers make.

    Raises:
        ConfigError: with one line for each mistake.
    """
    problems = [*layers.problems, *_shared_paths(layers)]
    try:
        config = Config.model_validate(layers.merged, context=layers.place)
    except ValidationError as error:
        found = [describe(one, layers.origins) for one in error.errors(include_url=False)]
        raise ConfigError([*found, *problems], source=str(layers.place.path)) from None
    if problems:
        raise ConfigError(problems, source=str(layers.place.path))
    return config


def _find(path: str | Path | None, environ: Mapping[str, str]) -> Path:
    named_by = "--config" if path else CONFIG_VARIABLE
    chosen = path or environ.get(CONFIG_VARIABLE)
    found = Path(chosen or DEFAULT_FILE).absolute()
    if found.is_file():
        return found
    if chosen:
        problem = f"{named_by}: expected a file, found nothing there; write one with `klenhook init`"
        raise ConfigError([problem], source=str(found))
    problem = (
        f"expected a file {DEFAULT_FILE} in this folder; write one with `klenhook init`, "
        f"or name one with --config or ${CONFIG_VARIABLE}"
    )
    raise ConfigError([problem])


def _read_file(path: Path) -> TomlConfigSettingsSource:
    try:
        return TomlConfigSettingsSource(BaseSettings, path)
    except tomllib.TOMLDecodeError as error:
        problem = _syntax(str(error), path)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = f"line {line}: expected text in UTF-8, found other bytes"
    except (ValueError, RecursionError):
        problem = "expected TOML, found a number or a nesting beyond all bounds"
    except OSError as error:
        problem = f"cannot read the file: {error.strerror}"
    raise ConfigError([problem], source=str(path))


def _syntax(message: str, path: Path) -> str:
    """What is wrong with the TOML, where, and the one character there: those around it may be a secret."""
    lines = path.read_text("utf-8").split("\n")
    match = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL)
    if match is None:
        said, line, column = message.removesuffix(" (at end of document)"), len(lines), len(lines[-1]) + 1
        seen = "the end of the file"
    else:
        said, line, column = match[1], int(match[2]), int(match[3])
        rest = lines[line - 1][column - 1 :].rstrip("\r")
        seen = f"the character {rest[0]!r}" if rest else "the end of the line"
    hint = "; text needs quotes" if said.startswith(("Invalid value", "Expected newline")) else ""
    return f"line {line}, column {column}: {said}, found {seen}{hint}"


def _merge(*sources: PydanticBaseSettingsSource) -> dict[str, Any]:
    """The tables of all sources as one, each source above the next."""

    class Merged(BaseSettings, extra="allow"):
        @classmethod
        def settings_customise_sources(
            cls, *_: object, **_usual: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return sources

    return dict(Merged().model_extra or {})


def _shared_paths(layers: Layers) -> Iterator[str]:
    """Sources that share a path. Read from the unchecked tables, so that other mistakes hide none."""
    first: dict[str, str] = {}
    sources = layers.merged.get("sources")
    for name, table in sources.items() if isinstance(sources, dict) else ():
        path = table.get("path", f"/webhooks/{name}") if isinstance(table, dict) else None
        if isinstance(path, str) and first.setdefault(path, name) != name:
            key = named(("sources", name, "path"), layers.origins)
            yield f"{key}: expected a path of its own, found that of sources.{first[path]}"
