"""Python files loaded by location, under private names: a plugin called json.py stays clear of `import json`.

The folder becomes a private package, so that a plugin can share code with `from ._shared import x` while
nothing is added to `sys.path`. Loading a folder again opens another package beside the first, so functions
that still run keep the modules they were made with. The rule easiest to break: a module is in `sys.modules`
before its code runs (dataclasses look themselves up there) and no longer when it failed.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import CodeType, ModuleType

_opened: set[str] = set()
"""Names of the private packages."""


class _FreshLoader(SourceFileLoader):
    """Compiles the source as it is now: no stale cache, and no `__pycache__` among the user's files."""

    def get_code(self, fullname: str) -> CodeType:
        """The code of the file. `fullname` is not needed, since the loader belongs to one file."""
        del fullname
        return self.source_to_code(self.get_data(self.path), self.path)


class _FreshFinder(MetaPathFinder):
    """Finds what plugins import from their folder, as it is now: Python's own finder trusts its caches."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module below one of the private packages is."""
        del target
        if path is None or ".".join(fullname.split(".")[:2]) not in _opened:
            return None
        loaders = (ExtensionFileLoader, EXTENSION_SUFFIXES), (_FreshLoader, [".py"])
        for folder in path:
            if spec := FileFinder(folder, *loaders).find_spec(fullname):
                return spec
        return None


_finder = _FreshFinder()


def open_package(name: str, folder: Path) -> None:
    """Make a folder a package of this name, `receiver._something`; what had the name before is forgotten."""
    forget_package(name)
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[name] = module_from_spec(spec)
    _opened.add(name)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def forget_package(name: str) -> None:
    """Forget a package and its modules. Its functions work on, but can import no neighbours any more."""
    for module in [module for module in list(sys.modules) if module == name or module.startswith(f"{name}.")]:
        sys.modules.pop(module, None)
    _opened.discard(name)


def unused_name(name: str) -> str:
    """This name, or with a number if a package of that name is open."""
    names = (name if number == 1 else f"{name}_{number}" for number in count(1))
    return next(name for name in names if name not in _opened)


def load_module(file: Path, package: str) -> ModuleType:
    """Run a file as a module of an opened package.

    It may raise whatever its code raises, `SystemExit` and `KeyboardInterrupt` included.
    """
    name = f"{package}.{file.stem}"
    if name in sys.modules:  # another plugin has imported it
        return sys.modules[name]
    spec = spec_from_file_location(name, file, loader=_FreshLoader(name, str(file)))
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be loaded as a module")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module
