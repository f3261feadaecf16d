"""A comparison with the vendor at work: in this process, in the running service, or only looked at.

The rule easiest to break: the log's lock decides who does it, never a guess.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from receiver.cli.common import fail
from receiver.cli.losses import Bar, Lost, lost_by, tell, would_be_lost
from receiver.clock import SystemClock
from receiver.klen import Accounts
from receiver.klen.reconcile import Progress, Reconciliation
from receiver.klen.recorder import Recorder, begin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from receiver.config import Config
    from receiver.klen.reconcile import Window
    from storage.reader import EventReader
    from storage.records import ReconciliationRecord

PATIENCE_SECONDS: Final = 300.0
POLL_SECONDS: Final = 0.2
ROUTED_SECONDS: Final = 10.0
"""What the service gets to route what it has found, so that changes and verdicts can be told."""
UNDONE: Final = "Nothing was compared."


async def look(config: Config, source: str, window: Window) -> list[Lost]:
    """What is missing, beside a running service or without one."""
    clock = SystemClock()
    async with (
        _readable(config) as log,
        Accounts(config.sources, clock, patience_seconds=PATIENCE_SECONDS) as accounts,
    ):
        with Bar() as bar:
            run = Reconciliation(log, accounts.of(source), source, window, clock, on_progress=bar.tell)
            found = [finding async for chunk in run.findings() for finding in chunk]
        tell(source, run.progress, accounts.transport(source).requests, len(found))
    return [lost for finding in found for lost in would_be_lost(source, finding, clock.now_ms())]


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
    clock, bar = SystemClock(), Bar()
    handlers = load_handlers(config).handlers
    log = await open_log(config.storage_url)
    try:
        router = Router(log, handlers, clock, counts=Counts())
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
            tell(source, run.progress, transport.requests, run.progress.found)
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
        with Bar() as bar:
            record = await _until_end(log, number, bar, holder(config.storage_url).pid)
        if record.error is not None:
            raise fail(
                f"the comparison broke off ({record.error}) after {record.requests} requests. What was found "
                "is recorded; the next run goes on from there."
            )
        await _until_routed(log)
        tell(source, Progress(compared=record.compared), record.requests, record.found)
        return await _found(log, number)
    finally:
        await log.aclose()


async def _until_end(log: EventReader, number: int, bar: Bar, pid: str | None) -> ReconciliationRecord:
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
    return [lost_by(detail.record) for detail in details if detail is not None]
