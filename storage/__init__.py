"""The durable event log: `open_log(url)` for the one service, `open_reader(url)` for everybody else.

This package knows rows and locks; it imports neither `receiver` nor `handlers`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import LogUnusable

if TYPE_CHECKING:
    from storage.log import EventLog, EventReader
    from storage.records import Holder

__all__ = ["holder", "open_log", "open_reader"]


async def open_log(url: str) -> EventLog:
    """Open, or make, the log at `url` for the one service that writes it.

    `url` is `sqlite:///relative/or//absolute/path`. Missing migrations are applied.

    Raises:
        LogLocked: another service has it open.
        LogUnusable: the file is foreign, from a newer version, damaged or not writable; it is left untouched.
    """
    from storage.sqlite.log import SqliteLog  # noqa: PLC0415 -- a driver is loaded only for its own kind of address

    return await SqliteLog.open(sqlite_path(url))


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


def sqlite_path(url: str) -> str:
    """The file that a `sqlite:///` address means; `sqlite:////srv/x.db` is absolute.

    Raises:
        LogUnusable: it is another kind of address.
    """
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url == prefix:
        raise LogUnusable(f"Expected an address such as sqlite:///klenhook.db, found {url!r}.")
    return url.removeprefix(prefix)
