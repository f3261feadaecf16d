"""The index of words, compared with the bodies it was made from, and made anew.

It keeps no copy of what an event is found by, so whether it is right shows only when all of it is read. The
rule easiest to break: while it is compared events come and go, so what differs must do so twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.words import words_in
from storage.marks import mark_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from storage.log import EventLog
    from storage.reader import EventReader

__all__ = ["misfiled", "reindex"]


async def misfiled(log: EventReader) -> int:
    """How many events are found by other words than their own, or are found no more, or still."""
    first = await _misfiled(log)
    return len(first.items() & (await _misfiled(log)).items()) if first else 0


async def reindex(log: EventLog) -> None:
    """Make the index anew, for who has the log alone: until it is done, less is found than there is."""
    upto_seq = await log.empty_index()
    async for page in _words(log, upto_seq):
        await log.fill_index(page)


async def _misfiled(log: EventReader) -> dict[int, int | None]:
    """By number of an event, the mark it is filed under, None for no mark."""
    upto_seq, marks = await log.indexed()
    wrong: dict[int, int | None] = {}
    async for page in _words(log, upto_seq):
        for seq, words in page:
            found = marks.pop(seq, None)
            if found != (mark_of(words) if words else None):
                wrong[seq] = found
    return wrong | marks


async def _words(log: EventReader, upto_seq: int) -> AsyncIterator[list[tuple[int, str]]]:
    """The words of all events up to this one."""
    last = 0
    while page := await log.contents(last):
        yield [(event.seq, words_in(event.body)) for event in page if event.seq <= upto_seq]
        last = page[-1].seq
