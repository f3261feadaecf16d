"""What a disk could hold after the power was cut, made from a trace of everything that was written and synced.

Only what was synced is certain. Of the rest a real disk may have kept nothing, some, or some sectors, in any
order; a file whose folder was not synced may not be there. So each cut has several outcomes, all of them
allowed, and an acknowledged event has to survive every one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.faults.shim import File

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable
    from pathlib import Path

    from tests.faults.shim import Record

SECTOR: Final = 512
PAGE: Final = 4096
SUFFIXES: Final = {File.MAIN: "", File.WAL: "-wal", File.JOURNAL: "-journal"}
"""The files that matter: SQLite makes -shm again, and the lock file means nothing."""

Change: TypeAlias = "tuple[int, bytes | None]"
"""An offset and what was written there; or a new size and None."""

MODELS: Final = ("lost", "in order", "some", "sectors", "pages")
"""How much of what was not synced is there: nothing; a beginning, the last of it torn; any writes; any
sectors of any writes; any pages of any writes."""


@dataclass(slots=True)
class _Content:
    """One file's bytes on the disk, and what was written since its last sync."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()


class Disk:
    """The files of one log, as a trace makes them."""

    def __init__(self) -> None:
        self._now: dict[File, _Content] = {}
        """By name, as the running system sees them."""
        self._certain: dict[File, _Content] = {}
        """By name, as they are after a cut if the folder's latest changes are lost."""
        self._renamed: list[tuple[File, _Content | None]] = []
        """Changes to the folder since it was synced."""

    def take(self, record: Record) -> None:
        """Do what the record says."""
        file = record.file
        if record.call == "S" and file is File.FOLDER:
            self._certain = dict(self._now)
            self._renamed.clear()
        if file not in SUFFIXES:
            return
        if record.call == "C":
            self._now[file] = _Content()
            self._renamed.append((file, self._now[file]))
        elif record.call == "U":
            self._now.pop(file, None)
            self._renamed.append((file, None))
        elif record.call == "W":
            self._now[file].pending.append((record.offset, record.data))
        elif record.call == "T":
            self._now[file].pending.append((record.offset, None))
        elif record.call == "S":
            self._now[file].sync()

    def cut(self, log: Path, model: str, choice: random.Random) -> None:
        """Write the files as they could be after a cut now; `log` is the name of the main one."""
        names = dict(self._certain)
        kept = 0 if model == "lost" else choice.randint(0, len(self._renamed))
        for file, content in self._renamed[:kept]:  # a journalling file system keeps the order of these
            if content is None:
                names.pop(file, None)
            else:
                names[file] = content
        for file, suffix in SUFFIXES.items():
            path = log.with_name(log.name + suffix)
            path.unlink(missing_ok=True)
            if file in names:
                path.write_bytes(_survived(names[file], model, choice))
        log.with_name(log.name + "-shm").unlink(missing_ok=True)


def _survived(content: _Content, model: str, choice: random.Random) -> bytes:
    image = bytearray(content.durable)
    for change in _kept(content.pending, model, choice):
        _apply(image, change)
    return bytes(image)


def _kept(pending: list[Change], model: str, choice: random.Random) -> Iterable[Change]:
    if model == "lost":
        return
    if model == "in order":
        whole = choice.randint(0, len(pending))
        yield from pending[:whole]
        if whole < len(pending):
            yield from _torn(pending[whole], SECTOR, choice, in_order=True)
        return
    for change in pending:
        if model == "some":
            if choice.random() < 0.5:
                yield change
        else:
            yield from _torn(change, SECTOR if model == "sectors" else PAGE, choice)


def _torn(change: Change, size: int, choice: random.Random, *, in_order: bool = False) -> Iterable[Change]:
    """Those pieces of a write that reached the disk; pieces begin where the disk's own do."""
    offset, data = change
    if data is None:
        if choice.random() < 0.5:
            yield change
        return
    cuts = [0, *range(size - offset % size, len(data), size), len(data)]
    pieces = [(offset + start, data[start:end]) for start, end in itertools.pairwise(cuts)]
    if in_order:
        yield from pieces[: choice.randint(0, len(pieces))]
    else:
        yield from (piece for piece in pieces if choice.random() < 0.5)


def _apply(image: bytearray, change: Change) -> None:
    offset, data = change
    if data is None:
        del image[offset:]
        image.extend(bytes(offset - len(image)))
        return
    if offset > len(image):
        image.extend(bytes(offset - len(image)))
    image[offset : offset + len(data)] = data
