"""The service watches itself: can the log be written, is there room, is the file still sound.

Every few seconds one row is written and synced, like an event. That shows a log that was moved away or a disk
that hangs while no events come in, and it alone feeds systemd's watchdog. After a crash, and once a day, the
file's structure is read through beside the work.

The rule easiest to break: a log that refuses, such as one on a full disk, is alive; it heals without a
restart, and ending the process would only take away the honest answer 503. What must be ended is a writer
that hangs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from receiver import logs
from storage.errors import LogDamaged, LogUnavailable, StorageError

if TYPE_CHECKING:
    from receiver.clock import Clock
    from receiver.counts import Counts
    from receiver.supervisor import Supervisor
    from storage.log import EventLog

PROBE_SECONDS: Final = 10.0
FIRST_EXAMINATION_SECONDS: Final = 3_600.0
"""Not while everything starts, but also where the service is restarted every day."""
DAY_SECONDS: Final = 86_400.0

LEAST_FREE_BYTES: Final = 256 * 1024 * 1024
"""A few minutes of the heaviest load: time to act before senders are refused."""
LEAST_FREE_INODES: Final = 1_000
LARGEST_WAL: Final = 256 * 1024 * 1024
"""It is folded in every 8 MiB and cut back to 64; beyond this somebody else reads without an end."""


class Selfwatch:
    """Probes, and what they have found."""

    def __init__(self, log: EventLog, counts: Counts, clock: Clock, supervisor: Supervisor) -> None:
        self._log = log
        self._counts = counts
        self._clock = clock
        self._supervisor = supervisor
        self._logger = logs.get("selfwatch")
        self.warnings: tuple[str, ...] = ()
        """What should be looked after: `disk_space`, `inodes`, `wal_size`."""
        self.trusted = asyncio.Event()
        """Set once handlers may work: at once, or after a crash, when the file was found sound."""
        if not log.recovered:
            self.trusted.set()

    async def probe(self) -> None:
        """Until cancelled, see every few seconds that the log can be written and that there is room.

        Raises:
            LogBroken: it must not be written any more.
        """
        watchdog = self._supervisor.watchdog_seconds
        pause = PROBE_SECONDS if watchdog is None else min(PROBE_SECONDS, watchdog / 3)
        while True:
            if await self._is_alive(pause):
                self._supervisor.alive()
            await self._look_around()
            await asyncio.sleep(pause)

    async def _is_alive(self, seconds: float) -> bool:
        """Whether the log's writer does something, be it to refuse."""
        before = self._log.pulse
        try:
            async with asyncio.timeout(seconds):
                await self._log.probe()
        except LogUnavailable as error:
            self._logger.warning("the log cannot be written", error=str(error))
        except TimeoutError:
            alive = self._log.pulse != before
            self._logger.warning("the log is busy" if alive else "the log's writer hangs", seconds=seconds)
            return alive
        return True

    async def _look_around(self) -> None:
        try:
            vitals = await self._log.vitals()
        except StorageError:
            return  # the probe says what there is to say
        inodes = vitals.free_inodes
        low = {
            "disk_space": vitals.free_bytes < LEAST_FREE_BYTES,
            "inodes": inodes is not None and inodes < LEAST_FREE_INODES,
            "wal_size": vitals.wal_bytes > LARGEST_WAL,
        }
        warnings = tuple(name for name, is_low in low.items() if is_low)
        if warnings != self.warnings:
            say = self._logger.warning if warnings else self._logger.info
            say(
                "look after this" if warnings else "all is well again",
                warnings=warnings,
                free_bytes=vitals.free_bytes,
                free_inodes=inodes,
                wal_bytes=vitals.wal_bytes,
            )
        self.warnings = warnings

    async def examine(self) -> None:
        """Until cancelled, have the file's structure read through: after a crash at once, then daily.

        Raises:
            LogDamaged: it is not sound. Nothing more should be acknowledged.
        """
        if self._log.recovered:
            await self._examine_once()
            self.trusted.set()
        else:
            await asyncio.sleep(FIRST_EXAMINATION_SECONDS)
            await self._examine_once()
        while True:
            await asyncio.sleep(DAY_SECONDS)
            await self._examine_once()

    async def _examine_once(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            damage = await self._log.examine()
        except StorageError as error:
            self._counts.examined("failed", self._clock.now_ms())
            self._logger.warning("the log could not be examined", error=str(error))
            return
        self._counts.examined("damaged" if damage else "sound", self._clock.now_ms())
        if damage:
            raise LogDamaged(
                f"The log is damaged: {damage[0].message}. Nothing more is accepted. `klenhook db check` "
                "names what is damaged; storage/README.md says how to restore a backup."
            )
        self._logger.info("examined", seconds=round(asyncio.get_running_loop().time() - began, 2))
