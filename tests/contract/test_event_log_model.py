"""A log against a model of it in memory: whatever is done in whatever order, the two agree.

The model says in a few lines of Python what the log promises: which deliveries are one event, whose turn it
is, and how a run goes from state to state. Hypothesis looks for a sequence of steps, closings and openings
among them, after which the log says something else.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import storage
from storage.records import Appended, Selection
from storage.states import UNFINISHED, WAITING
from storage.work import Claimed, NewRun
from tests.support.logs import BACKENDS, START, UUIDS, new_event, outcome, routing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from storage.log import EventLog
    from storage.states import RunState

T = TypeVar("T")

ORDERED, UNORDERED = "in order", "in any order"
CONTENTS = st.sampled_from(["a", "b", "c", "d"])
SUBJECTS = {"a": UUIDS[0], "b": UUIDS[0], "c": UUIDS[1], "d": None}
VARIANTS = st.sampled_from(["", "1", "2"])
DELIVERY_IDS = st.sampled_from([None, "d-1", "d-2", "d-3"])


@dataclass
class Run:
    """A run as the model knows it."""

    seq: int
    handler: str
    subject: str | None
    due_ms: int
    state: RunState = "pending"
    attempt: int = 0
    tries: int = 0
    owner: str | None = None


@dataclass
class Model:
    """What a log with this history must say."""

    events: list[str] = field(default_factory=list)
    subjects: list[str | None] = field(default_factory=list)
    deliveries: Counter[str] = field(default_factory=Counter)
    bodies: dict[bytes, str] = field(default_factory=dict)
    contents: dict[str, dict[str, str]] = field(default_factory=dict)
    """By delivery id: the contents that came with it, each with its event."""
    routed: int = 0
    runs: list[Run] = field(default_factory=list)

    def append(self, event_id: str, body: bytes, content: str, delivery_id: str | None) -> Appended:
        """What recording this delivery answers."""
        under_this_id = {} if delivery_id is None else self.contents.setdefault(delivery_id, {})
        known = self.bodies.get(body) or under_this_id.get(content)
        id_reused = known is None and bool(under_this_id)
        self.deliveries[known or event_id] += 1
        if known is None:
            under_this_id[content] = event_id
            self.events.append(event_id)
            self.subjects.append(SUBJECTS[content])
        self.bodies.setdefault(body, known or event_id)
        return Appended(known or event_id, duplicate=known is not None, id_reused=id_reused)

    def claimable(self, handler: str, now_ms: int) -> list[Run]:
        """The runs of a handler whose turn it is."""
        return [
            run
            for run in self.runs
            if run.handler == handler
            and run.state in WAITING
            and run.due_ms <= now_ms
            and not (handler == ORDERED and self._someone_before(run))
        ]

    def _someone_before(self, run: Run) -> bool:
        return run.subject is not None and any(
            other.state in UNFINISHED
            for other in self.runs
            if (other.handler, other.subject) == (run.handler, run.subject) and other.seq < run.seq
        )

    def take_back(self, *, now_ms: int, owner: str, own: bool) -> int:
        """Let running runs wait again."""
        taken = [run for run in self.runs if run.state == "running" and (run.owner == owner) == own]
        for run in taken:
            run.state, run.due_ms, run.tries = "retrying", now_ms, run.tries - own
        return len(taken)


class LogMachine(RuleBasedStateMachine):
    """The steps that a service takes, on a real log and on the model."""

    address: Callable[[Path], str]

    @initialize()
    def make(self) -> None:
        """A new log."""
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        self.model = Model()
        self.now_ms = START
        self.lives = 0
        self.claimed: list[tuple[Run, Claimed]] = []
        self.open()

    def open(self) -> None:
        """Open the log as a new process does."""
        self.lives += 1
        self.owner = f"owner {self.lives}"
        self.log: EventLog = self.wait(storage.open_log(type(self).address(Path(self.folder.name))))

    def wait(self, verb: Awaitable[T]) -> T:
        return self.loop.run_until_complete(verb)

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.wait(self.log.aclose())
        self.loop.close()
        self.folder.cleanup()

    @rule(content=CONTENTS, variant=VARIANTS, delivery_id=DELIVERY_IDS)
    def append(self, content: str, variant: str, delivery_id: str | None) -> None:
        event = new_event(content, delivery_id, variant=variant, calendar_event_uuid=SUBJECTS[content])

        answer = self.wait(self.log.append(event))

        assert answer == self.model.append(event.event_id, event.body, content, delivery_id)

    @rule(most=st.integers(1, 3), handlers=st.sets(st.sampled_from([ORDERED, UNORDERED])))
    def route(self, most: int, handlers: set[str]) -> None:
        events = self.wait(self.log.unrouted(most))

        waiting = self.model.events[self.model.routed :][:most]
        assert [event.event_id for event in events] == waiting
        new = [NewRun(handler, ordered=handler == ORDERED) for handler in sorted(handlers)]
        self.wait(self.log.route([routing(event, *new) for event in events], now_ms=self.now_ms))
        self.model.runs += [
            Run(event.seq, run.handler, self.model.subjects[event.seq - 1], self.now_ms)
            for event in events
            for run in new
        ]
        self.model.routed += len(events)

    @rule(most=st.integers(0, 3), seconds=st.integers(0, 2))
    def claim(self, most: int, seconds: int) -> None:
        self.now_ms += seconds * 1_000
        free = {handler: self.model.claimable(handler, self.now_ms) for handler in (ORDERED, UNORDERED)}

        claimed = self.wait(self.log.claim(self.owner, dict.fromkeys(free, most), now_ms=self.now_ms))

        for handler, runs in free.items():
            assert sum(run.handler == handler for run in claimed) == min(most, len(runs))
        for one in claimed:
            [run] = [run for run in free[one.handler] if run.seq == one.seq]
            run.state, run.owner = "running", self.owner
            run.attempt += 1
            run.tries += 1
            assert (one.attempt, one.tries) == (run.attempt, run.tries)
            assert one.event_id == self.model.events[run.seq - 1]
            self.claimed.append((run, one))

    @precondition(lambda self: self.claimed)
    @rule(
        data=st.data(),
        state=st.sampled_from(["done", "retrying", "discarded", "dead"]),
        seconds=st.integers(0, 3),
        spends_try=st.booleans(),
    )
    def finish(self, data: st.DataObject, state: RunState, seconds: int, *, spends_try: bool) -> None:
        """Say how an attempt ended; it may be one that ended long ago."""
        run, one = data.draw(st.sampled_from(self.claimed))
        due_ms = self.now_ms + seconds * 1_000 if state == "retrying" else None
        expected = run.state == "running" and run.attempt == one.attempt

        answer = self.wait(
            self.log.finish(
                outcome(one, state, due_at_ms=due_ms, spends_try=spends_try, finished_at_ms=self.now_ms)
            )
        )

        assert bool(answer) is expected
        if expected:
            run.state, run.due_ms = state, due_ms or run.due_ms
            run.tries -= not spends_try

    @rule()
    def release(self) -> None:
        expected = self.model.take_back(now_ms=self.now_ms, owner=self.owner, own=True)
        assert self.wait(self.log.release(self.owner, now_ms=self.now_ms)) == expected

    @rule()
    def reopen(self) -> None:
        """The process ends with its runs running, and the next one takes them back."""
        self.wait(self.log.aclose())
        self.open()
        expected = self.model.take_back(now_ms=self.now_ms, owner=self.owner, own=False)
        assert self.wait(self.log.recover(self.owner, now_ms=self.now_ms)) == expected

    @invariant()
    def the_log_says_what_the_model_says(self) -> None:
        """Every event is there once, in order, with its deliveries and its runs as they stand."""
        records = self.wait(self.log.page(Selection(after_seq=0, limit=0)))
        assert [record.event_id for record in records] == self.model.events
        runs: dict[int, dict[str, RunState]] = {record.seq: {} for record in records}
        for run in self.model.runs:
            runs[run.seq][run.handler] = run.state
        for record in records:
            assert record.runs == runs[record.seq]
            assert record.deliveries == self.model.deliveries[record.event_id]


@pytest.mark.parametrize("backend", sorted(BACKENDS))
def test_the_log_agrees_with_its_model(backend: str) -> None:
    """No sequence of verbs, closings and openings makes the log say anything but what its model says."""
    machine = type("Machine", (LogMachine,), {"address": staticmethod(BACKENDS[backend])})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
