"""What klenhook stands on: Python, SQLite, the HTTP parser, the clock, and whether the disk syncs.

The rule easiest to break: nothing here needs a configuration, so that it can be told when that is wrong.
"""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from receiver.doctor.finding import Finding, error, fine, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

SYNCS: Final = 200
SYNC_BYTES: Final = 4_096
LYING_MS: Final = 0.02
"""A sync that is faster than this has hardly reached anything that survives a power cut."""
SLOW_MS: Final = 50.0
"""A disk this slow keeps senders waiting when many of them come at once."""
NETWORKED: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs"}
VOLATILE: Final = {"tmpfs", "ramfs"}
LITTLE_BYTES: Final = 1024**3
TOO_LITTLE_BYTES: Final = 64 * 1024**2
OLDEST_CLOCK: Final = datetime(2025, 1, 1, tzinfo=UTC)
"""Before klenhook was written."""


def check_machine() -> Iterator[Finding]:
    """Python, SQLite, HTTP parser, clock."""
    yield fine("python", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}.")
    yield check_sqlite(sqlite3.sqlite_version_info)
    yield check_parser()
    yield check_clock(datetime.now(UTC))


def check_sqlite(version: tuple[int, ...]) -> Finding:
    """Its version, and the bug that loses pages when two connections write (sqlite.org/wal.html)."""
    name = "SQLite " + ".".join(map(str, version))
    if version < (3, 37, 0):
        return error(
            "sqlite", f"{name} is too old: 3.37 or newer is needed.", "Use a newer Python or system."
        )
    mended = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if mended:
        return fine("sqlite", f"{name}.")
    message = (
        f"{name} has the WAL-reset bug: two programs that write one database at once can lose pages. "
        "klenhook itself avoids it, since only one connection writes."
    )
    fix = "Let no other program write to the log; or use SQLite 3.51.3, 3.50.7 or 3.44.6, or newer."
    return warning("sqlite", message, fix)


def check_parser() -> Finding:
    """Whether aiohttp parses HTTP in C: its other parser is slower, and had request smuggling."""
    import aiohttp  # noqa: PLC0415 -- slow to import, and the rest works without
    from aiohttp import http_parser  # noqa: PLC0415 -- as above

    name = f"aiohttp {aiohttp.__version__}"
    if http_parser.HttpRequestParser is not http_parser.HttpRequestParserPy:
        return fine("http parser", f"{name} with its parser in C.")
    fix = (
        "Unset AIOHTTP_NO_EXTENSIONS."
        if os.environ.get("AIOHTTP_NO_EXTENSIONS")
        else "Install aiohttp from a wheel made for this Python and system."
    )
    return warning("http parser", f"{name} runs without its parser in C: slower, and less tested.", fix)


def check_clock(now: datetime) -> Finding:
    """Whether the time can be right at all."""
    shown = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    if now >= OLDEST_CLOCK:
        return fine("clock", f"It is {shown} here.")
    return error(
        "clock", f"It is {shown} here, which cannot be.", "Set the clock, and keep it right with NTP."
    )


def check_disk(folder: Path) -> Iterator[Finding]:
    """The disk under the log: what kind it is, what room it has, and how long a sync takes."""
    while not folder.exists():
        folder = folder.parent
    kind = _file_system(folder)
    if kind in NETWORKED:
        fix = "Put the log on a local disk: network file systems cannot lock and share it properly."
        yield error("file system", f"{folder} is on {kind}.", fix)
    elif kind in VOLATILE:
        fix = "Put the log on a disk, unless it may be lost."
        yield warning("file system", f"{folder} is on {kind}: everything is gone after a restart.", fix)
    yield _room(folder)
    yield _syncs(folder)


def _file_system(folder: Path) -> str:
    """The kind of file system a folder is on, as Linux calls it; nothing elsewhere."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    where = [(Path(mount.split()[1]), mount.split()[2]) for mount in mounts]
    over = [(len(point.parts), kind) for point, kind in where if folder.resolve().is_relative_to(point)]
    return max(over)[1] if over else ""


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    shown = f"{free / 1024**2:,.0f} MiB are free in {folder}."
    fix = "Make room: when the disk is full, senders are refused until there is some."
    if free < TOO_LITTLE_BYTES:
        return error("disk", shown, fix)
    return warning("disk", shown, fix) if free < LITTLE_BYTES else fine("disk", shown)


def _syncs(folder: Path) -> Finding:
    try:
        times = _sync_times(folder)
    except OSError as problem:
        fix = "Give the user who runs klenhook the right to write there."
        return error("sync", f"{folder} cannot be written: {problem.strerror}.", fix)
    median = statistics.median(times)
    slowest = max(times)
    shown = f"A sync of {SYNC_BYTES} bytes takes {median:.3f} ms (median of {SYNCS}, at most {slowest:.1f})"
    if median < LYING_MS:
        fix = "Look up whether the drive honours flushes; a virtual disk's cache mode may have to be changed."
        return warning("sync", f"{shown}: so fast that the disk may only pretend.", fix)
    if median > SLOW_MS:
        return warning("sync", f"{shown}: slow.", "Use a faster disk if senders are told to come again.")
    return fine("sync", f"{shown}. No software can prove that a drive really keeps what it has synced.")


def _sync_times(folder: Path) -> list[float]:
    """Milliseconds of each sync after a write over the same bytes, as in the write-ahead file."""
    sync = getattr(os, "fdatasync", os.fsync)
    block, times = os.urandom(SYNC_BYTES), []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            os.pwrite(file.fileno(), block, 0)
            began = time.perf_counter()
            sync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return times
