"""Asking the log: selections, pages, counts and the state of the whole."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import storage
from storage.errors import LogUnusable, QueryError
from storage.records import Selection
from storage.work import NewRun
from tests.support.logs import DAY, START, UUIDS, claim, new_event, new_refused, outcome, route_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from storage.log import EventLog
    from storage.reader import EventReader

    Opener = Callable[[], Awaitable[EventLog]]


@pytest.fixture
async def reader(log: EventLog, address: str) -> AsyncIterator[EventReader]:
    """Somebody who asks beside the running service."""
    assert log.healthy
    reader = await storage.open_reader(address)
    yield reader
    await reader.aclose()


async def fill(log: EventLog) -> None:
    """Six events of two sources, three types and two calendar events; of the runs of the last each ends its way."""
    types = [
        "calendar.created",
        "calendar.updated",
        "call.started",
        None,
        "calendar.created",
        "calendar.created",
    ]
    for n, event_type in enumerate(types):
        await log.append(
            new_event(
                event_type=event_type,
                received_at_ms=START + n * DAY,
                source="other" if n == 2 else "klen",
                calendar_event_uuid=UUIDS[n % 2] if n < 4 else None,
                calendar_event_id=40 + n % 2 if n < 4 else None,
            )
        )
    await route_all(log, NewRun("a", ordered=False), NewRun("b", ordered=False))
    for run in await claim(log, "a", most=3):
        await log.finish(outcome(run, "dead", error=f"ValueError: {run.seq}"))
    for run in await claim(log, "b", most=4):
        await log.finish(outcome(run, "done"))


async def numbers(log: EventReader, **filters: Any) -> list[int]:
    """The selected events, oldest first; each way of asking agrees."""
    selection = Selection(**filters, limit=0)
    found = [record.seq for record in await log.page(selection)]
    assert found == [record.seq async for record in log.stream(selection)]
    assert len(found) == await log.count(selection)
    return found[::-1]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"type_glob": "calendar.created"}, [1, 5, 6]),
        ({"type_glob": "calendar.*"}, [1, 2, 5, 6]),
        ({"type_glob": "*"}, [1, 2, 3, 5, 6]),
        ({"type_glob": "c*.[su]*"}, [2, 3]),
        ({"type_glob": "CALENDAR.*"}, []),
        ({"calendar_event": UUIDS[0]}, [1, 3]),
        ({"calendar_event": UUIDS[1].upper()}, [2, 4]),
        ({"calendar_event": "41"}, [2, 4]),
        ({"calendar_event": "40"}, [1, 3]),
        ({"calendar_event": "999999999999999999999999"}, []),
        ({"calendar_event": "' OR 1=1 --"}, []),
        ({"since_ms": START + DAY}, [2, 3, 4, 5, 6]),
        ({"since_ms": START + DAY + 1}, [3, 4, 5, 6]),
        ({"until_ms": START + DAY}, [1]),
        ({"until_ms": START + DAY + 1}, [1, 2]),
        ({"since_ms": START + DAY, "until_ms": START + 2 * DAY}, [2]),
        ({"source": "other"}, [3]),
        ({"source": "nobody"}, []),
        ({"handler": "a"}, [1, 2, 3, 4, 5, 6]),
        ({"handler": "nobody"}, []),
        ({"run_state": "dead"}, [1, 2, 3]),
        ({"run_state": "done"}, [1, 2, 3, 4]),
        ({"run_state": "pending"}, [4, 5, 6]),
        ({"run_state": "running"}, []),
        ({"run_state": "skipped"}, []),
        ({"handler": "a", "run_state": "dead"}, [1, 2, 3]),
        ({"handler": "b", "run_state": "dead"}, []),
        ({"handler": "a", "run_state": "pending"}, [4, 5, 6]),
        ({"handler": "b", "run_state": "pending"}, [5, 6]),
        ({"handler": "nobody", "run_state": "dead"}, []),
        ({"verdict": "fresh"}, []),
        ({"after_seq": 4}, [6, 5]),
        ({"after_seq": 6}, []),
        (
            {
                "type_glob": "call.*",
                "calendar_event": "40",
                "since_ms": START,
                "until_ms": START + 9 * DAY,
                "source": "other",
                "handler": "b",
                "run_state": "done",
                "after_seq": 2,
            },
            [3],
        ),
    ],
    ids=str,
)
async def test_filters(
    reader: EventReader, log: EventLog, filters: dict[str, Any], expected: Sequence[int]
) -> None:
    """Each filter narrows by what it says, all of them together; page, stream and count agree."""
    await fill(log)

    assert await numbers(reader, **filters) == list(expected)
    assert await numbers(log, **filters) == list(expected)


async def test_an_unrouted_event_is_found_by_its_columns(log: EventLog) -> None:
    """A calendar event's newest event is found before routing has seen it, and once only afterwards."""
    await fill(log)
    await log.append(new_event(calendar_event_uuid=UUIDS[0]))
    await log.append(new_event(calendar_event_id=40))

    assert await numbers(log, calendar_event=UUIDS[0]) == [1, 3, 7]
    assert await numbers(log, calendar_event="40") == [1, 3, 8]
    await route_all(log)
    assert await numbers(log, calendar_event=UUIDS[0]) == [1, 3, 7, 8]


async def test_newest_first_unless_after(log: EventLog) -> None:
    """Events come newest first; behind a given number they come oldest first. A limit cuts at the far end."""
    await fill(log)

    async def seqs(**selection: Any) -> list[int]:
        return [record.seq for record in await log.page(Selection(**selection))]

    assert await seqs(limit=2) == [6, 5]
    assert await seqs(after_seq=2, limit=2) == [3, 4]
    assert await seqs(limit=0) == [6, 5, 4, 3, 2, 1]
    assert await seqs(after_seq=0) == [1, 2, 3, 4, 5, 6]
    assert await log.count(Selection(limit=2)) == 6


async def test_streams_go_past_pages(log: EventLog) -> None:
    """A page has at most 500 events; a stream goes through all of them, each once, in both directions."""
    await asyncio.gather(*(log.append(new_event()) for _ in range(1_203)))

    async def seqs(**selection: Any) -> list[int]:
        return [record.seq async for record in log.stream(Selection(**selection))]

    assert len(await log.page(Selection(limit=0))) == 500
    assert len(await log.page(Selection(limit=900))) == 500
    assert await seqs(limit=0) == list(range(1_203, 0, -1))
    assert await seqs(after_seq=3, limit=0) == list(range(4, 1_204))
    assert await seqs(limit=1_001) == list(range(1_203, 202, -1))
    assert await seqs(limit=500) == list(range(1_203, 703, -1))
    assert await seqs(after_seq=0, limit=1_000) == list(range(1, 1_001))


async def test_a_stream_stands_while_events_arrive(log: EventLog) -> None:
    """Events that arrive during a stream neither shift nor repeat what it gives."""
    await asyncio.gather(*(log.append(new_event()) for _ in range(600)))
    seen = []
    async for record in log.stream(Selection(limit=0)):
        if record.seq % 100 == 0:
            await log.append(new_event())
        seen.append(record.seq)

    assert seen == list(range(600, 0, -1))


async def test_an_event_that_is_not_there(log: EventLog) -> None:
    """An unknown id is answered with nothing."""
    assert await log.get("f47ac10b-58cc-4372-a567-0e02b2c3d479") is None
    assert await log.get("") is None


async def test_ids_are_found_by_their_beginning(log: EventLog) -> None:
    """The beginning of an id, in either case, finds the ids that begin so, up to a limit."""
    ids = [f"0000000{n}-0000-7000-8000-00000000000a" for n in (1, 2)]
    for event_id in ids:
        await log.append(new_event()._replace(event_id=event_id))

    assert await log.find("0000000") == ids
    assert await log.find("0000000", limit=1) == ids[:1]
    assert await log.find("00000002-") == ids[1:]
    assert await log.find(ids[0].upper()) == ids[:1]
    assert await log.find("1") == []
    assert await log.find("%") == []


async def test_a_reader_sees_what_was_acknowledged(log: EventLog, reader: EventReader) -> None:
    """What has been acknowledged is there for whoever asks next."""
    for expected in range(1, 20):
        await log.append(new_event())
        assert await reader.count(Selection()) == expected


async def test_a_reader_needs_no_service(open_log: Opener, address: str) -> None:
    """A log that no service has open can be asked, and a service can open it meanwhile."""
    log = await open_log()
    await log.append(new_event())
    await log.aclose()
    reader = await storage.open_reader(address)
    assert await reader.count(Selection()) == 1

    log = await open_log()
    await log.append(new_event())

    assert await reader.count(Selection()) == 2
    await reader.aclose()
    await reader.aclose()
    assert not (await log.append(new_event())).duplicate


async def test_there_must_be_a_log_to_read(address: str) -> None:
    """Asking does not make a log."""
    for _ in range(2):
        with pytest.raises(LogUnusable, match="no log"):
            await storage.open_reader(address)


async def test_backlog_by_handler(log: EventLog) -> None:
    """Each handler is listed with its runs by state, and the error of its newest failed run."""
    await fill(log)

    [a, b] = await log.backlog()

    assert (a.handler, a.runs, a.last_error) == ("a", {"dead": 3, "pending": 3}, "ValueError: 3")
    assert (b.handler, b.runs, b.last_error) == ("b", {"done": 4, "pending": 2}, None)


async def test_status_of_the_whole(log: EventLog) -> None:
    """The status counts events, what is unrouted, runs by state and what is in quarantine."""
    await fill(log)
    await log.append(new_event())
    await log.quarantine(new_refused())

    status = await log.status()

    assert (status.events, status.last_seq, status.unrouted, status.quarantined) == (7, 7, 1, 1)
    assert status.runs == {"dead": 3, "done": 4, "pending": 5}
    assert status.version >= 1
    assert status.size_bytes > 0


async def test_a_query_reads_the_documented_views(log: EventLog) -> None:
    """A person's own query has its columns by name and its rows."""
    await fill(log)

    columns, rows = await log.sql(
        "SELECT event_type, count(*) AS n FROM events GROUP BY event_type ORDER BY n DESC, 1"
    )

    assert columns == ["event_type", "n"]
    assert rows[0] == ("calendar.created", 3)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events",
        "INSERT INTO runs (run_id) VALUES (1)",
        "UPDATE runs SET state = 'done'",
        "DROP VIEW events",
        "CREATE TABLE mine (x INTEGER)",
        "SELECT 1; SELECT 2",
        "SELECT nothing FROM nowhere",
        "COMMIT",
        "",
        "-- only a comment",
        "\0",
        "\udcff",
    ],
)
async def test_a_query_only_reads(log: EventLog, statement: str) -> None:
    """Whatever is not one statement that reads is refused, and the log goes on."""
    with pytest.raises(QueryError):
        await log.sql(statement)

    await log.append(new_event())
    assert (await log.sql("SELECT count(*) FROM events"))[1] == [(1,)]


async def test_vitals_tell_what_waits_and_since_when(log: EventLog) -> None:
    """Unrouted events with the oldest's age, the oldest due live run of each handler, and the room there is."""
    empty = await log.vitals()
    for hours in (0, 1):
        await log.append(new_event(received_at_ms=START + hours))
    unrouted = await log.vitals()
    await route_all(log, NewRun("hello"), NewRun("mail"), now_ms=START + 7)
    await log.finish(outcome((await claim(log, "mail", most=1, now_ms=START + 7))[0]))
    await log.finish(outcome((await claim(log, "mail", most=1, now_ms=START + 7))[0]))
    routed = await log.vitals()

    assert (empty.unrouted, empty.unrouted_since_ms, empty.due_since_ms) == (0, None, {})
    assert (unrouted.unrouted, unrouted.unrouted_since_ms) == (2, START)
    assert (routed.unrouted, routed.unrouted_since_ms, routed.due_since_ms) == (0, None, {"hello": START + 7})
    assert routed.size_bytes > 0
    assert routed.free_bytes > 0
    assert routed.batch_rows.cumulative[-1] == routed.sync_seconds.cumulative[-1] >= 5


@pytest.mark.parametrize("ordered", [True, False])
async def test_unfinished_runs_are_counted_by_handler(log: EventLog, *, ordered: bool) -> None:
    """Those that are due, wait behind another, run, or are to be retried; not those that have ended."""
    for _ in range(5):
        await log.append(new_event(calendar_event_uuid=UUIDS[0]))
    await route_all(log, NewRun("hello", ordered=ordered), NewRun("mail", ordered=ordered))
    [first] = await claim(log, most=1)
    running = await log.unfinished()
    await log.finish(outcome(first, "retrying", due_at_ms=START + 9))
    retrying = await log.unfinished()
    [again] = await claim(log, most=1, now_ms=START + 9) if ordered else await claim(log, most=1)
    await log.finish(outcome(again))

    assert running == retrying == {"hello": 5, "mail": 5}
    assert await log.unfinished() == {"hello": 4, "mail": 5}
