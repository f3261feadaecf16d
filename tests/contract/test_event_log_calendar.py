"""What is known of calendar events: kept with the routing of the events that told it, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from storage.calendar import NewChange, NewOverdue, NewState, Restated, StoredState
from storage.records import Selection
from storage.work import NewRun
from tests.support.logs import START, UUIDS, new_event, routing

if TYPE_CHECKING:
    from storage.log import EventLog
    from storage.work import Unrouted


def state(event: Unrouted, text: str = '{"title":"A"}', revision: int | None = None) -> NewState:
    """What is known after an event."""
    assert event.number is not None
    return NewState(
        subject=event.number,
        revision=revision,
        last_seq=event.seq,
        calendar_event=text,
        memory="[]",
        status="confirmed",
        start_ms=START,
        end_ms=None,
    )


async def test_events_about_one_thing_have_one_number(log: EventLog) -> None:
    """By uuid, by the vendor's number or by both: before anything is stored, and the same afterwards."""
    for columns in (
        {"calendar_event_uuid": UUIDS[0], "calendar_event_id": 7},
        {"calendar_event_id": 7},
        {"calendar_event_uuid": UUIDS[1]},
        {"calendar_event_id": 7, "source": "other"},
        {"call_id": "c-1"},
        {"calendar_event_uuid": UUIDS[1], "calendar_event_id": 8},
        {"calendar_event_id": 8},
        {},
    ):
        await log.append(new_event(**columns))
    before = [event.number for event in await log.unrouted(10)]
    one, two, three, four, five, six, seven, eight = before
    assert one == two
    assert three == six == seven
    assert len({one, three, four, five}) == 4
    assert eight is None

    first, *rest = await log.unrouted(10)
    assert await log.route([routing(first)], now_ms=START)
    assert [event.number for event in await log.unrouted(10)] == before[1:]
    assert await log.route([routing(event)._replace(number=event.number) for event in rest], now_ms=START)


async def test_a_state_is_told_with_the_next_event(log: EventLog) -> None:
    """What is known after one event comes with the next one about the same, counted by revisions."""
    await log.append(new_event(calendar_event_uuid=UUIDS[0]))
    [event] = await log.unrouted(10)
    assert event.known is None
    assert await log.route([routing(event)], now_ms=START, states=[state(event)])

    await log.append(new_event(calendar_event_uuid=UUIDS[0]))
    await log.append(new_event(calendar_event_uuid=UUIDS[1]))
    [again, other] = await log.unrouted(10)
    assert (again.known, other.known) == (StoredState(1, '{"title":"A"}', "[]"), None)
    assert await log.route([routing(again)], now_ms=START, states=[state(again, "{}", revision=1)])

    [found] = await log.calendar_events(UUIDS[0].upper())
    assert (found.calendar_event, found.revision, found.last_seq) == ("{}", 2, again.seq)
    assert await log.calendar_events(UUIDS[1]) == []


async def test_a_calendar_event_is_found_by_what_is_known_now(log: EventLog) -> None:
    """One that moves to another time, or gets another customer, is found there and no longer where it was."""
    for uuid in (UUIDS[0], UUIDS[1], UUIDS[0]):
        await log.append(new_event(calendar_event_uuid=uuid))
    cancelled, booked, moved = await log.unrouted(10)
    states = [
        state(cancelled)._replace(booked_ms=1, cancelled_ms=START, customer="a@example.com"),
        state(booked)._replace(booked_ms=START + 1, customer="b@example.com"),
    ]
    assert await log.route([routing(cancelled), routing(booked)], now_ms=START, states=states)
    [one] = await log.calendar_events(UUIDS[0])
    assert await log.rebookings(one.subject) == []

    known = state(moved, revision=1)
    changed = known._replace(start_ms=START + 60, cancelled_ms=START, customer="b@example.com")
    assert await log.route([routing(moved)], now_ms=START, states=[changed])
    assert [found.uuid for found in await log.calendar_events_between(START, START)] == [UUIDS[1]]
    assert [found.uuid for found in await log.calendar_events_between(START + 1, START + 60)] == [UUIDS[0]]
    assert [other.uuid for other in await log.rebookings(one.subject)] == [UUIDS[1]]


async def test_nothing_is_recorded_over_a_state_that_has_changed(log: EventLog) -> None:
    """Routings whose state was made from another one than is stored leave nothing behind: no run, no change."""
    for _ in range(2):
        await log.append(new_event(calendar_event_uuid=UUIDS[0]))
    first, second = await log.unrouted(10)
    assert await log.route([routing(first)], now_ms=START, states=[state(first)])

    late = routing(second, NewRun("hello"))._replace(verdict="fresh", changes=(NewChange("moved"),))
    for outdated in (state(second), state(second, revision=7)):
        assert not await log.route([late], now_ms=START, states=[outdated])

    assert [event.seq for event in await log.unrouted(10)] == [second.seq]
    assert [record.runs for record in await log.page(Selection())] == [{}, {}]
    assert await log.page(Selection(change="moved")) == []
    assert await log.route([late], now_ms=START, states=[state(second, revision=1)])
    assert [record.seq for record in await log.page(Selection(change="moved"))] == [second.seq]


async def test_verdicts_and_changes_are_listed_in_their_order(log: EventLog) -> None:
    """An event is found by its verdict and by each of its changes, and shows both."""
    await log.append(new_event(calendar_event_id=5))
    await log.append(new_event(calendar_event_id=5))
    first, second = await log.unrouted(10)
    changes = (
        NewChange("rescheduled", '{"start_time":"a"}', '{"start_time":"b"}'),
        NewChange("cancelled", '{"status":"confirmed"}', '{"status":"cancelled"}', "ill"),
    )
    await log.route(
        [
            routing(first)._replace(verdict="fresh"),
            routing(second)._replace(verdict="stale", changes=changes),
        ],
        now_ms=START,
        states=[state(second)],
    )

    for selection in (
        Selection(verdict="stale"),
        Selection(change="cancelled"),
        Selection(change="rescheduled"),
    ):
        [record] = await log.page(selection)
        assert (record.seq, record.verdict, record.changes) == (
            second.seq,
            "stale",
            ["rescheduled", "cancelled"],
        )
    assert await log.count(Selection(change="cancelled", verdict="fresh")) == 0
    detail = await log.get(second.event_id)
    assert detail is not None
    assert [(one.name, one.before, one.reason) for one in detail.changes] == [
        ("rescheduled", {"start_time": "a"}, None),
        ("cancelled", {"status": "confirmed"}, "ill"),
    ]


async def test_a_history_has_the_events_of_one_calendar_event(log: EventLog) -> None:
    """In log order, with verdicts and changes, up to a number if one is given; others' events are not in it."""
    for number in (5, 6, 5):
        await log.append(new_event(calendar_event_id=number))
    events = await log.unrouted(10)
    await log.route(
        [routing(event)._replace(verdict="fresh", changes=(NewChange("created"),)) for event in events],
        now_ms=START,
        states=[state(events[2])],
    )

    [found] = await log.calendar_events("5")
    history = await log.history(found.subject)
    assert [(one.seq, one.verdict, [change.name for change in one.changes]) for one in history] == [
        (1, "fresh", ["created"]),
        (3, "fresh", ["created"]),
    ]
    assert [one.body for one in history] == [events[0].body, events[2].body]
    assert [one.seq for one in await log.history(found.subject, upto_seq=2)] == [1]


async def known(log: EventLog, *numbers: int, **columns: Any) -> list[Unrouted]:
    """Events about calendar events of these numbers, routed, each with a state."""
    for number in numbers:
        await log.append(new_event(calendar_event_id=number, event_type="calendar.created", **columns))
    events = await log.unrouted(10)
    states = {event.number: state(event) for event in events}
    await log.route(
        [routing(event)._replace(verdict="fresh") for event in events],
        now_ms=START,
        states=[*states.values()],
    )
    return events


async def test_a_state_is_made_anew_with_how_its_events_are_judged(log: EventLog) -> None:
    """All of it is replaced, or nothing if the state has changed since it was read."""
    [first, second] = await known(log, 5, 5)
    judged = ((first.seq, "stale", (NewChange("moved"), NewChange("retitled"))), (second.seq, "same", ()))

    assert not await log.restate(Restated(state(second, '{"title":"B"}', revision=7), judged))
    assert [record.verdict for record in await log.page(Selection())] == ["fresh", "fresh"]
    assert await log.restate(Restated(state(second, '{"title":"B"}', revision=1), judged))

    assert [(one.verdict, one.changes) for one in await log.page(Selection(after_seq=0))] == [
        ("stale", ["moved", "retitled"]),
        ("same", []),
    ]
    [found] = await log.calendar_events("5")
    assert (found.calendar_event, found.revision) == ('{"title":"B"}', 2)


async def test_every_calendar_event_is_paged_through(log: EventLog) -> None:
    """By our numbers, with what is known of each, also those of which nothing is."""
    await known(log, 5, 6)
    await log.append(new_event(calendar_event_id=7))
    await log.append(new_event(call_id="c-1"))
    await log.route([routing(event) for event in await log.unrouted(10)], now_ms=START)

    first = await log.calendar_event_page(0, 2)
    rest = await log.calendar_event_page(first[-1].subject, 2)
    assert [(one.number, one.known is not None) for one in [*first, *rest]] == [
        (5, True),
        (6, True),
        (7, False),
    ]
    assert await log.calendar_event_page(rest[-1].subject, 2) == []


async def test_calendar_events_of_a_time(log: EventLog) -> None:
    """Those that begin in it and have not ended by their status."""
    events = await known(log, 5, 6)
    over = state(events[1], revision=1)._replace(status="completed")
    await log.restate(Restated(over, ()))

    assert [one.number for one in await log.calendar_events_between(START, START)] == [5]
    assert await log.calendar_events_between(START + 1, START + 9) == []


async def test_the_last_event_of_a_type(log: EventLog) -> None:
    """About one calendar event, whatever came about others."""
    [first, second, _] = await known(log, 5, 5, 6)
    assert first.number is not None

    found = await log.latest(first.number, "calendar.created")
    assert found is not None
    assert (found.seq, found.verdict) == (second.seq, "fresh")
    assert await log.latest(first.number, "calendar.updated") is None
    history = log.history_now(first.number, after_seq=first.seq, upto_seq=9)
    assert [one.seq for one in history] == [second.seq]


async def test_what_is_overdue_is_recorded_once(log: EventLog) -> None:
    """With its event, together; the same expectation again leaves nothing."""
    [event] = await known(log, 5)
    assert event.number is not None
    told = NewOverdue(event.number, "calendar.completed", START, new_event(origin="watchdog"))

    assert await log.tell_overdue(told)
    assert not await log.tell_overdue(replace(told, event=new_event(origin="watchdog")))
    assert await log.tell_overdue(replace(told, due_ms=START + 1, event=None))
    assert [record.origin for record in await log.page(Selection())] == ["watchdog", "webhook"]
