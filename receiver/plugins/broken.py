"""A plugin that does not load, and what its author is told: one line, and their part of the traceback."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

from receiver.errors import PluginError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A file, or an installed entry point, none of whose handlers runs."""

    file: Path
    """Of an entry point whose module cannot be found: the module's name."""
    error: str
    """One line: what is wrong. It may quote what the plugin was given, so it is for its author alone."""
    traceback: str
    """The traceback from the plugin's own code on, as Python prints it."""
    kind: str
    """The type of the exception."""
    line: int | None
    """Where in the file it happened, if its code is to blame."""


def broken_plugin(file: Path, error: BaseException) -> BrokenPlugin:
    """What to say about the error that loading this file ended with."""
    own = _from_file(error.__traceback__, file)
    text = "".join(traceback.format_exception(type(error), error, own))
    return BrokenPlugin(
        file=file,
        error=_one_line(file, error),
        traceback=text,
        kind=type(error).__name__,
        line=_line(file, error, own),
    )


def _from_file(frames: TracebackType | None, file: Path) -> TracebackType | None:
    """The frames from the file's first one on; none when its code never ran."""
    while frames is not None and frames.tb_frame.f_code.co_filename != str(file):
        frames = frames.tb_next
    return frames


def _line(file: Path, error: BaseException, own: TracebackType | None) -> int | None:
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno
    inside = [frame for frame in traceback.extract_tb(own) if frame.filename == str(file)]
    return inside[-1].lineno if inside else None


def _one_line(file: Path, error: BaseException) -> str:
    lines = (_text(error) or "no message").splitlines() or ["no message"]
    said = lines[0] if isinstance(error, PluginError) else f"{type(error).__name__}: {lines[0]}"
    if isinstance(error, ModuleNotFoundError) and error.name and (file.parent / f"{error.name}.py").is_file():
        return f"{said}; a file beside the plugin is imported with a dot: from .{error.name} import ..."
    return said


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 -- the plugin's own exception class may be broken as well
        return ""
