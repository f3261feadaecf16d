"""Read the configuration and load the plugins once more, beside what runs, and say what the new ones change.

The rule easiest to break: all or nothing. Whatever is wrong with the new state, it is a `ReloadError` before
anything of the running service has been touched, and nothing of the new modules is left behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from receiver.config import load_config
from receiver.config.keys import dotted
from receiver.errors import ConfigError, ReceiverError
from receiver.plugins import load_handlers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from receiver.config import Config
    from receiver.plugins import BrokenPlugin, Loaded

LIVE: Final = (
    ("server", "max_body_bytes"),
    ("server", "body_timeout_seconds"),
    ("server", "store_timeout_seconds"),
    ("sources",),
    ("dispatch",),
    ("handlers",),
    ("reconcile",),
)
"""Keys that change with a reload, each with all below it. Every other one needs a restart."""


class ReloadError(ReceiverError):
    """The new state cannot be used. The text names keys, files and lines, and quotes no value of a plugin."""

    def __init__(self, mistakes: Sequence[str], broken: Sequence[BrokenPlugin] = ()) -> None:
        """`broken` has the plugins' own errors, which are for their author alone."""
        self.mistakes = tuple(mistakes)
        self.broken = tuple(broken)
        super().__init__("; ".join(self.mistakes))


@dataclass(frozen=True, slots=True)
class Fresh:
    """What a service could run next."""

    config: Config
    loaded: Loaded


def prepare(path: Path) -> Fresh:
    """Read and load everything anew. This runs the plugins' code, so call it in a thread.

    Raises:
        ReloadError: with every mistake, and every plugin that does not load.
    """
    try:
        config = load_config(path)
        loaded = load_handlers(config)
    except ConfigError as error:
        raise ReloadError(error.problems) from None
    except Exception as error:  # the file may change while it is read; the message may quote it
        raise ReloadError([f"cannot read the configuration: {type(error).__name__}"]) from error
    if loaded.broken:
        loaded.forget()
        raise ReloadError([_told(plugin) for plugin in loaded.broken], loaded.broken)
    return Fresh(config, loaded)


def _told(plugin: BrokenPlugin) -> str:
    where = str(plugin.file) if plugin.line is None else f"{plugin.file}, line {plugin.line}"
    return f"{where}: {plugin.kind}"


def changed_keys(old: Config, new: Config) -> list[str]:
    """The keys whose values differ, as they are written in the file."""
    return [dotted(key) for key in _differences((), old.model_dump(), new.model_dump())]


def restart_keys(started: Config, new: Config) -> list[str]:
    """Those of them that the running service cannot follow."""
    differences = _differences((), started.model_dump(), new.model_dump())
    return [dotted(key) for key in differences if not any(key[: len(live)] == live for live in LIVE)]


def _differences(key: tuple[str, ...], old: Any, new: Any) -> Iterator[tuple[str, ...]]:
    if old == new:
        return
    if not isinstance(old, dict) or not isinstance(new, dict):
        yield key
        return
    for name in sorted(old.keys() | new.keys()):
        yield from _differences((*key, name), old.get(name), new.get(name))
