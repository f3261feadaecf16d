"""A comparison with the vendor at work: in this process, in the running service, or only looked at.

The rule easiest to break: the log's lock decides who does it, never a guess.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, Self

from receiver.cli.common import fail, say
from receiver.cli.log.records import calendar_event, short_time, to_record
from receiver.clock import SystemClock, to_datetime
from receiver.klen import Accounts
from receiver.klen.reconcile import Progress, Reconciliation, Recorder, begin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rich.progress import Progress as Bars

    from receiver.config import Config
    from receiver.klen.reconcile import Finding, Window
    from storage.log import EventReader
    from storage.records import EventRecord, ReconciliationRecord

PATIENCE_SECONDS: Final = 300.0
POLL_SECONDS: Final = 0.2
ROUTED_SECONDS: Final = 10.0
"""What the service gets to route what it has found, so that changes and verdicts can be told."""
UNDONE: Final = "Nothing was compared."


@dataclass(frozen=True, slots=True)
class Lost:
    """One event that was missed."""

    record: dict[str, Any]
    """As in `log list --json`, with `late_seconds`; without an `event_id` if it is not recorded."""
    row: tuple[str, str, str, str, str]
    late_seconds: int

    @property
    def late(self) -> str:
        """How long after it happened it was found, in words."""
        return _span(self.late_seconds)


async def look(config: Config, source: str, window: Window) -> list[Lost]:
    """What is missing, beside a running service or without one."""
    clock = SystemClock()
    async with (
        _readable(config) as log,
        Accounts(config.sources, clock, patience_seconds=PATIENCE_SECONDS) as accounts,
    ):
        with _Bar() as bar:
            run = Reconciliation(log, accounts.of(source), source, window, clock, on_progress=bar.tell)
            found = [finding async for chunk in run.findings() for finding in chunk]
        _tell(source, run.progress, accounts.transport(source).requests, len(found))
    return [lost for finding in found for lost in _missing(source, finding, clock.now_ms())]


@asynccontextmanager
async def _readable(config: Config) -> AsyncIterator[EventReader]:
    """The log, or an empty one where there is none yet."""
    from storage import open_log, open_reader

    with TemporaryDirectory() as folder:
        there = config.storage_path.exists()
        log = await (open_reader(config.storage_url) if there else open_log(f"sqlite:///{folder}/empty.db"))
        try:
            yield log
        finally:
            await log.aclose()


async def reconcile_here(config: Config, source: str, window: Window) -> list[Lost]:
    """Do it in this process, to the end. Handlers get what was found when the service starts.

    Raises:
        LogLocked: a service has the log.
        KlenError: the vendor could not be asked to the end; what was found is recorded.
    """
    from receiver import logs
    from receiver.counts import Counts
    from receiver.plugins import load_handlers
    from receiver.route import Router
    from storage import open_log

    logs.configure("warning", config.logging.format)
    clock, bar = SystemClock(), _Bar()
    handlers = load_handlers(config).handlers
    log = await open_log(config.storage_url)
    try:
        router = Router(log, handlers, clock, on_runs=lambda _names: None, counts=Counts())
        await router.drain()

        async def routed(_kinds: Sequence[str]) -> None:
            await router.drain()

        async with Accounts(config.sources, clock, patience_seconds=PATIENCE_SECONDS) as accounts:
            transport = accounts.transport(source)
            run = Reconciliation(log, accounts.of(source), source, window, clock, on_progress=bar.tell)
            number = await begin(log, run)
            recorder = Recorder(log, run, number, requests=lambda: transport.requests, on_events=routed)
            with bar:
                await recorder.record()
            _tell(source, run.progress, transport.requests, run.progress.found)
        return await _found(log, number)
    finally:
        await log.aclose()


async def reconcile_there(config: Config, source: str, window: Window) -> list[Lost]:
    """Have the running service do it, and watch.

    Raises:
        click.ClickException: it cannot be reached, or the vendor could not be asked to the end.
    """
    from receiver.cli.running import post
    from storage import holder, open_reader

    request = {"source": source, "first_day": window.first.isoformat(), "last_day": window.last.isoformat()}
    number = (await post(config, "/reconciliations", request, undone=UNDONE)).get("reconciliation_id")
    if not isinstance(number, int):
        raise fail(f"what answers at the service's private address is not klenhook. {UNDONE}")
    log = await open_reader(config.storage_url)
    try:
        with _Bar() as bar:
            record = await _until_end(log, number, bar, holder(config.storage_url).pid)
        if record.error is not None:
            raise fail(
                f"the comparison broke off ({record.error}) after {record.requests} requests. What was found "
                "is recorded; the next run goes on from there."
            )
        await _until_routed(log)
        _tell(source, Progress(compared=record.compared), record.requests, record.found)
        return await _found(log, number)
    finally:
        await log.aclose()


async def _until_end(log: EventReader, number: int, bar: _Bar, pid: str | None) -> ReconciliationRecord:
    while True:
        [record] = await log.reconciliations(number)
        bar.tell(Progress(compared=record.compared, found=record.found))
        if record.finished_at is not None or record.error is not None:
            return record
        if pid is not None and not _lives(int(pid)):
            raise fail("the service has ended meanwhile. The comparison goes on when it starts again.")
        await asyncio.sleep(POLL_SECONDS)


async def _until_routed(log: EventReader) -> None:
    for _ in range(round(ROUTED_SECONDS / POLL_SECONDS)):
        if not (await log.status()).unrouted:
            return
        await asyncio.sleep(POLL_SECONDS)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


async def _found(log: EventReader, number: int) -> list[Lost]:
    details = [await log.get(event_id) for event_id in await log.found_by(number)]
    return [_lost(detail.record) for detail in details if detail is not None]


def _lost(event: EventRecord) -> Lost:
    # Klen's clock, or a local Klen's, may be ahead of ours.
    late = max(_seconds(event.received_at) - _seconds(event.occurred_at or event.received_at), 0)
    record = to_record(event) | {"late_seconds": late}
    what = ", ".join(event.changes) or event.event_type or ""
    row = (short_time(event.occurred_at or ""), _span(late), what, calendar_event(event), event.title or "")
    return Lost(record, row, late)


def _missing(source: str, finding: Finding, now_ms: int) -> list[Lost]:
    """What would be recorded."""
    lost = []
    for event in finding.events:
        late = max(now_ms - event.happened_ms, 0) // 1000
        happened = to_datetime(event.happened_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {
            "event_id": None,
            "source": source,
            "event_type": event.event_type,
            "calendar_event_uuid": finding.uuid,
            "calendar_event_id": finding.number,
            "occurred_at": happened,
            "origin": "reconcile",
            "late_seconds": late,
        }
        name = str(finding.number if finding.number is not None else finding.uuid)
        row = (short_time(happened), _span(late), event.event_type, name, "")
        lost.append(Lost(record, row, late))
    return lost


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _span(seconds: int) -> str:
    """A length of time as people say it."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{max(seconds, 0)} s"


def _tell(source: str, progress: Progress, requests: int, missed: int) -> None:
    gone = f" {progress.gone} in the log are not there any more." if progress.gone else ""
    nothing = "" if missed else " Nothing was missed."
    say(f"{source}: compared {progress.compared} appointments by {requests} requests.{nothing}{gone}")


class _Bar:
    """The progress, on a terminal."""

    def __init__(self) -> None:
        self._bars: Bars | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as RichProgress

            self._bars = RichProgress(console=Console(stderr=True), transient=True)
            self._bars.add_task("comparing", total=None)
            self._bars.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def tell(self, progress: Progress) -> None:
        """How far it is."""
        if self._bars is not None:
            self._bars.update(
                self._bars.task_ids[0],
                total=progress.expected or None,
                completed=progress.compared,
                description=f"comparing, {progress.found} missing so far",
            )
