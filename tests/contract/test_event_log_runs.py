"""The life of runs: routed, claimed in order, finished, taken back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from storage.records import Selection
from storage.states import ALL, FINISHED, FOLLOWS
from storage.work import Finished, NewRun, Routing, Subject
from tests.support.logs import START, UUIDS, claim, new_event, outcome, route_all, routing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from storage.log import EventLog
    from storage.records import RunRecord
    from storage.states import RunState
    from storage.work import Unrouted

    Opener = Callable[[], Awaitable[EventLog]]


async def events_about(log: EventLog, *uuids: str | None) -> list[Unrouted]:
    """Record an event about each of these, in this order."""
    for uuid in uuids:
        await log.append(new_event(calendar_event_uuid=uuid))
    return await log.unrouted(500)


async def runs(log: EventLog, event_id: str) -> list[RunRecord]:
    detail = await log.get(event_id)
    assert detail is not None
    return detail.runs


async def states(log: EventLog, handler: str = "hello") -> list[RunState]:
    """The state of this handler's run of each event, in log order."""
    return [record.runs[handler] for record in await log.page(Selection(after_seq=0))]


class TestRouting:
    """Which events wait for it, and what it leaves behind."""

    async def test_events_wait_in_log_order(self, log: EventLog) -> None:
        """Unrouted events come oldest first, with what choosing handlers needs, until they are routed."""
        first = new_event("a", event_type="calendar.created", calendar_event_id=7, flags="odd bad_shape")
        await log.append(first)
        await log.append(new_event("b", call_id="c-1", origin="reconcile", source="other"))

        [one, two] = await log.unrouted(10)

        assert (one.seq, one.event_id, one.source, one.body) == (1, first.event_id, "klen", b"a|")
        assert (one.event_type, one.calendar_event_id) == ("calendar.created", 7)
        assert (one.received_at_ms, one.origin, one.flags) == (START, "webhook", ("odd", "bad_shape"))
        assert (two.seq, two.source, two.call_id, two.origin, two.flags) == (
            2,
            "other",
            "c-1",
            "reconcile",
            (),
        )
        assert await log.unrouted(1) == [one]

        await log.route([routing(one)], now_ms=START)
        assert await log.unrouted(10) == [two]

    async def test_a_routed_event_without_handlers_is_routed(self, log: EventLog) -> None:
        """An event nobody wants does not wait for ever."""
        await log.append(new_event())
        await route_all(log, NewRun("hello"))
        [event] = await events_about(log, None)
        await log.route([routing(event)], now_ms=START)

        assert await log.unrouted(10) == []
        assert [record.runs for record in await log.page(Selection())] == [{}, {"hello": "pending"}]

    async def test_routing_again_changes_nothing(self, log: EventLog) -> None:
        """A routing that is there already is passed over, with its runs, alone or among new ones."""
        [first] = await events_about(log, None)
        await log.route([routing(first, NewRun("hello"))], now_ms=START)
        [second] = await events_about(log, None)

        await log.route([routing(first, NewRun("other")), routing(second, NewRun("hello"))], now_ms=START)

        assert [record.runs for record in await log.page(Selection())] == [{"hello": "pending"}] * 2

    async def test_concurrent_routings_of_one_event_make_one(self, log: EventLog) -> None:
        """The same routing given twice at the same instant makes its runs once."""
        [event] = await events_about(log, None)

        await asyncio.gather(*(log.route([routing(event, NewRun("hello"))], now_ms=START) for _ in range(5)))

        assert len(await runs(log, event.event_id)) == 1

    async def test_an_event_has_a_run_per_handler(self, log: EventLog) -> None:
        """Each handler gets a run of its own, due at once."""
        [event] = await events_about(log, UUIDS[0])
        await log.route([routing(event, NewRun("a"), NewRun("b", ordered=False))], now_ms=START)

        claimed = await log.claim("owner", {"a": 5, "b": 5}, now_ms=START)

        assert sorted(run.handler for run in claimed) == ["a", "b"]
        assert {run.event_id for run in claimed} == {event.event_id}


class TestSubject:
    """One calendar event may go by its uuid, the vendor's number, or both."""

    async def in_line(self, log: EventLog, *names: tuple[str | None, int | None]) -> int:
        """Route an event about each of these names; how many of their runs can be had at once."""
        for uuid, number in names:
            await log.append(new_event(calendar_event_uuid=uuid, calendar_event_id=number))
            await route_all(log)
        return len(await claim(log))

    @pytest.mark.parametrize(
        "names",
        [
            [(UUIDS[0], None), (UUIDS[0], None)],
            [(None, 7), (None, 7)],
            [(UUIDS[0], 7), (UUIDS[0], None), (None, 7)],
            [(UUIDS[0], None), (UUIDS[0], 7), (None, 7)],
            [(None, 7), (UUIDS[0], 7), (UUIDS[0], None)],
        ],
    )
    async def test_names_of_one_calendar_event(
        self, log: EventLog, names: list[tuple[str | None, int | None]]
    ) -> None:
        """Events that share a name, or are joined by one that has both, are about one calendar event."""
        assert await self.in_line(log, *names) == 1

        about = "7" if names[0][0] is None else UUIDS[0]
        assert await log.count(Selection(calendar_event=about)) == len(names)

    @pytest.mark.parametrize(
        "names",
        [
            [(UUIDS[0], 7), (UUIDS[1], 8)],
            [(UUIDS[0], 7), (UUIDS[1], 7)],
            [(UUIDS[0], 7), (UUIDS[1], None)],
        ],
    )
    async def test_names_of_two_calendar_events(
        self, log: EventLog, names: list[tuple[str | None, int | None]]
    ) -> None:
        """Another uuid is another calendar event, even under a number that is taken."""
        assert await self.in_line(log, *names) == 2
        assert await log.count(Selection(calendar_event=UUIDS[1])) == 1

    async def test_two_halves_known_apart_stay_two(self, log: EventLog) -> None:
        """A uuid and a number that were two before one event joins them stay two; that event goes by its uuid.

        From then on the number means both.
        """
        assert await self.in_line(log, (UUIDS[0], None), (None, 7), (UUIDS[0], 7)) == 2
        assert await log.count(Selection(calendar_event=UUIDS[0])) == 2
        assert await log.count(Selection(calendar_event="7")) == 3

    async def test_sources_and_kinds_do_not_share(self, log: EventLog) -> None:
        """The same name at another source, or of a call, is something else."""
        subjects = [
            ("klen", Subject("calendar_event", UUIDS[0], None)),
            ("other", Subject("calendar_event", UUIDS[0], None)),
            ("klen", Subject("call", UUIDS[0], None)),
        ]
        events = await events_about(log, None, None, None)
        await log.route(
            [
                Routing(event.seq, source, subject, (NewRun("hello"),))
                for event, (source, subject) in zip(events, subjects, strict=True)
            ],
            now_ms=START,
        )

        assert len(await claim(log)) == 3


class TestClaim:
    """Whose turn it is."""

    async def test_a_claimed_run_is_whole(self, log: EventLog) -> None:
        """A claim brings the event with it, counts the attempt and shows the run as running."""
        event = new_event("a", "d-1", event_type="calendar.created", source="other", origin="watchdog")
        await log.append(event)
        await route_all(log)

        [run] = await claim(log, now_ms=START + 9)

        assert (run.handler, run.attempt, run.tries, run.seq) == ("hello", 1, 1, 1)
        assert (run.event_id, run.source, run.origin) == (event.event_id, "other", "watchdog")
        assert (run.event_type, run.received_at_ms, run.delivery_id) == ("calendar.created", START, "d-1")
        assert run.body == b"a|"
        assert await states(log) == ["running"]

    async def test_a_run_is_claimed_once(self, log: EventLog) -> None:
        """However many ask at the same time, each run goes to one of them."""
        await events_about(log, *[None] * 40)
        await route_all(log)

        claims = await asyncio.gather(*(log.claim(f"o{n}", {"hello": 5}, now_ms=START) for n in range(20)))

        claimed = [run.run_id for runs in claims for run in runs]
        assert len(claimed) == len(set(claimed)) == 40

    async def test_capacity_is_kept_per_handler(self, log: EventLog) -> None:
        """A claim takes at most what each handler has room for, and nothing of handlers not named."""
        await events_about(log, *[None] * 5)
        await route_all(log, NewRun("a"), NewRun("b"), NewRun("c"))

        claimed = await log.claim("owner", {"a": 3, "b": 9, "d": 2, "c": 0}, now_ms=START)

        assert sorted(run.handler for run in claimed) == ["a"] * 3 + ["b"] * 5

    async def test_more_than_one_batch_can_be_claimed(self, log: EventLog) -> None:
        """Hundreds of runs can be claimed at once."""
        await events_about(log, *[None] * 300)
        await route_all(log)

        assert [run.seq for run in await claim(log, most=300)] == list(range(1, 301))
        assert set(await states(log)) == {"running"}

    async def test_one_line_keeps_the_order_of_the_log(self, log: EventLog) -> None:
        """Runs of one handler about one calendar event come one after the other, in log order."""
        events = await events_about(log, *[UUIDS[0]] * 4)
        await route_all(log)

        seen = []
        while claimed := await claim(log, now_ms=START + 100):
            [run] = claimed
            seen.append(run.event_id)
            assert await claim(log, now_ms=START + 100) == []
            assert await log.finish(outcome(run))

        assert seen == [event.event_id for event in events]

    async def test_the_line_holds_over_separate_routings(self, log: EventLog) -> None:
        """An event that is routed later waits for the earlier one of its calendar event all the same."""
        await events_about(log, UUIDS[0])
        await route_all(log)
        [first] = await claim(log)
        await events_about(log, UUIDS[0])
        await route_all(log)

        assert await claim(log) == []
        await log.finish(outcome(first))
        assert [run.seq for run in await claim(log, now_ms=START + 5)] == [2]

    async def test_lines_are_side_by_side(self, log: EventLog) -> None:
        """Different calendar events, other handlers and events about nothing do not wait for each other."""
        await events_about(log, UUIDS[0], UUIDS[1], None, None, UUIDS[0])
        await route_all(log, NewRun("hello"), NewRun("other"))

        assert [run.seq for run in await claim(log)] == [1, 2, 3, 4]
        assert [run.seq for run in await claim(log, "other")] == [1, 2, 3, 4]

    async def test_unordered_runs_do_not_wait(self, log: EventLog) -> None:
        """Runs of a handler that keeps no order can all be had at once."""
        await events_about(log, *[UUIDS[0]] * 3)
        await route_all(log, NewRun("hello", ordered=False))

        assert [run.seq for run in await claim(log)] == [1, 2, 3]

    async def test_a_retry_is_due_in_its_time(self, log: EventLog) -> None:
        """A run that waits for its retry is claimed at that time and not before, as its next attempt."""
        await events_about(log, None)
        await route_all(log)
        [run] = await claim(log)
        await log.finish(outcome(run, "retrying", due_at_ms=START + 1_000))

        assert await states(log) == ["retrying"]
        assert await claim(log, now_ms=START + 999) == []
        [again] = await claim(log, now_ms=START + 1_000)
        assert (again.run_id, again.attempt, again.tries) == (run.run_id, 2, 2)

    async def test_a_retry_holds_back_its_own_line_only(self, log: EventLog) -> None:
        """While a run waits for its retry, later runs of its line wait too, and all others go on."""
        await events_about(log, UUIDS[0])
        await route_all(log, NewRun("hello"), NewRun("other"))
        [run] = await claim(log)
        await log.finish(outcome(run, "retrying", due_at_ms=START + 1_000))
        await events_about(log, UUIDS[0], UUIDS[1])
        await route_all(log, NewRun("hello"), NewRun("other"))

        assert [run.seq for run in await claim(log, now_ms=START + 999)] == [3]
        assert [run.seq for run in await claim(log, "other", now_ms=START + 999)] == [1, 3]
        assert [run.seq for run in await claim(log, now_ms=START + 1_000)] == [1]


class TestFinish:
    """How attempts end, and what cannot happen to a run."""

    @pytest.mark.parametrize("state", [state for state in FINISHED if state in FOLLOWS["running"]])
    async def test_an_end_lets_the_next_go(self, log: EventLog, state: RunState) -> None:
        """When a run has come to its end, whichever, the next in line can be claimed."""
        await events_about(log, UUIDS[0], UUIDS[0])
        await route_all(log)
        [run] = await claim(log)

        assert await log.finish(outcome(run, state, error="because"))

        assert await states(log) == [state, "pending"]
        assert [run.seq for run in await claim(log, now_ms=START + 5)] == [2]

    async def test_attempts_are_recorded(self, log: EventLog) -> None:
        """Each attempt is kept with its times, how it ended and why."""
        [event] = await events_about(log, None)
        await route_all(log)
        [run] = await claim(log)
        await log.finish(outcome(run, "retrying", due_at_ms=START + 9, error="ValueError: no"))
        [run] = await claim(log, now_ms=START + 9)
        await log.finish(outcome(run, "done", started_at_ms=START + 9, finished_at_ms=START + 11))

        [record] = await runs(log, event.event_id)

        assert (record.handler, record.state, record.attempt, record.due_at) == ("hello", "done", 2, None)
        first, second = record.attempts
        assert (first.attempt, first.outcome, first.error) == (1, "retrying", "ValueError: no")
        assert (first.started_at, first.finished_at) == (
            "2025-05-01T10:15:30.000Z",
            "2025-05-01T10:15:30.005Z",
        )
        assert (second.attempt, second.outcome, second.error) == (2, "done", None)
        assert (second.started_at, second.finished_at) == (
            "2025-05-01T10:15:30.009Z",
            "2025-05-01T10:15:30.011Z",
        )

    async def test_an_attempt_may_spend_no_try(self, log: EventLog) -> None:
        """A postponed attempt is counted as an attempt, and not as a try."""
        await events_about(log, None)
        await route_all(log)
        [run] = await claim(log)
        await log.finish(outcome(run, "retrying", due_at_ms=START, spends_try=False))
        [run] = await claim(log)
        assert (run.attempt, run.tries) == (2, 1)
        await log.finish(outcome(run, "retrying", due_at_ms=START))
        [run] = await claim(log)
        assert (run.attempt, run.tries) == (3, 2)

    async def test_an_attempt_ends_once(self, log: EventLog) -> None:
        """What is said of an attempt that has ended, in whatever words, changes nothing."""
        [event] = await events_about(log, None)
        await route_all(log)
        [run] = await claim(log)

        results = await asyncio.gather(
            log.finish(outcome(run, "done")),
            log.finish(outcome(run, "dead", error="late")),
            log.finish(outcome(run, "retrying", due_at_ms=START)),
        )

        assert list(results) == [Finished.RECORDED, Finished.LATE, Finished.LATE]
        assert await states(log) == ["done"]
        assert await claim(log) == []
        [record] = await runs(log, event.event_id)
        assert len(record.attempts) == 1

    async def test_a_late_finish_changes_nothing(self, log: EventLog) -> None:
        """After a run was taken back and claimed again, the end of the earlier attempt is not its end."""
        await events_about(log, UUIDS[0], UUIDS[0])
        await route_all(log)
        [old] = await claim(log)
        await log.recover("next owner", now_ms=START + 10)

        assert not await log.finish(outcome(old))
        assert await states(log) == ["retrying", "pending"]
        [new] = await log.claim("next owner", {"hello": 5}, now_ms=START + 10)
        assert (new.run_id, new.attempt) == (old.run_id, 2)
        assert not await log.finish(outcome(old))
        assert await log.finish(outcome(new))
        assert await states(log) == ["done", "pending"]

    @pytest.mark.parametrize("state", [state for state in ALL if state not in FOLLOWS["running"]])
    async def test_a_running_run_cannot_go_anywhere(self, log: EventLog, state: RunState) -> None:
        """A state that cannot follow `running` is refused, and the run goes on running."""
        await events_about(log, None)
        await route_all(log)
        [run] = await claim(log)

        with pytest.raises(ValueError, match=state):
            await log.finish(outcome(run, state, due_at_ms=START))
        assert await states(log) == ["running"]
        assert await log.finish(outcome(run))

    async def test_only_a_retry_has_a_time(self, log: EventLog) -> None:
        """A retry without a time would never come, and an end with one would come again: both are refused."""
        await events_about(log, None)
        await route_all(log)
        [run] = await claim(log)

        for wrong in (outcome(run, "retrying"), outcome(run, "done", due_at_ms=START)):
            with pytest.raises(ValueError, match="time"):
                await log.finish(wrong)
        assert await states(log) == ["running"]

    async def test_a_refused_one_does_not_stop_its_neighbours(self, log: EventLog) -> None:
        """Of ends that are told at the same instant, a wrong one fails alone."""
        await events_about(log, None, None, None)
        await route_all(log)
        claimed = await claim(log)
        told = [outcome(run) for run in claimed]
        told[1] = told[1]._replace(state="pending")

        results = await asyncio.gather(*map(log.finish, told), return_exceptions=True)

        assert [result if isinstance(result, Finished) else type(result) for result in results] == [
            Finished.RECORDED,
            ValueError,
            Finished.RECORDED,
        ]
        assert await states(log) == ["done", "running", "done"]

    async def test_only_running_runs_can_end(self, log: EventLog) -> None:
        """A run that waits, or that is not there, cannot be finished."""
        await events_about(log, None)
        await route_all(log)
        [run] = await claim(log)
        await log.release("owner", now_ms=START)

        assert not await log.finish(outcome(run))
        assert not await log.finish(outcome(run)._replace(run_id=run.run_id + 1))
        assert await states(log) == ["retrying"]


class TestTakingBack:
    """What becomes of runs whose process stops, or dies."""

    async def test_a_stop_spends_no_try(self, log: EventLog) -> None:
        """Released runs are due at once, as the next attempt of the same try, and noted as stopped."""
        [event] = await events_about(log, None)
        await route_all(log)
        await claim(log)

        assert await log.release("owner", now_ms=START + 1) == 1

        [run] = await claim(log, now_ms=START + 1)
        assert (run.attempt, run.tries) == (2, 1)
        [record] = await runs(log, event.event_id)
        assert [(attempt.outcome, attempt.started_at) for attempt in record.attempts] == [("stopped", None)]

    async def test_a_death_spends_a_try(self, log: EventLog) -> None:
        """Recovered runs are due at once, as the next try: the event may be what killed the process."""
        [event] = await events_about(log, None)
        await route_all(log)
        await claim(log)

        assert await log.recover("next owner", now_ms=START + 1) == 1

        [run] = await claim(log, now_ms=START + 1)
        assert (run.attempt, run.tries) == (2, 2)
        [record] = await runs(log, event.event_id)
        assert [attempt.outcome for attempt in record.attempts] == ["lost"]

    async def test_each_takes_back_whose_it_means(self, log: EventLog) -> None:
        """A release concerns the owner's own runs, a recovery everybody else's, and neither what does not run."""
        await events_about(log, *[None] * 6)
        await route_all(log)
        [done] = await log.claim("one", {"hello": 1}, now_ms=START)
        await log.finish(outcome(done))
        await log.claim("one", {"hello": 2}, now_ms=START)
        await log.claim("two", {"hello": 2}, now_ms=START)

        assert await log.release("two", now_ms=START) == 2
        assert await log.release("two", now_ms=START) == 0
        assert await log.recover("one", now_ms=START) == 0
        assert await log.recover("two", now_ms=START) == 2
        assert await states(log) == ["done", *["retrying"] * 4, "pending"]

    async def test_the_line_stays_in_order(self, log: EventLog) -> None:
        """A run that was taken back still comes before later ones of its line."""
        await events_about(log, UUIDS[0], UUIDS[0])
        await route_all(log)
        await claim(log)
        await log.recover("next owner", now_ms=START)

        assert [run.seq for run in await claim(log)] == [1]

    async def test_a_crash_is_picked_up_from_rows(self, open_log: Opener) -> None:
        """After closing and opening, what was unrouted is unrouted, and what ran can be recovered."""
        log = await open_log()
        await events_about(log, UUIDS[0], UUIDS[0])
        await route_all(log)
        await claim(log)
        await events_about(log, None)
        log = await open_log()

        assert [event.seq for event in await log.unrouted(10)] == [3]
        assert await log.recover("next owner", now_ms=START) == 1
        assert [(run.seq, run.attempt) for run in await claim(log)] == [(1, 2)]
