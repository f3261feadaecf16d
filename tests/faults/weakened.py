"""`klenhook serve` with one of its promises taken out: `python -m tests.faults.weakened HOW serve ...`.

A test that has never failed may be blind. These are services that the power cut must convict; they exist
here alone, and nothing in the product can switch to them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from receiver.cli import main
from storage.records import Appended, Taken
from storage.sqlite import beside, connection, writing
from storage.sqlite.log import SqliteLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.records import NewEvent


def synchronous_normal() -> None:
    """A commit is not synced; only checkpoints are."""
    beside.PROGRAM[:] = [sys.executable, "-m", "tests.faults.weakened", "writing"]


def write_without_sync(descriptor: str, *modules: str) -> None:
    """The process that writes for `synchronous_normal`."""
    connection._WRITER_SETTINGS["synchronous"] = 1
    writing.main(descriptor, *modules)


def answer_first() -> None:
    """The answer leaves before the commit."""
    take_in = SqliteLog.take_in
    under_way: set[asyncio.Future[Any]] = set()

    async def early(self: SqliteLog, delivery: Any, read: Callable[[Any], Any], size: int) -> Taken:
        storing = asyncio.ensure_future(take_in(self, delivery, read, size))
        under_way.add(storing)
        storing.add_done_callback(under_way.discard)
        event: NewEvent = read([delivery])[0]
        return Taken(Appended(event.event_id, duplicate=False), event.event_type, event.flags)

    SqliteLog.take_in = early  # type: ignore[method-assign]  # the point of it


HOW = {"synchronous-normal": synchronous_normal, "answer-first": answer_first}

if __name__ == "__main__":
    if sys.argv[1] == "writing":
        write_without_sync(*sys.argv[2:])
    else:
        HOW[sys.argv.pop(1)]()
        main()
