"""The preloaded library between a process and its disk: built here, steered here, its trace read here.

It works on the real, unchanged service. The rule easiest to break: the structs are those of shim.c.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pytest

from tests.support import preload

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE: Final = Path(__file__).with_name("shim.c")
FOREVER: Final = 2**31 - 1
KILL: Final = -1
"""Instead of an error: the call ends the process."""
_CONTROL: Final = struct.Struct("9i")
_RECORD: Final = struct.Struct("=cB6xqq")


class Call(IntFlag):
    """What can be made to fail."""

    OPEN = 1
    WRITE = 2
    SYNC = 4
    TRUNCATE = 8
    UNLINK = 16


ALL_CALLS: Final = Call.OPEN | Call.WRITE | Call.SYNC | Call.TRUNCATE | Call.UNLINK


class File(IntEnum):
    """Whose calls; the folder is there for its syncs."""

    NONE = 0
    MAIN = 1
    WAL = 2
    JOURNAL = 3
    SHM = 4
    LOCK = 5
    FOLDER = 6


ALL_FILES: Final = (File.MAIN, File.WAL, File.JOURNAL, File.SHM, File.LOCK, File.FOLDER)


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the trace."""

    call: str
    """`C` created, `W` written, `S` synced, `T` truncated, `U` unlinked, `A` answered."""
    file: File
    offset: int
    """Of what is written; the new size, for `T`."""
    data: bytes


class Shim:
    """The library, with the control file and the trace of one log."""

    def __init__(self, library: Path, log: Path, *, trace: bool = False) -> None:
        self._file = log.with_name("shim.control")
        self._file.write_bytes(bytes(_CONTROL.size))
        with self._file.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL.size)
        self.trace = log.with_name("shim.trace")
        self.env = {
            "LD_PRELOAD": str(library),
            "FAULTS_LOG": str(log),
            "FAULTS_CONTROL": str(self._file),
        } | ({"FAULTS_TRACE": str(self.trace)} if trace else {})
        """What a process is started with."""

    def fail(
        self,
        calls: Call,
        error: int,
        *,
        first: int = 1,
        last: int = FOREVER,
        files: tuple[File, ...] = ALL_FILES,
    ) -> None:
        """Let the calls from `first` to `last`, counted from now, fail with this `errno`, or with `KILL`."""
        kinds = sum(1 << file for file in files)
        values = self._values()
        self._control[:] = _CONTROL.pack(calls, kinds, error, first, last, values[5], 0, 0, values[8])

    def count(self, calls: Call, *, files: tuple[File, ...] = ALL_FILES) -> None:
        """Let nothing fail, and count these calls from now."""
        self.fail(calls, 0, first=0, last=0, files=files)

    def heal(self) -> None:
        """Let nothing fail any more; the clock stays."""
        self._control[:] = _CONTROL.pack(*[0] * 8, self._values()[8])

    def delay_syncs(self, seconds: float) -> None:
        """Let each sync take longer."""
        self._control[20:24] = struct.pack("i", round(seconds * 1_000_000))

    def set_clock(self, seconds: int) -> None:
        """Set the clock so far forward of the right time; back, below 0."""
        self._control[32:36] = struct.pack("i", seconds)

    @property
    def counted(self) -> int:
        """How many of the chosen calls were made."""
        return self._values()[6]

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return self._values()[7]

    def _values(self) -> tuple[int, ...]:
        return _CONTROL.unpack(self._control[:])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()


def read_trace(trace: Path) -> Iterator[Record]:
    """What was traced, in order."""
    content = memoryview(trace.read_bytes())
    at = 0
    while at < len(content):
        call, kind, offset, length = _RECORD.unpack_from(content, at)
        at += _RECORD.size
        yield Record(call.decode(), File(kind), offset, bytes(content[at : at + length]))
        at += length


def build(folder: Path) -> Path:
    """Compile the library, or skip the test."""
    library = preload.built(SOURCE, folder)
    if library is None:
        pytest.skip(f"needs {preload.NEEDED}")
    return library
