"""Putting other bodies in the place of those that came, and clearing away what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.records import Selection
from storage.removal import Erasure, Rewriting, StoredItem
from storage.work import (
    Effects,
    NewMessage,
    NewRun,
)
from tests.support.logs import START, claim, new_event, new_refused, outcome, route_all, routing

if TYPE_CHECKING:
    from storage.log import EventLog


def rewriting(seq: int, before: bytes, words: str = "") -> Rewriting:
    return Rewriting(seq=seq, before=before, body=b"{}", title=None, words_before=words, words_after="")


async def test_contents_come_in_pages(log: EventLog) -> None:
    """Every event comes once, oldest first, in pages of few rows and not too many bytes."""
    for n in range(5):
        await log.append(new_event(str(n) * (5_000_000 if n % 2 else 1)))

    pages, last = [], 0
    while page := await log.contents(last):
        pages.append([content.seq for content in page])
        last = page[-1].seq
    assert pages == [[1, 2, 3, 4], [5]]


async def test_another_body_is_flagged_and_its_digest_stays(log: EventLog) -> None:
    """A rewritten event has its new body, its old digest, no headers, and is still recognised."""
    event = new_event("a", "id", title="Title", headers='{"User-Agent": "x"}', flags="unknown_type")
    await log.append(event)
    await log.append(new_event("a", "id", headers='{"User-Agent": "y"}'))
    await route_all(log)

    for before in (event.body, b"{}"):
        assert await log.rewrite([rewriting(1, before)], None)

    detail = await log.get(event.event_id)
    assert detail is not None
    assert (detail.body, detail.record.title, detail.headers) == (b"{}", None, {})
    assert detail.record.flags == ("unknown_type", "forgotten")
    assert detail.body_sha256 == event.body_sha256.hex()
    assert (await log.append(new_event("a", "id"))).duplicate


async def test_a_body_is_replaced_if_it_is_still_the_same(log: EventLog) -> None:
    """Of two who replace one body, the second is told, and the index forgets its words once only."""
    for _ in range(2):
        await log.append(new_event())
    events = await log.unrouted(2)
    await log.route([routing(event)._replace(words="tea") for event in events], now_ms=START)

    assert await log.rewrite([rewriting(1, events[0].body, "tea")], None)
    assert not await log.rewrite([rewriting(1, events[0].body, "tea")], None)

    found = await log.page(Selection(words=(("tea",),)))
    assert [event.seq for event in found] == [2]


async def test_traces_go(log: EventLog) -> None:
    """Errors and messages of an event's runs are emptied; what waits to be sent is dead; others' stay."""
    for _ in range(2):
        await log.append(new_event())
    await route_all(log, NewRun("a"), NewRun("b"))
    message = NewMessage(url="https://x.example/?q", origin="https://x.example", headers="{}", body=b"x")
    for run in await claim(log, "a"):
        await log.finish(outcome(run, effects=Effects(messages=(message,))))
    for run in await claim(log, "b"):
        await log.finish(outcome(run, "dead", error=f"of {run.seq}"))

    assert await log.erase_traces([1]) == 0

    _, errors = await log.sql("SELECT seq, error FROM runs WHERE error IS NOT NULL ORDER BY seq")
    assert errors == [(1, "(forgotten)"), (2, "of 2")]
    _, messages = await log.sql("SELECT state, url FROM messages ORDER BY message_id")
    assert messages == [("dead", "https://x.example/"), ("pending", "https://x.example/?q")]
    assert [claimed.body for claimed in await log.claim_messages("owner", 9, now_ms=START + 9)] == [b"x"]


async def test_what_is_under_way_is_counted(log: EventLog) -> None:
    """Whoever erases traces hears how many runs may leave more of them."""
    await log.append(new_event())
    await route_all(log)
    [run] = await claim(log)

    assert await log.erase_traces([1]) == 1
    await log.finish(outcome(run, "dead", error="late"))
    assert await log.erase_traces([1]) == 0
    assert (await log.backlog())[0].last_error == "(forgotten)"


async def test_a_stored_value_is_replaced_if_it_is_still_the_same(log: EventLog) -> None:
    """A run that has read the old value meets a conflict; a value that has changed is left alone."""
    await log.append(new_event())
    await route_all(log)
    [run] = await claim(log)
    await log.finish(outcome(run, effects=Effects(writes=(("k", '"old"'), ("l", "1")))))
    [first, second] = await log.stored_items(("", ""))
    before = await log.stored("hello", "k")

    assert (first, second) == (StoredItem("hello", "k", '"old"'), StoredItem("hello", "l", "1"))
    assert await log.stored_items(("hello", "k")) == [second]
    assert await log.rewrite_stored(first, '"new"')
    assert not await log.rewrite_stored(first, None)
    assert await log.rewrite_stored(second, None)
    after = await log.stored("hello", "k")
    assert (after.value, after.version == before.version) == ('"new"', False)
    assert await log.store_of("hello") == {"k": '"new"'}


async def test_an_emptied_body_of_quarantine_stays_known(log: EventLog) -> None:
    """It is listed, has no body any more, and is not kept again."""
    number = await log.quarantine(new_refused(b"secret"))
    assert number is not None

    await log.erase_refused(number)

    assert await log.quarantined_body(number) is None
    assert [(one.id, one.state, one.size) for one in await log.quarantined()] == [(number, "forgotten", 0)]
    assert await log.quarantine(new_refused(b"secret")) is None


async def test_erasures_are_recorded(log: EventLog) -> None:
    """When it was and how much, as people can ask."""
    await log.note_erasure(Erasure(at_ms=START, calendar_events=1, events=3))

    _, rows = await log.sql("SELECT forgotten_at, calendar_events, events, calls FROM erasures")
    assert rows == [("2025-05-01T10:15:30.000Z", 1, 3, 0)]


async def test_a_scrubbed_log_goes_on(log: EventLog) -> None:
    """Clearing away and writing anew change nothing that is there."""
    for _ in range(20):
        await log.append(new_event())
    await route_all(log)

    assert await log.scrub()
    await log.compact()

    assert await log.count(Selection()) == 20
    assert not (await log.append(new_event())).duplicate
