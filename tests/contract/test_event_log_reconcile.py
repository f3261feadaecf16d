"""Comparisons with the vendor: what one found and how far it has got are written together, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from storage.records import Selection
from storage.work import FoundEvent, NewReconciliation, ReconcileBatch
from tests.contract.test_event_log_calendar import state
from tests.support.logs import DAY, START, UUIDS, new_event, routing

if TYPE_CHECKING:
    from storage.log import EventLog


async def begun(log: EventLog, source: str = "klen") -> int:
    new = NewReconciliation(source=source, first_day="2025-05-01", last_day="2025-05-31", started_at_ms=START)
    return await log.start_reconciliation(new)


def batch(number: int, *events: FoundEvent, **more: Any) -> ReconcileBatch:
    usual: dict[str, Any] = {"cursor": "{}", "requests": 3, "compared": 2}
    return ReconcileBatch(reconciliation_id=number, events=events, **usual | more)


def found(revision: int | None = None, **columns: Any) -> FoundEvent:
    usual: dict[str, Any] = {"origin": "reconcile", "calendar_event_uuid": UUIDS[0], "calendar_event_id": 7}
    return FoundEvent(new_event(**usual | columns), revision)


async def known(log: EventLog, revision: int | None = None) -> None:
    """Route what waits, and store a state for it."""
    events = await log.unrouted(10)
    states = [state(event, revision=revision) for event in events]
    assert await log.route([routing(event) for event in events], now_ms=START, states=states)


async def test_what_is_found_is_recorded_with_the_cursor(log: EventLog) -> None:
    """The events are in the log, in order, as those of this comparison."""
    number = await begun(log)
    one, two = found(), found(calendar_event_uuid=UUIDS[1], calendar_event_id=8)
    assert await log.record_found(batch(number, one, two, cursor='{"page":2}')) == [True, True]
    [record] = await log.reconciliations()
    assert (record.found, record.cursor, record.requests, record.compared) == (2, '{"page":2}', 3, 2)
    assert (record.source, record.finished_at, record.error) == ("klen", None, None)
    assert await log.found_by(number) == [one.event.event_id, two.event.event_id]
    assert [event.origin for event in await log.page(Selection(after_seq=0))] == ["reconcile", "reconcile"]

    await log.record_found(batch(number, finished_at_ms=START, error=None))
    [record] = await log.reconciliations(number)
    assert record.finished_at == "2025-05-01T10:15:30.000Z"


async def test_what_has_changed_meanwhile_is_refused(log: EventLog) -> None:
    """Neither an event that waits for its routing nor a newer state is overtaken; others are recorded."""
    number = await begun(log)
    await log.append(new_event(calendar_event_uuid=UUIDS[0]))
    other = found(calendar_event_uuid=UUIDS[1], calendar_event_id=8)
    assert await log.record_found(batch(number, found(), other)) == [False, True]
    await known(log)
    record = await log.known_as("klen", UUIDS[0], None)
    assert record is not None
    assert await log.record_found(batch(number, found(None), found(record.revision))) == [False, True]
    assert await log.count(Selection(calendar_event=UUIDS[0])) == 2


async def test_events_tell_whether_their_calendar_event_was_ever_found_so(log: EventLog) -> None:
    """Not those about others, nor about one that only webhooks have told of."""
    await log.append(new_event(calendar_event_uuid=UUIDS[1], calendar_event_id=8))
    await log.record_found(batch(await begun(log), found()))
    await known(log)

    for uuid in UUIDS[:3]:
        await log.append(new_event(calendar_event_uuid=uuid))

    assert [event.known and event.known.was_found for event in await log.unrouted(10)] == [True, False, None]


async def test_a_calendar_event_is_known_by_either_name(log: EventLog) -> None:
    """By its uuid, else by its number, unless that belongs to another uuid; and in its own source only."""
    await log.append(new_event(calendar_event_uuid=UUIDS[0], calendar_event_id=7))
    await known(log)
    for uuid, number, there in (
        (UUIDS[0], None, True),
        (None, 7, True),
        (UUIDS[0], 9, True),
        (UUIDS[1], 7, False),
        (UUIDS[1], None, False),
        (None, None, False),
    ):
        assert (await log.known_as("klen", uuid, number) is not None) == there, (uuid, number)
    assert await log.known_as("other", UUIDS[0], 7) is None


async def test_names_are_told_by_the_time_they_begin(log: EventLog) -> None:
    """Those of one source whose beginning is in the time asked for."""
    await log.append(new_event(calendar_event_uuid=UUIDS[0], calendar_event_id=7))
    await known(log)
    assert await log.names_between("klen", START, START + 1) == [(UUIDS[0], 7, "confirmed")]
    assert await log.names_between("klen", START + 1, START + DAY) == []
    assert await log.names_between("other", 0, START + DAY) == []


async def test_the_oldest_event_tells_when_a_log_began(log: EventLog) -> None:
    """By source; None where there is none."""
    assert await log.oldest_event_ms("klen") is None
    await log.append(new_event(received_at_ms=START + 5))
    await log.append(new_event(received_at_ms=START))
    assert await log.oldest_event_ms("klen") == START + 5
    assert await log.oldest_event_ms("other") is None
