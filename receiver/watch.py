"""`serve --reload`: reload when a plugin or the configuration has changed on disk.

The operating system only wakes us; what has changed is decided by comparing contents. So editors' temporary
files and a save without a change mean nothing, and nothing is missed that happens while a reload runs or a
folder is replaced. The rule easiest to break: the first comparison is with what the service was started
from, so look before it loads.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from receiver import logs
from receiver.errors import ReceiverError

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.config import Config
    from receiver.reload import ReloadError
    from receiver.service import Service

QUIET_MS: Final = 100
"""A save is over when nothing has happened for so long."""
LONGEST_MS: Final = 1_000
"""A series of saves is looked at after so long, although it goes on."""
CHECK_MS: Final = 2_000
"""Look anyway, for folders that cannot tell (network drives, some containers) and those just made."""


class WatchError(ReceiverError):
    """Files cannot be watched."""


class Watch:
    """The files of one configuration, and what changed in them since the last look."""

    def __init__(self, config: Config, *, on_refused: Callable[[ReloadError], None]) -> None:
        """`on_refused` tells the person what was wrong, where the log line must not."""
        self._on_refused = on_refused
        self._seen = _contents(config)
        self._logger = logs.get("reload")

    async def run(self, service: Service) -> None:
        """Reload the service after each change, until cancelled.

        Raises:
            WatchError: the library is missing, or the system refuses to watch more files.
        """
        while True:
            if changed := self._changed(service.config):
                self._logger.info("files changed", files=changed)
                refused = await service.reload()
                if refused is not None:
                    self._on_refused(refused)
            await _woken(service.config)

    def _changed(self, config: Config) -> list[str]:
        before, self._seen = self._seen, _contents(config)
        files = before.keys() | self._seen.keys()
        return sorted(
            str(file.relative_to(config.base) if file.is_relative_to(config.base) else file)
            for file in files
            if before.get(file) != self._seen.get(file)
        )


async def _woken(config: Config) -> None:
    """Return when something happened in one of the folders, or when it is time to look."""
    try:
        from watchfiles import awatch  # noqa: PLC0415 -- only this option needs it
    except ImportError:
        raise WatchError(
            "serve --reload needs the package watchfiles; install it, or leave --reload out."
        ) from None
    watching = awatch(
        config.base,
        *_folders(config.plugins_path),
        watch_filter=lambda _, path: path.endswith(".py") or path == str(config.path),
        debounce=LONGEST_MS,
        step=QUIET_MS,
        rust_timeout=CHECK_MS,
        yield_on_timeout=True,
        recursive=False,
    )
    try:
        async with aclosing(watching):
            await anext(watching)
    except FileNotFoundError:  # a folder went away just now
        await asyncio.sleep(QUIET_MS / 1000)
    except OSError as error:
        raise WatchError(f"cannot watch {config.plugins_path}: {error.strerror or error}") from error


def _folders(plugins: Path) -> list[str]:
    """The plugins folder and those below it, but no caches and nothing hidden."""
    folders = []
    for folder, below, _ in os.walk(plugins):
        below[:] = [name for name in below if name != "__pycache__" and not name.startswith(".")]
        folders.append(folder)
    return folders


def _contents(config: Config) -> dict[Path, bytes]:
    """A digest of each file that matters."""
    files = [config.path]
    for folder in map(Path, _folders(config.plugins_path)):
        with suppress(OSError):
            files += [file for file in folder.glob("*.py") if not file.name.startswith(".")]
    contents = {}
    for file in files:
        with suppress(OSError):  # one that cannot be read is as good as none
            contents[file] = hashlib.sha256(file.read_bytes()).digest()
    return contents
