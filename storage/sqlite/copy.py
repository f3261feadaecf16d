"""The log as a file to check and to copy, from outside: by commands, beside a running service or without one.

A copy is made within one reading transaction, so it is the log at one moment, and gets its name only when it
is whole, checked and synced. The rule easiest to break: `cp` is no backup, since the newest transactions are
in another file; only SQLite knows what belongs together.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from storage.errors import LogDamaged, LogUnavailable, LogUnusable
from storage.records import Backup
from storage.sqlite.check import check
from storage.sqlite.connection import SCHEMA_VERSION, check_header, connect_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storage.records import Damage

STEP_PAGES: Final = 2_000
"""8 MiB: Ctrl-C is heard, and progress told, after each."""


def check_file(path: Path) -> Iterator[Damage]:
    """See `storage.check_log`."""
    _expect_log(path)
    with closing(connect_reader(path)) as connection:
        yield from check(connection)


def _expect_log(path: Path) -> None:
    if not check_header(path, SCHEMA_VERSION):
        raise LogUnusable(f"There is no log at {path} yet. `klenhook serve` makes it.")


def back_up(path: Path, target: Path, on_progress: Callable[[float], None]) -> Backup:
    """See `storage.back_up_log`."""
    _expect_log(path)
    target = target.absolute()
    _expect_free(path, target)
    try:
        with _partial(target) as partial:
            _copy(path, partial, on_progress)
            made = _checked(partial)
            _sync(partial)
            partial.replace(target)
            _sync(target.parent)
    except sqlite3.Error as error:
        raise LogUnavailable(f"{target} cannot be made: {error}. No backup was made.") from error
    except OSError as error:
        raise LogUnavailable(f"{target} cannot be made: {error.strerror}. No backup was made.") from error
    return made


def _expect_free(path: Path, target: Path) -> None:
    """Refuse to write over anything but an older backup.

    Raises:
        LogUnusable: something else is there.
    """
    log = [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", ".lock"))]
    if target.resolve() in log or any(_is_same(target, file) for file in log):
        raise LogUnusable(f"{target} belongs to the log itself. Name another file for the backup.")
    check_header(target, SCHEMA_VERSION)
    if target.with_name(target.name + "-wal").exists() or _is_locked(target):
        raise LogUnusable(f"{target} is a log in use. It was left as it is; name another file.")


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _is_locked(target: Path) -> bool:
    """Whether a service has this log."""
    try:
        with target.with_name(target.name + ".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A new file beside the target, readable by its owner only; gone at the end, unless it was renamed.

    What a killed process has left is cleared away. One that is being made is locked.
    """
    prefix, suffix = f".{target.name}.", ".partial"
    for left in target.parent.glob(f"{escape(prefix)}*{suffix}*"):
        if not _is_being_made(left):
            left.unlink(missing_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=target.parent)
    partial = Path(name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield partial
    finally:
        os.close(descriptor)
        for end in ("", "-journal"):
            partial.with_name(partial.name + end).unlink(missing_ok=True)


def _is_being_made(left: Path) -> bool:
    """Whether somebody holds it; a journal goes with its file."""
    file = left.with_name(left.name.removesuffix("-journal"))
    try:
        with file.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _copy(path: Path, partial: Path, on_progress: Callable[[float], None]) -> None:
    with closing(connect_reader(path)) as source, closing(sqlite3.connect(partial)) as copy:
        # Steps within a transaction of ours all see the same moment; otherwise each foreign write in between
        # would make SQLite begin again, and under load it would never end.
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM sqlite_schema").fetchone()
        source.backup(
            copy,
            pages=STEP_PAGES,
            progress=lambda _, left, all_: on_progress(1 - left / max(all_, 1)),
            sleep=0,
        )
        # One file, without a write-ahead file beside it.
        copy.execute("PRAGMA journal_mode = DELETE")


def _checked(partial: Path) -> Backup:
    """What the copy has.

    Raises:
        LogDamaged: it is not sound.
    """
    address = f"file:{quote(str(partial))}?mode=ro&immutable=1"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as copy:
        if damage := next(check(copy), None):
            raise LogDamaged(
                f"The log is damaged ({damage.message}). No backup was made, and an older one was left as it "
                "is. `klenhook db check` names all that is damaged."
            )
        return Backup(copy.execute("SELECT count(*) FROM event").fetchone()[0], partial.stat().st_size)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
