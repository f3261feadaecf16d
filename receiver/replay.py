"""Replay: old events for handlers once more, as runs of their own that the dispatcher executes like any.

A replay is a row with a cursor. Filling it decides in log order who gets each event, and makes those runs in
the transaction that moves the cursor, so that one that was interrupted goes on at the next start and gives
no event to a handler twice. The rule easiest to break: news come first, so batches are small and other work
gets its turn in between.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from receiver.choosing import runs_of, takers_of
from receiver.history import state_at
from receiver.sweep import Sweep
from storage.errors import StorageError
from storage.records import Selection
from storage.work import NewReplay, ReplayBatch, ReplayItem, Routing, Unrouted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from receiver.clock import Clock
    from receiver.counts import Counts
    from receiver.plugins import Handler
    from storage.log import EventLog
    from storage.reader import EventReader
    from storage.records import EventDetail, EventRecord, ReplayRecord

BATCH: Final = 64
"""Events per transaction."""


@dataclass(slots=True)
class _Filling:
    """A replay that has not got all its runs yet."""

    replay_id: int
    cursor: int
    targeted: bool


class Replayer:
    """Fills replays, the oldest first."""

    def __init__(
        self,
        log: EventLog,
        handlers: Sequence[Handler],
        clock: Clock,
        *,
        on_runs: Callable[[set[str]], None],
        counts: Counts,
    ) -> None:
        """`on_runs` is called with the names of the handlers that have new runs."""
        self._log = log
        self._counts = counts
        self._clock = clock
        self._on_runs = on_runs
        self._waiting: list[_Filling] = []
        self._stale = True
        """Whether what waits is to be read from the log again."""
        self._sweep = Sweep("replay", self._batch)
        self.replace(handlers)

    def replace(self, handlers: Sequence[Handler]) -> None:
        """Give events to these handlers from the next batch on."""
        self._handlers = {handler.name: handler for handler in handlers if handler.enabled}

    async def start(self, selection: Selection, target: str | None) -> int:
        """Record a replay of what is selected now; its number. With `target`, that handler alone gets it.

        Raises:
            LogUnavailable, QueryError: nothing was recorded.
        """
        total = await self._log.count(selection)
        replay_id = await self._log.start_replay(
            NewReplay(selection=selection, target=target, total=total, created_at_ms=self._clock.now_ms())
        )
        self._stale = True
        self._sweep.wake()
        return replay_id

    async def run(self) -> None:
        """Fill until cancelled, or until the log is broken."""
        await self._sweep.run()

    async def _batch(self) -> bool:
        """Make the runs of the next events; whether there may be more."""
        try:
            if self._stale:
                self._stale = False  # before the question, or a replay that starts meanwhile is forgotten
                records = await self._log.replays()
                self._waiting = [_filling(record) for record in reversed(records) if not record.filled_at]
            if not self._waiting:
                return False
            await self._extend(self._waiting[0])
        except StorageError:
            self._stale = True  # only the log knows what was written
            raise
        await asyncio.sleep(0)
        return True

    async def _extend(self, filling: _Filling) -> None:
        items = await self._log.replay_items(filling.replay_id, BATCH)
        chosen = [
            (item, _takers(self._log, item, self._handlers, targeted=filling.targeted)) for item in items
        ]
        last = items[-1].event.seq if items else filling.cursor
        filled = len(items) < BATCH
        await self._record(filling, last, chosen, filled=filled)
        names = {handler.name for _, handlers in chosen for handler in handlers}
        if names:
            self._on_runs(names)
        if filled:
            self._waiting.remove(filling)

    async def _record(
        self,
        filling: _Filling,
        last: int,
        chosen: Sequence[tuple[ReplayItem, list[Handler]]],
        *,
        filled: bool,
    ) -> None:
        batch = ReplayBatch(
            replay_id=filling.replay_id,
            from_seq=filling.cursor,
            last_seq=last,
            routings=tuple(
                _routing(item, handlers, targeted=filling.targeted) for item, handlers in chosen if handlers
            ),
            filled=filled,
            now_ms=self._clock.now_ms(),
        )
        if await self._log.extend_replay(batch):
            for routing in batch.routings:
                self._counts.made(routing.runs)
        filling.cursor = last


def _takers(
    log: EventReader, item: ReplayItem, handlers: Mapping[str, Handler], *, targeted: bool
) -> list[Handler]:
    """Who gets it: those settled already, as far as they run, else those who want it."""
    known = partial(_known, log, item)
    if item.handlers is None:
        return takers_of(item.event, handlers.values(), item.changes, known)
    named = [handlers[name] for name in item.handlers if name in handlers]
    return takers_of(item.event, named, item.changes, known) if targeted else named


def _known(log: EventReader, item: ReplayItem) -> Mapping[str, Any] | None:
    """What was known of the calendar event after this event."""
    if item.number is None or item.verdict is None:
        return None
    state = state_at(log.history_now(item.number, upto_seq=item.event.seq), time_ms=None)
    return None if state is None else state.calendar_event()


def _routing(item: ReplayItem, handlers: Sequence[Handler], *, targeted: bool) -> Routing:
    """Runs that were selected run again; to whom else it goes skips what came too late, as with news."""
    event = item.event
    runs = runs_of(handlers, item.verdict if targeted or item.handlers is None else None)
    return Routing(seq=event.seq, source=event.source, subject=event.subject, runs=runs)


def _filling(record: ReplayRecord) -> _Filling:
    return _Filling(record.replay_id, record.last_seq, targeted=record.target is not None)


async def plan(
    log: EventReader, selection: Selection, target: str | None, handlers: Sequence[Handler]
) -> AsyncIterator[tuple[EventRecord, list[Handler]]]:
    """What a replay would do, without doing it: each selected event, oldest first, and who would get it."""
    known = {handler.name: handler for handler in handlers if handler.enabled}
    selection = replace(selection, limit=0, after_seq=selection.after_seq or 0)
    async for record in log.stream(selection):
        detail = await log.get(record.event_id)
        if detail is not None:
            item = ReplayItem(
                _unrouted(detail),
                _named(detail, selection, target),
                detail.number,
                detail.record.verdict,
                tuple(detail.changes),
            )
            yield record, _takers(log, item, known, targeted=target is not None)


def _named(detail: EventDetail, selection: Selection, target: str | None) -> tuple[str, ...] | None:
    if target is not None:
        return (target,)
    if selection.handler is None and selection.code_version is None and selection.run_state is None:
        return None
    version = selection.code_version
    latest = {run.handler: run.run_id for run in detail.runs}
    runs = [
        run
        for run in detail.runs
        if selection.handler in (None, run.handler)
        and (
            selection.run_state is None
            or (run.state, run.run_id) == (selection.run_state, latest[run.handler])
        )
        and (version is None or any((one.code_version or "").startswith(version) for one in run.attempts))
    ]
    return tuple(sorted({run.handler for run in runs}))


def _unrouted(detail: EventDetail) -> Unrouted:
    event = detail.record
    return Unrouted(
        seq=event.seq,
        source=event.source,
        event_type=event.event_type,
        calendar_event_uuid=event.calendar_event_uuid,
        calendar_event_id=event.calendar_event_id,
        call_id=None,
        body=detail.body,
        event_id=event.event_id,
        received_at_ms=round(datetime.fromisoformat(event.received_at).timestamp() * 1000),
        origin=event.origin,
        occurred_at_ms=None,
        body_sha256=bytes.fromhex(detail.body_sha256),
        flags=event.flags,
    )


async def report(log: EventReader, record: ReplayRecord) -> dict[str, Any]:
    """How a replay stands, ready for JSON.

    `covered` of `total` events have their runs; `runs` counts those by handler and state; `held` counts
    those that wait behind an unfinished run of their handler about the same calendar event.
    """
    selection = Selection(**json.loads(record.selection))
    covered = record.total
    if record.filled_at is None:
        left = await log.count(replace(selection, after_seq=record.last_seq))
        covered = max(0, record.total - left)
    _, rows = await log.sql(
        "SELECT handler, state, sum(state = 'pending' AND due_at IS NULL), count(*) FROM runs "  # noqa: S608 -- a number
        f"WHERE replay_id = {record.replay_id:d} GROUP BY handler, state ORDER BY handler, state"
    )
    runs: dict[str, dict[str, int]] = {}
    held: Counter[str] = Counter()
    for handler, state, behind_another, number in rows:
        runs.setdefault(handler, {})[state] = number
        held[handler] += behind_another
    return {
        "replay_id": record.replay_id,
        "created_at": record.created_at,
        "filled_at": record.filled_at,
        "target": record.target,
        "selection": {key: value for key, value in json.loads(record.selection).items() if value is not None},
        "total": record.total,
        "covered": covered,
        "runs": runs,
        "held": {name: number for name, number in held.items() if number},
    }
