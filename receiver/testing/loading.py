"""The handler in a plugin's file, loaded as the service loads it.

By location, so nothing has to be on `sys.path` and a plugin's `from ._shared import x` works. The rule
easiest to break: a plugin that fails raises what it failed with, for its author is watching.
"""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver.errors import PluginError
from receiver.plugins.api import mark_of
from receiver.plugins.modules import load_module, open_package

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike


def load_handler(file: str | PathLike[str], name: str | None = None) -> Callable[..., Any]:
    """The function marked with `@on(...)` in a plugin's file; `name` is the handler's, if there are several.

    Each call runs the file anew.

    Raises:
        PluginError: there is no such handler in it, or several and no name.
        Exception: whatever the file itself raises; a missing one is a FileNotFoundError.
    """
    path = Path(file).resolve()
    package = f"receiver._tested_{hashlib.sha256(str(path.parent).encode()).hexdigest()[:12]}"
    open_package(package, path.parent)
    module = load_module(path, package)
    found = {
        mark.name: thing
        for thing in vars(module).values()
        if inspect.isfunction(thing) and (mark := mark_of(thing))
    }
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name in found:
        return found[name]
    there = ", ".join(found) or "none"
    wanted = "one handler" if name is None else f"a handler {name!r}"
    raise PluginError(f"expected {wanted}, found {there}.", file=path)
