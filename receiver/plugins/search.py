"""From files and entry points to handlers, before the configuration has its say.

A file gives all its handlers or none. The rule easiest to break: whatever a plugin does while it is loaded,
`SystemExit` included, ends as a `BrokenPlugin` and never leaves here.
"""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from receiver.errors import PluginError
from receiver.plugins.api import mark_of, marks_made
from receiver.plugins.broken import BrokenPlugin, broken_plugin
from receiver.plugins.handler import Handler, Origin, handler_from
from receiver.plugins.installed import described, file_of, imported
from receiver.plugins.modules import load_module, open_package, unused_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint
    from types import FunctionType, ModuleType

    from receiver.config import Dispatch
    from receiver.plugins.api import Mark

PACKAGES: Final[dict[Origin, str]] = {
    "built-in": "receiver._bundled",
    "plugins": "receiver._local",
    "installed": "receiver._installed",
}
"""The package that files become part of when they are loaded by location."""


@dataclass
class Search:
    """What has been found so far; `add` more."""

    dispatch: Dispatch
    """Where the defaults come from."""
    handlers: dict[str, Handler] = field(default_factory=dict)
    """By name, in the order they were found."""
    broken: list[BrokenPlugin] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    """Files without any marked function."""
    packages: list[str] = field(default_factory=list)
    """The private packages that were opened for it."""
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Entry points that are modules: the names of their handlers."""

    def add(self, origin: Origin, folder: Path, files: Iterable[Path], *, package: str | None = None) -> None:
        """Load these files of a folder. Of two handlers of one name the one found first stays.

        `package` is the name to load them under; by default one that nothing else has.
        """
        package = package or unused_name(PACKAGES[origin])
        open_package(package, folder)
        self.packages.append(package)
        for file in files:
            try:
                code_version = _code_version(file)
                marked = _marked(load_module(file, package))
                found = self._handlers(marked, origin, file, code_version)
            except BaseException as error:  # noqa: BLE001 -- whatever a plugin raises, the service goes on
                self.broken.append(broken_plugin(file, error))
            else:
                self.handlers.update(found)

    def add_installed(self, name: str, entries: list[EntryPoint]) -> None:
        """Load what the entry points of one name mean."""
        file = Path(name)
        try:
            file = file_of(entries[0])
            thing = imported(entries)
            marked = [thing] if isinstance(thing, tuple) else _marked(thing)
            found = self._handlers(marked, "installed", file, _code_version(file))
        except BaseException as error:  # noqa: BLE001 -- as above
            broken = broken_plugin(file, error)
            where = described(entries[0]) if len(entries) == 1 else f"the entry point {name!r}"
            self.broken.append(replace(broken, error=f"{where}: {broken.error}"))
        else:
            self.handlers.update(found)
            if not isinstance(thing, tuple):
                self.groups[name] = tuple(found)

    def _handlers(
        self, marked: list[tuple[FunctionType, Mark]], origin: Origin, file: Path, code_version: str
    ) -> dict[str, Handler]:
        if not marked:
            self.empty.append(file)
        found: dict[str, Handler] = {}
        for function, mark in marked:
            handler = handler_from(
                function, mark, origin=origin, file=file, code_version=code_version, dispatch=self.dispatch
            )
            other = self.handlers.get(handler.name) or found.get(handler.name)
            if other is None:
                found[handler.name] = handler
            elif other.function is not function:  # the same one may be shared by an import
                raise PluginError(
                    f"two handlers have the name {handler.name!r}: here and in {other.file}, whose handler "
                    'stays; rename this one, or give it another name with on(..., name="...").'
                )
        return found


def handler_files(folder: Path) -> list[Path]:
    """The Python files of a folder that are loaded, by name: not those that begin with `_` or a dot.

    Raises:
        OSError: the folder cannot be read.
    """
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix == ".py" and not file.name.startswith(("_", ".")) and not file.is_dir()
    )


def _code_version(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def _marked(module: ModuleType) -> list[tuple[FunctionType, Mark]]:
    """The functions a module has marked, each once, in the order of the file.

    Raises:
        PluginError: a mark was made on a function that cannot be reached any more, so it would never run.
    """
    functions = {id(thing): thing for thing in vars(module).values() if inspect.isfunction(thing)}
    marked = [(function, mark) for function in functions.values() if (mark := mark_of(function))]
    reached = {id(mark) for _, mark in marked}
    for mark in marks_made(vars(module)):
        if id(mark) not in reached:
            raise PluginError(
                f"the handler {mark.name!r} has on(...), but at the end of the file no name refers to it; "
                "perhaps a later function has the same name, or it is defined inside of another function."
            )
    return marked
