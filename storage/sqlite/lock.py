"""One service per log: a lock file beside it, held as long as the service lives.

The kernel drops the lock with the process, however it dies, so a stale file means nothing. The file itself
is never removed: two processes could otherwise lock two files of one name. What is written in it, the
holder's process id and a note on the second line, is for people and commands; it decides nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Final

from storage.errors import LogLocked, LogUnusable
from storage.records import Holder

if TYPE_CHECKING:
    from pathlib import Path

LONGEST: Final = 1_000
"""Bytes of the file that are read."""


class ServiceLock:
    """The right to write one log."""

    def __init__(self, log: Path) -> None:
        """Take the lock, or raise.

        Raises:
            LogLocked: another process has it; the message names its process id.
            LogUnusable: the lock file cannot be made or locked.
        """
        path = _path(log)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LogUnusable(f"{path} cannot be written: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(os.pread(descriptor, LONGEST, 0))
            os.close(descriptor)
            raise LogLocked(
                f"{log} is in use by another klenhook (process {holder.pid or 'unknown'}). "
                "Stop that one first, or give this one its own storage.url."
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise LogUnusable(f"{path} cannot be locked: {error.strerror}. Is it on a local disk?") from error
        self._descriptor = descriptor
        self.note("")

    def note(self, text: str) -> None:
        """Write a line for whoever asks who holds the log, instead of the one before."""
        with contextlib.suppress(OSError):  # it decides nothing; a full disk may refuse it
            content = f"{os.getpid()}\n{text}\n".encode()
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, content, 0)

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def read_holder(log: Path) -> Holder:
    """What the last holder of the lock has written; whether it still holds it, only taking it shows."""
    try:
        with _path(log).open("rb") as file:
            return _holder(file.read(LONGEST))
    except OSError:
        return Holder(None, None)


def _holder(content: bytes) -> Holder:
    pid, _, note = content.decode("utf-8", "replace").partition("\n")
    return Holder(pid if pid.isascii() and pid.isdigit() else None, note.strip() or None)


def _path(log: Path) -> Path:
    return log.with_name(log.name + ".lock")
