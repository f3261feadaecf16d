"""Routing in batches, on a real log: what is looked at ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.clock import SystemClock
from receiver.config import load_config
from receiver.counts import Counts
from receiver.intake import Delivery, read_event
from receiver.plugins import load_handlers
from receiver.route import BATCH, Router
from storage import open_log
from storage.records import Selection
from tests.support.klen import webhook
from tests.support.logs import START, UUIDS
from tests.support.service import write_config, write_plugin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from receiver.plugins import Handler

ALL = """\
from receiver import AnyEvent, on


@on(AnyEvent)
async def everything(event: AnyEvent) -> None:
    pass
"""
SOME = """\
from receiver import CalendarCreated, on


@on(CalendarCreated, where=lambda event: event.calendar_event.title == "Yes")
async def chosen(event: CalendarCreated) -> None:
    pass
"""


def handlers(folder: Path, source: str) -> Sequence[Handler]:
    folder.mkdir()
    write_plugin(folder, source)
    return load_handlers(load_config(write_config(folder))).handlers


async def test_what_was_looked_at_ahead_is_right_for_handlers_that_came_since(tmp_path: Path) -> None:
    """A new handler's `where` gets events whole, also those of a batch that was prepared when nobody had one."""
    log = await open_log(f"sqlite:///{tmp_path}/log.db")
    try:
        for number in range(BATCH + 2):
            body = webhook(title="Yes" if number == BATCH else "No", uuid=f"{UUIDS[0]}-{number}", id=number)
            await log.append(read_event(Delivery("klen", body, START + number, None)))
        counts = Counts()
        router = Router(
            log, handlers(tmp_path / "all", ALL), SystemClock(), on_runs=lambda _: None, counts=counts
        )

        assert await router._batch()
        router.replace(handlers(tmp_path / "some", SOME))
        await router.drain()

        runs = [record.runs async for record in log.stream(Selection(after_seq=0, limit=0))]
        assert runs == [{"everything": "pending"}] * BATCH + [{"chosen": "pending"}, {}]
    finally:
        await log.aclose()


async def test_an_event_that_comes_after_an_empty_look_ahead_is_routed(tmp_path: Path) -> None:
    """Nothing ahead is no reason to look no further the next time."""
    log = await open_log(f"sqlite:///{tmp_path}/log.db")
    try:
        router = Router(
            log, handlers(tmp_path / "all", ALL), SystemClock(), on_runs=lambda _: None, counts=Counts()
        )
        for number in range(3):
            body = webhook(uuid=f"{UUIDS[0]}-{number}", id=number)
            await log.append(read_event(Delivery("klen", body, START + number, None)))
            await router._batch()
            assert (await log.status()).unrouted == 0
    finally:
        await log.aclose()
