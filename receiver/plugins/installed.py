"""Handlers of installed distributions: entry points of the group `receiver.handlers`.

An entry point is `name = "package.module:function"`, one handler that gets this name, or `name =
"package.module"`, all marked functions of the module under their own names. It is off until the operator
writes `[handlers.<name>]`: the rule easiest to break is that nothing of an unnamed one is imported.
https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import PluginError
from receiver.plugins.api import mark_of
from receiver.plugins.checks import handler_name

if TYPE_CHECKING:
    from types import FunctionType, ModuleType

    from receiver.plugins.api import Mark

GROUP: Final = "receiver.handlers"


def installed() -> dict[str, list[EntryPoint]]:
    """Every entry point by its name. Two distributions may use the same name."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found


def imported(entries: list[EntryPoint]) -> ModuleType | tuple[FunctionType, Mark]:
    """What the one entry point of a name means: a module, or a marked function under the entry point's name.

    It may raise whatever the module's code raises.

    Raises:
        PluginError: there are several, or it is something else.
    """
    if len(entries) > 1:
        named = " and ".join(described(entry) for entry in entries)
        raise PluginError(f"the same name is used twice: {named}; neither is loaded; uninstall one of them.")
    thing: Any = entries[0].load()
    if inspect.ismodule(thing):
        return thing
    mark = mark_of(thing)
    if mark is None or not inspect.isfunction(thing):
        raise PluginError("expected a module, or a function with @on(...), found something else there.")
    return thing, replace(mark, name=handler_name(entries[0].name))


def file_of(entry: EntryPoint) -> Path:
    """The file of its module; of one that cannot be found, its name."""
    try:
        spec = find_spec(entry.module)
    except BaseException:  # noqa: BLE001 -- this runs code of the packages above it, and it may be missing
        spec = None
    return Path(spec.origin if spec and spec.origin else entry.value)


def described(entry: EntryPoint) -> str:
    """The entry point with its distribution, for a message."""
    owner = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
    return f"the entry point {entry.name!r}{owner} ({entry.value})"
