"""When the running service compares its log with the vendor: after a silence, by the clock, on request.

Comparisons run one after the other. The rule easiest to break: what the log never knew counts as missed only
from the time on when this log began, or the first comparison would hand years of old appointments to
handlers as news. Who asks for one by hand gets everything.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from receiver import logs
from receiver.counts import known_type
from receiver.klen.errors import KlenError
from receiver.klen.reconcile import Reconciliation, Window
from receiver.klen.recorder import Recorder, begin, takes_everything, unfinished, window_of
from receiver.times import parse_time
from storage.errors import LogBroken, LogUnavailable, QueryError
from storage.records import Selection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from receiver.clock import Clock
    from receiver.counts import Counts
    from receiver.klen.accounts import Accounts
    from storage.log import EventLog

SILENT_MS: Final = 36 * 60_000
"""The vendor's last retry comes 36 minutes after the first attempt; what came to a log that was silent for
longer may be lost: https://docs.klen.ai/api-reference/webhooks/overview"""
LOOK_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 300.0
"""A comparison has time."""


class Reconciler:
    """Runs comparisons in the service."""

    def __init__(
        self,
        log: EventLog,
        accounts: Accounts,
        clock: Clock,
        counts: Counts,
        *,
        every_seconds: float | None,
        on_events: Callable[[], None],
    ) -> None:
        """Without `every_seconds`, only what is asked for. `on_events`: something waits for routing."""
        self.every_seconds = every_seconds
        self._log = log
        self._accounts = accounts
        self._clock = clock
        self._counts = counts
        self._on_events = on_events
        self._waiting: asyncio.Queue[Recorder] = asyncio.Queue()
        self._active: dict[int, Recorder] = {}
        self._born_ms = clock.now_ms()
        self._logger = logs.get("reconcile")

    @property
    def sources(self) -> list[str]:
        """Those that can be compared."""
        return self._accounts.with_key

    async def start(self, source: str, window: Window | None = None, *, everything: bool = True) -> int:
        """Have a source compared; the number of the comparison, which may be under way already.

        Raises:
            LogUnavailable, QueryError: nothing was begun.
        """
        since_ms = None if everything else await self._log.oldest_event_ms(source) or self._born_ms
        window = window or Window.around(self._clock.now_ms())
        klen = self._accounts.of(source, patience_seconds=PATIENCE_SECONDS)
        run = Reconciliation(self._log, klen, source, window, self._clock, since_ms=since_ms)
        number = await begin(self._log, run)
        if number not in self._active:
            transport = self._accounts.transport(source)
            before = transport.requests
            recorder = Recorder(
                self._log,
                run,
                number,
                requests=lambda: transport.requests - before,
                on_events=self._recorded,
            )
            self._active[number] = recorder
            self._waiting.put_nowait(recorder)
        return number

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            LogBroken: the log must not be written any more.
        """
        while True:
            recorder = await self._waiting.get()
            await self._record(recorder)
            del self._active[recorder.number]

    async def _record(self, recorder: Recorder) -> None:
        try:
            await recorder.record()
        except KlenError as error:
            self._logger.warning("broken off", number=recorder.number, error=type(error).__name__)
        except (LogUnavailable, QueryError) as error:
            self._logger.warning("waiting for the log", number=recorder.number, error=type(error).__name__)
        except LogBroken:
            raise
        except Exception as error:  # noqa: BLE001 -- what the vendor answers must not stop the service
            self._logger.error("broken off", number=recorder.number, error=type(error).__name__)  # noqa: TRY400 -- a traceback quotes the answer
        else:
            found = recorder.progress.found
            write = self._logger.warning if found else self._logger.info
            write("compared with the vendor", number=recorder.number, missed=found)

    async def _recorded(self, kinds: Sequence[str]) -> None:
        for kind in kinds:
            self._counts.reconciled[known_type(kind)] += 1
        self._on_events()

    async def keep_time(self) -> None:
        """Have everything compared when it is time, until cancelled.

        Raises:
            LogBroken: the log must not be written any more.
        """
        await self._each(self._at_start)
        while True:
            # A reload may change it, so it is looked at again now and then.
            waited = 0.0
            while self.every_seconds is None or waited < self.every_seconds:
                waited += (pause := min(self.every_seconds or LOOK_SECONDS, LOOK_SECONDS))
                await asyncio.sleep(pause)
            await self._each(lambda source: self.start(source, everything=False))

    async def _each(self, step: Callable[[str], Awaitable[object]]) -> None:
        for source in self.sources:
            try:
                await step(source)
            except (LogUnavailable, QueryError) as error:
                self._logger.warning("not begun", source=source, error=type(error).__name__)

    async def _at_start(self, source: str) -> None:
        """Go on with what was interrupted, and catch up after a silence longer than the vendor retries."""
        interrupted = await unfinished(self._log, source, self._clock)
        if interrupted is not None:
            everything = takes_everything(interrupted)
            await self.start(source, window_of(interrupted), everything=everything)
        elif self.every_seconds is not None and await self._was_silent(source):
            await self.start(source, everything=False)

    async def _was_silent(self, source: str) -> bool:
        newest = await self._log.page(Selection(source=source, limit=1))
        if not newest:
            return False
        now_ms = self._clock.now_ms()
        return now_ms - parse_time(newest[0].received_at, now_ms=now_ms) > SILENT_MS
