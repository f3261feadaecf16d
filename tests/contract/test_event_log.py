"""Taking in: what is a new event, what repeats one, and what is kept in quarantine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import storage
from storage.errors import LogLocked, LogUnavailable
from storage.records import Appended, Selection
from tests.support.logs import START, new_event, new_refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from storage.log import EventLog
    from storage.records import NewEvent

    Opener = Callable[[], Awaitable[EventLog]]


async def flags(log: EventLog, event_id: str) -> tuple[str, ...]:
    detail = await log.get(event_id)
    assert detail is not None
    return detail.record.flags


async def deliveries(log: EventLog, event_id: str) -> list[tuple[str | None, str]]:
    detail = await log.get(event_id)
    assert detail is not None
    assert len(detail.deliveries) == detail.record.deliveries
    return [(delivery.delivery_id, delivery.outcome) for delivery in detail.deliveries]


async def test_a_new_event_comes_back_whole(log: EventLog) -> None:
    """Every column of a new event is answered as it was given, the body byte for byte."""
    event = new_event(
        "Größe\u2028",
        "d-1",
        headers='{"User-Agent": "Klen"}',
        secret_fingerprint="abcd",
        event_type="calendar.created",
        calendar_event_uuid="f47ac10b-58cc-4372-a567-0e02b2c3d479",
        calendar_event_id=123,
        occurred_at_ms=START - 250,
        title="Client Meeting",
        status="confirmed",
        start_ms=START + 1,
        end_ms=START + 999,
        flags="bad_shape odd",
    )

    assert await log.append(event) == Appended(event.event_id, duplicate=False, id_reused=False)

    found = await log.get(event.event_id)
    assert found is not None
    assert (found.body, found.body_sha256) == (event.body, event.body_sha256.hex())
    assert (found.headers, found.secret_fingerprint) == ({"User-Agent": "Klen"}, "abcd")
    assert [(d.delivery_id, d.outcome) for d in found.deliveries] == [("d-1", "accepted")]
    record = found.record
    assert (record.seq, record.event_id, record.source, record.origin) == (
        1,
        event.event_id,
        "klen",
        "webhook",
    )
    assert (record.event_type, record.delivery_id) == ("calendar.created", "d-1")
    assert record.calendar_event_uuid == "f47ac10b-58cc-4372-a567-0e02b2c3d479"
    assert record.calendar_event_id == 123
    assert (record.received_at, record.occurred_at) == (
        "2025-05-01T10:15:30.000Z",
        "2025-05-01T10:15:29.750Z",
    )
    assert (record.start_time, record.end_time) == ("2025-05-01T10:15:30.001Z", "2025-05-01T10:15:30.999Z")
    assert (record.title, record.status, record.flags) == (
        "Client Meeting",
        "confirmed",
        ("bad_shape", "odd"),
    )
    assert (record.verdict, record.changes, record.deliveries, record.runs) == (None, [], 1, {})


async def test_columns_may_be_empty(log: EventLog) -> None:
    """An event of which nothing could be read is stored like any other."""
    event = new_event()
    await log.append(event)

    found = await log.get(event.event_id)

    assert found is not None
    assert (found.headers, found.secret_fingerprint) == ({}, None)
    assert (found.record.event_type, found.record.occurred_at, found.record.title) == (None, None, None)


@pytest.mark.parametrize("again", [None, "d-1", "d-2"])
@pytest.mark.parametrize("first", [None, "d-1"])
async def test_the_same_body_is_one_event(log: EventLog, first: str | None, again: str | None) -> None:
    """The same bytes repeat their event, whatever delivery id either came with."""
    known = await log.append(new_event("a", first))

    assert await log.append(new_event("a", again)) == Appended(known.event_id, duplicate=True)
    assert await log.count(Selection()) == 1
    assert sorted(await deliveries(log, known.event_id), key=str) == sorted(
        [(first, "accepted"), (again, "duplicate")], key=str
    )


async def test_a_retry_with_a_renewed_timestamp_is_a_duplicate(log: EventLog) -> None:
    """The same delivery id with the same content apart from its timestamp repeats the event."""
    known = await log.append(new_event("a", "d-1", variant="10:15"))

    assert await log.append(new_event("a", "d-1", variant="10:16")) == Appended(
        known.event_id, duplicate=True
    )
    assert await log.count(Selection()) == 1


async def test_a_retrys_own_bytes_are_remembered(log: EventLog) -> None:
    """The bytes of a retry that was a duplicate by id and content repeat the event under any other id."""
    known = await log.append(new_event("a", "d-1", variant="10:15"))
    await log.append(new_event("a", "d-1", variant="10:16"))

    assert await log.append(new_event("a", "d-9", variant="10:16")) == Appended(
        known.event_id, duplicate=True
    )
    assert await log.append(new_event("a", variant="10:16")) == Appended(known.event_id, duplicate=True)


async def test_the_same_content_without_the_id_is_new(log: EventLog) -> None:
    """Equal content under another delivery id, or none, in other bytes is another event: it may happen twice."""
    await log.append(new_event("a", "d-1", variant="10:15"))

    for event in (new_event("a", "d-2", variant="10:16"), new_event("a", variant="10:17")):
        assert await log.append(event) == Appended(event.event_id, duplicate=False)


async def test_an_id_with_other_content_is_a_new_event(log: EventLog) -> None:
    """A delivery id that comes back with really different content makes a new event, which is flagged."""
    first = await log.append(new_event("a", "d-1"))
    second = new_event("b", "d-1", flags="bad_shape")

    assert await log.append(second) == Appended(second.event_id, duplicate=False, id_reused=True)
    assert await flags(log, second.event_id) == ("bad_shape", "delivery_id_reused")
    assert await flags(log, first.event_id) == ()


async def test_missing_ids_are_not_an_id(log: EventLog) -> None:
    """Events without a delivery id have nothing in common by that."""
    results = [await log.append(new_event()) for _ in range(3)]

    assert [(result.duplicate, result.id_reused) for result in results] == [(False, False)] * 3


async def test_another_source_is_another_world(log: EventLog) -> None:
    """Neither the same bytes nor the same id of another account make a duplicate, or a reused id."""
    await log.append(new_event("a", "d-1"))

    for event in (new_event("a", "d-1", source="other"), new_event("b", "d-1", source="third")):
        assert await log.append(event) == Appended(event.event_id, duplicate=False, id_reused=False)


async def test_a_replayed_body_does_not_burn_an_id(log: EventLog) -> None:
    """An old body under a new delivery id leaves that id free for the event that really comes with it."""
    await log.append(new_event("old", "d-1"))
    await log.append(new_event("old", "d-2"))
    genuine = new_event("new", "d-2")

    assert await log.append(genuine) == Appended(genuine.event_id, duplicate=False, id_reused=False)


@pytest.mark.parametrize("retried", [False, True])
async def test_concurrent_copies_make_one_event(log: EventLog, retried: bool) -> None:  # noqa: FBT001 -- a parameter
    """Of 50 copies at the same instant one is the event and 49 are duplicates of it, with its id."""
    copies = [new_event("a", "d-1", variant=str(n if retried else 0)) for n in range(50)]

    results = await asyncio.gather(*(log.append(copy) for copy in copies))

    [fresh] = [result for result in results if not result.duplicate]
    assert {result.event_id for result in results} == {fresh.event_id}
    assert await log.count(Selection()) == 1
    assert [outcome for _, outcome in await deliveries(log, fresh.event_id)] == ["accepted"] + [
        "duplicate"
    ] * 49


async def test_a_batch_keeps_each_rule(log: EventLog) -> None:
    """What arrives together is told apart as if it had come one by one."""
    await log.append(new_event("known", "d-0"))
    together = {
        "fresh": new_event("a", "d-1"),
        "same bytes": new_event("a", "d-7"),
        "retry": new_event("a", "d-1", variant="later"),
        "known bytes": new_event("known", "d-8"),
        "other source": new_event("a", "d-1", source="other"),
        "unrelated": new_event(),
    }

    results = dict(zip(together, await asyncio.gather(*map(log.append, together.values())), strict=True))

    assert {name for name, result in results.items() if not result.duplicate} >= {"other source", "unrelated"}
    assert results["known bytes"].duplicate
    assert len({results[name].event_id for name in ("fresh", "same bytes", "retry")}) == 1
    assert await log.count(Selection()) == 4


async def test_of_two_contents_that_arrive_together_one_reuses_the_id(log: EventLog) -> None:
    """Two contents under one delivery id in one instant: both are events, and only the later one is flagged."""
    one, other = new_event("a", "d-1"), new_event("b", "d-1")

    results = await asyncio.gather(log.append(one), log.append(other))

    assert sorted(result.id_reused for result in results) == [False, True]
    [first, second] = await log.page(Selection(after_seq=0))
    assert (first.flags, second.flags) == ((), ("delivery_id_reused",))


async def test_numbers_follow_arrival(log: EventLog) -> None:
    """Events are numbered upwards from 1 in the order in which they came to be recorded."""
    events = [new_event() for _ in range(700)]
    await asyncio.gather(*(log.append(event) for event in events))

    records = [record async for record in log.stream(Selection(after_seq=0, limit=0))]

    assert [record.seq for record in records] == list(range(1, 701))
    assert [record.event_id for record in records] == [event.event_id for event in events]


async def test_only_requests_are_deliveries(log: EventLog) -> None:
    """An event found by asking the vendor has no delivery, until the vendor sends it after all."""
    event = new_event("a", origin="reconcile")
    await log.append(event)
    assert await deliveries(log, event.event_id) == []

    await log.append(new_event("a", "d-1"))
    assert await deliveries(log, event.event_id) == [("d-1", "duplicate")]


async def test_a_bad_row_fails_alone(log: EventLog) -> None:
    """An event that cannot be stored fails for its sender only; those that came with it are stored."""
    good = [new_event() for _ in range(5)]
    bad = new_event()._replace(calendar_event_id=2**70)
    mixed: list[NewEvent] = [*good[:2], bad, *good[2:]]

    results = await asyncio.gather(*map(log.append, mixed), return_exceptions=True)

    assert [isinstance(result, BaseException) for result in results] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert await log.count(Selection()) == 5


async def test_an_event_id_is_used_once(log: EventLog) -> None:
    """Other content under the id of an event is refused rather than dropped in silence."""
    event = new_event("a")
    await log.append(event)

    with pytest.raises(Exception, match="event_id"):
        await log.append(new_event("b")._replace(event_id=event.event_id))
    assert await log.count(Selection()) == 1
    assert not (await log.append(new_event("b"))).duplicate


async def test_everything_outlives_closing(open_log: Opener) -> None:
    """A log that is closed and opened again knows its events, their identities and its numbers."""
    log = await open_log()
    known = await log.append(new_event("a", "d-1"))
    kept = await log.quarantine(new_refused(b"{"))
    log = await open_log()

    assert await log.append(new_event("a", "d-2")) == Appended(known.event_id, duplicate=True)
    assert await log.quarantine(new_refused(b"{")) is None
    assert [record.id for record in await log.quarantined()] == [kept]
    await log.append(new_event())
    assert [record.seq for record in await log.page(Selection())] == [2, 1]


async def test_a_log_belongs_to_one_service(log: EventLog, address: str) -> None:
    """A second service on the same log is refused, and the first goes on."""
    with pytest.raises(LogLocked, match="in use by another klenhook"):
        await storage.open_log(address)

    assert not (await log.append(new_event())).duplicate


async def test_a_closed_log_takes_nothing(open_log: Opener) -> None:
    """What is asked of a log after it was closed is refused."""
    log = await open_log()
    await log.aclose()
    assert await asyncio.wait_for(log.stopped(), 5) is None

    with pytest.raises(LogUnavailable):
        await log.append(new_event())


async def test_closing_finishes_what_waits(open_log: Opener) -> None:
    """Events that wait when the log is closed are stored and acknowledged."""
    log = await open_log()
    waiting = [asyncio.ensure_future(log.append(new_event())) for _ in range(100)]
    await asyncio.sleep(0)
    await log.aclose()

    assert not any(result.duplicate for result in await asyncio.gather(*waiting))
    log = await open_log()
    assert await log.count(Selection()) == 100


async def test_who_gives_up_hurts_nobody(log: EventLog) -> None:
    """A sender that is gone before its answer leaves the events beside its own alone."""
    waiting = [asyncio.ensure_future(log.append(new_event())) for _ in range(50)]
    await asyncio.sleep(0)
    for task in waiting[::2]:
        task.cancel()

    results = await asyncio.gather(*waiting, return_exceptions=True)

    assert [isinstance(result, Appended) for result in results] == [False, True] * 25
    assert await log.count(Selection()) >= 25
    assert log.healthy


class TestQuarantine:
    """What was signed and is no JSON."""

    async def test_it_is_kept_whole(self, log: EventLog) -> None:
        """A refused body is listed with its reason and can be had byte for byte."""
        refused = new_refused(
            b"\xff\x00{",
            reason="invalid_json: 3",
            delivery_id="d-1",
            headers='{"a": "b"}',
            secret_fingerprint="f",
        )

        number = await log.quarantine(refused)

        assert number is not None
        [record] = await log.quarantined()
        assert (record.id, record.source, record.reason) == (number, "klen", "invalid_json: 3")
        assert (record.size, record.body_sha256, record.state) == (3, refused.body_sha256.hex(), "kept")
        assert (record.received_at, record.delivery_id) == ("2025-05-01T10:15:30.000Z", "d-1")
        assert await log.quarantined_body(number) == refused
        assert await log.quarantined_body(number + 1) is None

    async def test_a_body_is_kept_once(self, log: EventLog) -> None:
        """The same body of the same source is kept once; of another source, once more."""
        assert await log.quarantine(new_refused(b"{")) is not None
        assert await log.quarantine(new_refused(b"{")) is None
        assert await log.quarantine(new_refused(b"{", source="other")) is not None

    async def test_a_released_one_says_so(self, log: EventLog) -> None:
        """A body that went through intake after all stays listed, as released, and does not come back."""
        number = await log.quarantine(new_refused(b"{"))
        assert number is not None
        await log.released(number)

        assert [record.state for record in await log.quarantined()] == ["released"]
        assert (await log.status()).quarantined == 0
        assert await log.quarantine(new_refused(b"{")) is None

    async def test_it_has_a_bound(self, log: EventLog) -> None:
        """However much is refused, a bounded number of bodies is kept, and the log goes on."""
        kept = await asyncio.gather(*(log.quarantine(new_refused(b"{%d" % n)) for n in range(1_500)))

        assert len([number for number in kept if number is not None]) == 1_000
        assert len(await log.quarantined(limit=0)) == 1_000
        assert [record.id for record in await log.quarantined(limit=2)] == [1_000, 999]
        assert not (await log.append(new_event())).duplicate

    async def test_it_is_no_event(self, log: EventLog) -> None:
        """A refused body is neither listed nor routed, and does not make a later event a duplicate."""
        await log.quarantine(new_refused(b"a|"))

        assert await log.unrouted(10) == []
        assert not (await log.append(new_event("a"))).duplicate
