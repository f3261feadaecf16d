"""What the operator has set up: the configuration, who may read the secrets, and the plugins.

The rule easiest to break: a finding names keys and files, never a value that may be a secret.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any, Final

from receiver.config import load as loading
from receiver.doctor.finding import Finding, error, fine, warning
from receiver.errors import ConfigError
from receiver.plugins import load_handlers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from receiver.config import Config
    from receiver.config.load import Layers

OTHERS: Final = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
"""The rights of everybody but the owner."""
OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


def check_config(path: str | None) -> tuple[Config | None, Layers | None, list[Finding]]:
    """The configuration if it is right, what was read of it, and what is to say about it."""
    layers = None
    try:
        layers = loading.read_layers(path)
        config = loading.check(layers)
    except ConfigError as problem:
        fix = "Mend it in the file or the variable; `klenhook config check` says when it is right."
        return None, layers, [error("configuration", one, fix) for one in problem.problems]
    names = ", ".join(f"{name} at {source.path}" for name, source in config.sources.items())
    return config, layers, [fine("configuration", f"{config.path}; sources: {names}.")]


def check_secrets(config: Config, layers: Layers) -> Iterator[Finding]:
    """Where each source's secrets are, and who else may read them."""
    for name, source in config.sources.items():
        count = "1 secret" if len(source.secrets) == 1 else f"{len(source.secrets)} secrets"
        yield fine("secrets", f"sources.{name} has {count}.")
    written = list(_texts(layers.merged))
    literal = _literal_secrets(layers)
    if literal and (finding := _mode(config.path, f"It holds {' and '.join(literal)} in plain text.")):
        yield finding
    for text in written:
        if text.startswith("file:") and (finding := _mode(config.base / text[5:], "It holds a secret.")):
            yield finding


def _literal_secrets(layers: Layers) -> list[str]:
    """The keys of the file whose value is the secret itself."""
    found = []
    sources = layers.merged.get("sources", {})
    for name, table in sources.items():
        for key in ("secrets", "api_key"):
            texts = [
                text for text in _texts(table.get(key)) if text and not text.startswith(("env:", "file:"))
            ]
            by_variable = any(at[:3] == ("sources", name, key) for at in layers.origins)
            found += [f"sources.{name}.{key}"] if texts and not by_variable else []
    return found


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _mode(path: Path, why: str) -> Finding | None:
    """A warning if others than the owner may read or write the file."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if not mode & OTHERS:
        return None
    shown = stat.filemode(mode)
    return warning("file modes", f"{path} is open to other users ({shown}). {why}", f"chmod 600 {path}")


def check_log_modes(log: Path) -> Iterator[Finding]:
    """Whether only the owner may read the log, which has people's data."""
    files = [log, log.with_name(f"{log.name}-wal"), log.with_name(f"{log.name}-shm")]
    found = [finding for file in files if (finding := _mode(file, "The log holds people's data."))]
    if not found and log.exists():
        found = [fine("file modes", f"{log} is readable by its owner only.")]
    yield from found


def check_plugins(config: Config) -> Iterator[Finding]:
    """Whether every plugin loads and every handler's settings are right, and who may change the code."""
    try:
        loaded = load_handlers(config)
    except ConfigError as problem:
        fix = "Mend it in the file or the variable; `klenhook handlers check` says when it is right."
        yield from (error("handlers", one, fix) for one in problem.problems)
        return
    for broken in loaded.broken:
        message = f"{broken.file} does not load: {broken.error}"
        yield error("plugins", message, "Mend it; `klenhook handlers check` shows the whole traceback.")
    yield from _writable(config.plugins_path)
    enabled = [handler.name for handler in loaded.handlers if handler.enabled]
    if enabled:
        yield fine("handlers", f"{', '.join(enabled)}.")
    else:
        fix = f"Put a plugin into {config.plugins_path}, as `klenhook handlers new NAME` writes it."
        yield warning("handlers", "There are none, so events are recorded and nothing else happens.", fix)


def _writable(folder: Path) -> Iterable[Finding]:
    """A folder of code that others may write is a way in."""
    if not folder.is_dir():
        return
    for path in (folder, *sorted(folder.glob("*.py"))):
        if path.stat().st_mode & OTHERS_WRITE:
            message = f"Other users may change {path}, whose code klenhook runs."
            yield warning("file modes", message, f"chmod go-w {path}")
