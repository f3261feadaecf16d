"""One service per log: a lock file beside it, held as long as the service lives.

The kernel drops the lock with the process, however it dies, so a stale file means nothing. The file itself
is never removed: two processes could otherwise lock two files of one name. What is written in it, the
holder's process id and a note on the second line, is for people and commands; it decides nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from storage.errors import LogLocked, LogUnusable
from storage.records import Holder

if TYPE_CHECKING:
    from pathlib import Path

LONGEST: Final = 1_000
"""Bytes of the file that are read."""
PATIENCE_SECONDS: Final = 5.0
"""How long the lock of a service that is dead is waited for."""


class ServiceLock:
    """The right to write one log."""

    def __init__(self, log: Path, pid: int) -> None:
        """Take the lock for the service with this process id, or raise.

        Raises:
            LogLocked: another process has it; the message names its process id.
            LogUnusable: the lock file cannot be made or locked.
        """
        path = _path(log)
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LogUnusable(f"{path} cannot be written: {error.strerror}.") from error
        try:
            self._take(log)
        except OSError as error:
            self.release()
            raise LogUnusable(f"{path} cannot be locked: {error.strerror}. Is it on a local disk?") from error
        except LogLocked:
            self.release()
            raise
        _write(self._descriptor, pid, "")

    def _take(self, log: Path) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = _holder(os.pread(self._descriptor, LONGEST, 0))
                if _is_dead(holder) and time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                raise LogLocked(
                    f"{log} is in use by another klenhook (process {holder.pid or 'unknown'}). "
                    "Stop that one first, or give this one its own storage.url."
                ) from error
            else:
                return

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def announce(log: Path, note: str) -> None:
    """As the holder, write a line for whoever asks who holds the log, instead of the one before."""
    with contextlib.suppress(OSError):  # it decides nothing
        descriptor = os.open(_path(log), os.O_RDWR | os.O_CLOEXEC)
        _write(descriptor, os.getpid(), note)
        os.close(descriptor)


def _write(descriptor: int, pid: int, note: str) -> None:
    with contextlib.suppress(OSError):  # it decides nothing; a full disk may refuse it
        content = f"{pid}\n{note}\n".encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, content, 0)


def _is_dead(holder: Holder) -> bool:
    """Whether the service that took the lock is gone, and the process that wrote for it is about to end."""
    try:
        os.kill(int(holder.pid or 0), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


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
