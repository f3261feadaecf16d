"""What a comparison finds, made part of the log; and a comparison that was interrupted, taken up again.

The rule easiest to break: events and the place to go on from are written in one transaction, so whatever ends
the process, nothing is found twice and nothing is left out.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from receiver.errors import InvalidJSON
from receiver.intake import Delivery, read_event
from receiver.klen.reconcile import Finding, Reconciliation, Window
from storage.errors import StorageError
from storage.work import FoundEvent, NewReconciliation, ReconcileBatch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from receiver.clock import Clock
    from receiver.klen.compare import Missing
    from storage.log import EventLog
    from storage.reader import EventReader
    from storage.records import NewEvent, ReconciliationRecord

AGAIN: Final = 25
"""How often an appointment is compared again because something about it came in meanwhile."""
PAUSE_SECONDS: Final = 0.2
RESUMABLE: Final = timedelta(hours=12)
"""An interrupted comparison that is older is begun anew."""


class Recorder:
    """Makes the findings of a comparison part of the log."""

    def __init__(
        self,
        log: EventLog,
        run: Reconciliation,
        number: int,
        *,
        requests: Callable[[], int],
        on_events: Callable[[Sequence[str]], Awaitable[None]],
    ) -> None:
        """`number` is from `begin`; `requests` tells how many were sent, `on_events` hears what is new."""
        self._log = log
        self._run = run
        self.progress = run.progress
        self.number = number
        self._source = run.source
        self._clock = run.clock
        self._requests = requests
        self._on_events = on_events

    async def record(self) -> None:
        """Compare to the end and record what is missing.

        Raises:
            KlenError: the vendor cannot be asked any more; what was found so far is recorded.
        """
        await self._commit()
        try:
            async for findings in self._run.findings():
                await self._write(findings)
        except Exception as error:
            with suppress(StorageError):
                await self._commit(error=type(error).__name__)
            raise
        await self._commit(finished_at_ms=self._clock.now_ms())

    async def _write(self, findings: list[Finding]) -> None:
        """Record a chunk with the cursor; what has changed meanwhile is compared again."""
        for _ in range(AGAIN):
            rows = [(finding, self._row(event)) for finding in findings for event in finding.events]
            events = [(finding, row) for finding, row in rows if row is not None]
            written = await self._commit([FoundEvent(row, finding.revision) for finding, row in events])
            kinds = [row.event_type or "" for (_, row), good in zip(events, written, strict=True) if good]
            self._run.progress.found += len(kinds)
            if kinds:
                await self._on_events(kinds)
            late = {
                id(finding): finding for (finding, _), good in zip(events, written, strict=True) if not good
            }
            if not late:
                return
            await asyncio.sleep(PAUSE_SECONDS)
            again = [await self._run.again(finding) for finding in late.values()]
            findings = [finding for finding in again if finding is not None]

    async def _commit(
        self,
        events: Sequence[FoundEvent] = (),
        *,
        finished_at_ms: int | None = None,
        error: str | None = None,
    ) -> list[bool]:
        return await self._log.record_found(
            ReconcileBatch(
                reconciliation_id=self.number,
                events=tuple(events),
                cursor=self._run.progress.cursor,
                requests=self._run.requests_before + self._requests(),
                compared=self._run.progress.compared,
                finished_at_ms=finished_at_ms,
                error=error,
            )
        )

    def _row(self, event: Missing) -> NewEvent | None:
        """The event to record; None for what cannot be, such as one that is nested too deeply."""
        try:
            row = read_event(Delivery(self._source, event.body, self._clock.now_ms(), None))
        except InvalidJSON:
            return None
        return row._replace(origin="reconcile")


async def begin(log: EventLog, run: Reconciliation) -> int:
    """The number of a comparison that begins, or of an interrupted one of the same days, which goes on."""
    interrupted = await unfinished(log, run.source, run.clock)
    if (
        interrupted is not None
        and window_of(interrupted) == run.window
        and takes_everything(interrupted) == run.progress.everything
    ):
        run.go_on_from(interrupted)
        return interrupted.reconciliation_id
    first, last = run.window.first.isoformat(), run.window.last.isoformat()
    new = NewReconciliation(
        source=run.source, first_day=first, last_day=last, started_at_ms=run.clock.now_ms()
    )
    return await log.start_reconciliation(new)


async def unfinished(log: EventReader, source: str, clock: Clock) -> ReconciliationRecord | None:
    """The latest comparison of a source, if it was interrupted and not long ago."""
    records = [record for record in await log.reconciliations() if record.source == source]
    if not records or records[0].finished_at is not None:
        return None
    age_ms = clock.now_ms() - datetime.fromisoformat(records[0].started_at).timestamp() * 1000
    return records[0] if age_ms < RESUMABLE / timedelta(milliseconds=1) else None


def window_of(record: ReconciliationRecord) -> Window:
    """What a comparison is about."""
    return Window(date.fromisoformat(record.first_day), date.fromisoformat(record.last_day))


def takes_everything(record: ReconciliationRecord) -> bool:
    """Whether it was asked for by hand, and not by the clock."""
    return bool(json.loads(record.cursor or "{}").get("everything", True))
