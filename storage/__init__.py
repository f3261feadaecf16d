"""The durable event log: `open_log(url)` for the one service, `open_reader(url)` for everybody else.

This package knows rows and locks; it imports neither `receiver` nor `handlers`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import LogUnusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from storage.log import EventLog
    from storage.reader import EventReader
    from storage.records import Backup, Damage, Holder
    from storage.sqlite.beside import WriterProcess

__all__ = ["back_up_log", "check_log", "holder", "open_log", "open_reader", "start_writer"]


def start_writer(modules: Sequence[str] = ()) -> WriterProcess:
    """Start a process for `open_log` to write in: earlier, since it takes its time to get ready.

    `modules` have the functions that `EventLog.take_in` and `survey` will be given.
    """
    from storage.sqlite.beside import WriterProcess  # noqa: PLC0415 -- a driver is loaded when it is wanted

    return WriterProcess(modules)


async def open_log(url: str, *, beside: WriterProcess | None = None) -> EventLog:
    """Open, or make, the log at `url` for the one service that writes it.

    `url` is `sqlite:///relative/or//absolute/path`. Missing migrations are applied. With `beside`, that
    process writes, which leaves this one more time for everything else.

    Raises:
        LogLocked: another service has it open.
        LogUnusable: the file is foreign, from a newer version, damaged or not writable; it is left untouched.
    """
    from storage.sqlite.log import SqliteLog  # noqa: PLC0415 -- a driver is loaded only for its own kind of address

    return await SqliteLog.open(sqlite_path(url), beside=beside)


async def open_reader(url: str) -> EventReader:
    """Open an existing log to ask it questions, beside a running service or without one.

    Raises:
        LogUnusable: there is no log, or it is not one this version can read.
    """
    from storage.sqlite.reader import SqliteReader  # noqa: PLC0415 -- as above

    return await SqliteReader.open(sqlite_path(url))


def holder(url: str) -> Holder:
    """Who holds the log, by its own word: worth asking after `open_log` has said that somebody does.

    Raises:
        LogUnusable: it is another kind of address.
    """
    from storage.sqlite.lock import read_holder  # noqa: PLC0415 -- as above

    return read_holder(Path(sqlite_path(url)).resolve())


def check_log(url: str) -> Iterator[Damage]:
    """Read all of a log, beside a running service or without one, for what is not as it was written.

    Raises:
        LogUnusable: there is no log, or it is not one of ours.
    """
    from storage.sqlite.copy import check_file  # noqa: PLC0415 -- as above

    return check_file(Path(sqlite_path(url)).resolve())


def back_up_log(url: str, target: Path, *, on_progress: Callable[[float], None] | None = None) -> Backup:
    """Copy a log as it is at this moment, beside a running service or without one, and check the copy.

    `target` is there when all of it is, and synced; before that, what was there is. `on_progress` gets the
    part that is copied, from 0 to 1.

    Raises:
        LogUnusable: there is no log, or `target` is something else than an older backup.
        LogDamaged: the copy is not sound, since the log is not. No backup was made.
        LogUnavailable: it cannot be read or written now. No backup was made.
    """
    from storage.sqlite.copy import back_up  # noqa: PLC0415 -- as above

    return back_up(Path(sqlite_path(url)).resolve(), target, on_progress or (lambda _: None))


def sqlite_path(url: str) -> str:
    """The file that a `sqlite:///` address means; `sqlite:////srv/x.db` is absolute.

    Raises:
        LogUnusable: it is another kind of address.
    """
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url == prefix:
        raise LogUnusable(f"Expected an address such as sqlite:///klenhook.db, found {url!r}.")
    return url.removeprefix(prefix)
