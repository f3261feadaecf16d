"""The handlers that run: what files and installed packages give, as the operator's tables want it.

Built-in and installed handlers are on by having a table `[handlers.<name>]`, plugins by being in
`plugins_dir`. The rule easiest to break: a plugin's fault is told in `Loaded.broken` and stops nothing; an
operator's mistake is a line of the ConfigError and stops the start.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from receiver.config import resolve_secret
from receiver.errors import ConfigError
from receiver.plugins.broken import broken_plugin
from receiver.plugins.handler import overridden
from receiver.plugins.installed import GROUP, installed
from receiver.plugins.modules import forget_package
from receiver.plugins.search import Search, handler_files
from receiver.plugins.settings import SettingsError, fill

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from receiver.config import Config
    from receiver.plugins.broken import BrokenPlugin
    from receiver.plugins.handler import Handler

BUNDLED: Final = Path(__file__).resolve().parents[2] / "handlers"
"""The built-in handlers, each in a file of its name. By location, for a user may have a `handlers`."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What there is: built-in handlers first, then files in the order of their names, then installed ones."""

    handlers: tuple[Handler, ...]
    """Those that run."""
    disabled: tuple[Handler, ...]
    """Those with `enabled = false`."""
    broken: tuple[BrokenPlugin, ...]
    """Files that something is wrong with; none of their handlers is in the list."""
    empty: tuple[Path, ...]
    """Files that mark no function with `on`."""
    packages: tuple[str, ...] = field(default=(), compare=False)
    """The private packages of its modules."""

    def forget(self) -> None:
        """Let go of the modules of its files, which nothing needs any more."""
        for package in self.packages:
            forget_package(package)


def load_handlers(
    config: Config, *, environ: Mapping[str, str] = os.environ, bundled: Path = BUNDLED
) -> Loaded:
    """Load everything the configuration names. A broken plugin does not raise.

    Raises:
        ConfigError: something in `[handlers]` is wrong; with every mistake.
    """
    loaded, mistakes = survey_handlers(config, environ=environ, bundled=bundled)
    if mistakes:
        loaded.forget()
        raise ConfigError(mistakes, source=str(config.path))
    return loaded


def survey_handlers(
    config: Config, *, environ: Mapping[str, str] = os.environ, bundled: Path = BUNDLED
) -> tuple[Loaded, list[str]]:
    """As `load_handlers`, with the mistakes beside it. A handler whose table has mistakes is left out."""
    search = Search(config.dispatch)
    mistakes = _add_files(search, config, bundled)
    available = _add_installed(search, config)
    configured: list[Handler] = []
    for handler in search.handlers.values():
        try:
            configured.append(_configured(handler, config, environ))
        except SettingsError as error:
            mistakes.extend(error.mistakes)
    configured, of_groups = _grouped(configured, search, config)
    mistakes.extend(of_groups)
    if not search.broken:  # else the table may be for a handler that did not load
        mistakes.extend(_without_handler(config, search, available))
    return Loaded(
        handlers=tuple(handler for handler in configured if handler.enabled),
        disabled=tuple(handler for handler in configured if not handler.enabled),
        broken=tuple(search.broken),
        empty=tuple(search.empty),
        packages=tuple(search.packages),
    ), mistakes


def _add_files(search: Search, config: Config, bundled: Path) -> list[str]:
    """Load the built-in handlers that are named and the plugins; what is wrong with the folder."""
    wanted = [file for file in handler_files(bundled) if file.stem in config.handlers.tables]
    search.add("built-in", bundled, wanted)
    folder = config.plugins_path
    try:
        files = handler_files(folder)
    except FileNotFoundError:
        if config.handlers.plugins_dir == "plugins":  # the default: there are no plugins yet
            return []
        return [f"handlers.plugins_dir: there is no folder {folder}"]
    except OSError as error:
        return [f"handlers.plugins_dir: cannot read the folder {folder}: {error.strerror}"]
    search.add("plugins", folder, files)
    return []


def _add_installed(search: Search, config: Config) -> list[str]:
    """Load the entry points that are named. Gives the names of all there are."""
    if not config.handlers.tables:
        return []
    try:
        entries = installed()
    except Exception as error:  # noqa: BLE001 -- metadata that cannot be read, of any distribution there is
        search.broken.append(broken_plugin(Path(GROUP), error))
        return []
    for name in config.handlers.tables:
        if name in entries:
            search.add_installed(name, entries[name])
    return list(entries)


def _grouped(handlers: list[Handler], search: Search, config: Config) -> tuple[list[Handler], list[str]]:
    """Apply the tables of entry points that are whole modules; they can switch the module off, no more."""
    mistakes: list[str] = []
    for name, members in search.groups.items():
        if name in search.handlers:  # the table is the one of that handler
            continue
        table = config.handlers.tables[name]
        if not table.enabled:
            handlers = [replace(one, enabled=one.enabled and one.name not in members) for one in handlers]
        mistakes.extend(
            f"handlers.{name}.{key}: this is a module with the handlers {', '.join(members) or '(none)'}; "
            "write the key into the table of one of them"
            for key in [*sorted(table.model_fields_set - {"enabled"} - set(table.settings)), *table.settings]
        )
    return handlers, mistakes


def _configured(handler: Handler, config: Config, environ: Mapping[str, str]) -> Handler:
    """The handler as its table wants it. One that is switched off needs no settings.

    Raises:
        SettingsError: the table does not fit the handler's Settings class.
    """
    table = config.handlers.tables.get(handler.name)
    if table is not None:
        handler = overridden(handler, table)
    if not handler.enabled:
        return handler
    settings = fill(
        handler.settings_class,
        table.settings if table else {},
        table=f"handlers.{handler.name}",
        resolve=partial(resolve_secret, base=config.base, environ=environ),
    )
    return replace(handler, settings=settings)


def _without_handler(config: Config, search: Search, available: Iterable[str]) -> list[str]:
    names = list(search.handlers)
    mistakes = []
    for table in config.handlers.tables:
        if table not in names and table not in search.groups:
            nearest = difflib.get_close_matches(table, [*names, *available], n=1)
            advice = f"did you mean handlers.{nearest[0]}?" if nearest else _where_to_look(config, names)
            mistakes.append(f"handlers.{table}: no handler has this name; {advice}")
    return mistakes


def _where_to_look(config: Config, names: list[str]) -> str:
    return f"there are {', '.join(names)}" if names else f"there is none in {config.plugins_path}"
