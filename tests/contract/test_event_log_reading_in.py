"""Deliveries and events that are read where the log is written."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from receiver.folding import fold_batch
from receiver.intake import Delivery, read_deliveries, read_event
from storage.records import Selection, Taken, Unreadable
from storage.work import NewRun
from tests.support.klen import distinct, webhook
from tests.support.logs import START

if TYPE_CHECKING:
    from storage.log import EventLog


def delivery(body: bytes, delivery_id: str | None = None) -> Delivery:
    return Delivery("klen", body, START, "fingerprint", delivery_id)


async def take_in(log: EventLog, *deliveries: Delivery) -> list[Taken | Unreadable]:
    return list(
        await asyncio.gather(*(log.take_in(one, read_deliveries, len(one.body)) for one in deliveries))
    )


async def test_a_delivery_becomes_the_event_that_it_is_read_as(log: EventLog) -> None:
    """The event in the log is the one that reading it here gives; the answer tells what was read."""
    body = webhook("calendar.updated", timestamp="not a time")

    [taken] = await take_in(log, delivery(body, "d-1"))

    assert isinstance(taken, Taken)
    assert (taken.appended.duplicate, taken.event_type, taken.flags) == (
        False,
        "calendar.updated",
        "odd_timestamp",
    )
    detail = await log.get(taken.appended.event_id)
    read = read_event(delivery(body, "d-1"))
    assert detail is not None
    assert (detail.body, detail.body_sha256) == (body, read.body_sha256.hex())
    assert (detail.record.event_type, detail.record.title) == (read.event_type, read.title)


async def test_those_that_come_together_each_get_their_own_answer(log: EventLog) -> None:
    """New ones, repetitions and bodies that are no JSON, in any mixture: the answers are in their order."""
    first, second = distinct(), distinct()

    found = await take_in(
        log,
        delivery(b"{"),
        delivery(first),
        delivery(b"NaN"),
        delivery(first),
        delivery(second),
        delivery(b"{"),
    )

    ids = [one.appended.event_id if isinstance(one, Taken) else None for one in found]
    assert [isinstance(one, Unreadable) for one in found] == [True, False, True, False, False, True]
    assert ids[1] == ids[3] != ids[4]
    assert [one.appended.duplicate for one in found if isinstance(one, Taken)] == [False, True, False]
    assert {record.reason for record in await log.quarantined()} == {
        one.reason for one in found if isinstance(one, Unreadable)
    }
    assert (await log.count(Selection()), len(await log.quarantined())) == (2, 2)


async def test_what_waits_for_its_routing_can_be_folded_there(log: EventLog) -> None:
    """What comes back is what folding here gives, and it can be routed."""
    await take_in(
        log, *(delivery(webhook(kind, title=f"{kind}")) for kind in ("calendar.created", "calendar.updated"))
    )
    here = fold_batch(await log.unrouted(10), with_known=True)

    there = await log.survey(partial(fold_batch, with_known=True), 10)

    assert there == here
    routings = [one.routing._replace(runs=(NewRun("hello"),)) for one in there.events]
    assert await log.route(routings, now_ms=START, states=there.states)
    assert (await log.survey(fold_batch, 10)).events == []
    assert [record.verdict async for record in log.stream(Selection(after_seq=0))] == ["fresh", "conflicting"]


async def test_a_survey_goes_no_further_than_it_may(log: EventLog) -> None:
    """The oldest events come first, and no more than were asked for."""
    taken = await take_in(log, *(delivery(distinct()) for _ in range(5)))

    found = await log.survey(fold_batch, 3)

    ids = [one.appended.event_id for one in taken if isinstance(one, Taken)]
    assert ids[:3] == [one.event.event_id for one in found.events]
