"""Routing in batches, on a real log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

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
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from receiver.plugins import Handler
    from storage.log import EventLog

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


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    log = await open_log(f"sqlite:///{tmp_path}/log.db")
    yield log
    await log.aclose()


def handlers(folder: Path, source: str) -> Sequence[Handler]:
    folder.mkdir()
    write_plugin(folder, source)
    return load_handlers(load_config(write_config(folder))).handlers


async def record(log: EventLog, count: int, **fields: Any) -> None:
    for number in range(count):
        usual: dict[str, Any] = {"title": "No", "uuid": f"{UUIDS[0]}-{number}", "id": number}
        body = webhook(**usual | fields)
        await log.append(read_event(Delivery("klen", body, START + number, None)))


async def test_handlers_that_come_between_two_batches_get_the_next_one(tmp_path: Path, log: EventLog) -> None:
    """Also one whose `where` has to be asked, though nobody's had to be before."""
    await record(log, BATCH + 1)
    await record(log, 1, title="Yes", id=BATCH + 1, uuid=UUIDS[1])
    router = Router(log, handlers(tmp_path / "all", ALL), SystemClock(), counts=Counts())

    assert await router._batch()
    router.replace(handlers(tmp_path / "some", SOME))
    await router.drain()

    runs = [record.runs async for record in log.stream(Selection(after_seq=0, limit=0))]
    assert runs == [{"everything": "pending"}] * BATCH + [{}, {"chosen": "pending"}]


async def test_what_is_counted_is_the_same_whoever_decides(tmp_path: Path, log: EventLog) -> None:
    """Here, where a `where` is asked, and where the log is written."""
    here, there = Counts(), Counts()
    await record(log, 3)
    await Router(log, handlers(tmp_path / "all", ALL), SystemClock(), counts=there).drain()
    await record(log, 3, title="Yes", id=7, uuid=UUIDS[2])
    await Router(log, handlers(tmp_path / "some", SOME), SystemClock(), counts=here).drain()

    assert (dict(there.events), dict(there.unfinished)) == (
        {("calendar.created", "fresh"): 3},
        {"everything": 3},
    )
    assert dict(here.unfinished) == {"chosen": 1}
    assert sum(here.events.values()) == 1
