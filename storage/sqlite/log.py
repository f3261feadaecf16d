"""The log over one SQLite file, for the service: the verbs that change it, each handed to the writer.

There is no SQL here. The rule easiest to break: whatever writes goes through the writer, for only it may.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from storage.records import LogVitals
from storage.sqlite import append, calendar, due, effects, operations, read, runs, search, vitals
from storage.sqlite import forget as forgetting
from storage.sqlite import prune as pruning
from storage.sqlite import replay as replay_rows
from storage.sqlite.apart import apart
from storage.sqlite.beside import ProcessWriter
from storage.sqlite.examine import Examiner
from storage.sqlite.lock import announce
from storage.sqlite.reader import SqliteReader
from storage.sqlite.routing import Claiming
from storage.sqlite.writer import ThreadWriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from storage.calendar import NewOverdue, NewState, Restated
    from storage.errors import LogBroken
    from storage.records import (
        Appended,
        Damage,
        NewEvent,
        Refused,
        Taken,
        Unreadable,
    )
    from storage.removal import Erasure, Limits, Pruned, Rewriting, StoredItem
    from storage.sqlite.beside import WriterProcess
    from storage.sqlite.writer import Writer
    from storage.work import (
        Claimed,
        ClaimedMessage,
        Decision,
        Finished,
        MessageOutcome,
        NewReconciliation,
        NewReplay,
        Outcome,
        ReconcileBatch,
        ReplayBatch,
        Routed,
        Routing,
        Unrouted,
    )

D = TypeVar("D")
T = TypeVar("T")

ROW_BYTES: Final = 512
"""What an event takes in memory beside its body, for the bound on the queue."""
VACUUM_PAUSE: Final = 0.02
"""Seconds between two steps of giving room back, for everybody else."""
FOLD_TRIES: Final = 20
FOLD_PAUSE: Final = 0.5
"""How often the write-ahead file is tried to be emptied, and the seconds in between: readers take up to 2."""


class SqliteLog(SqliteReader):
    """The log for the one service that writes it."""

    def __init__(self, path: Path, writer: Writer, migrated: list[str], *, recovered: bool) -> None:
        """`open` is the way to make one."""
        super().__init__(path)
        self._writer = writer
        self._migrated = migrated
        self._recovered = recovered
        self._examiner = Examiner(path)

    @classmethod
    async def open(cls, file: str, *, beside: WriterProcess | None = None) -> Self:
        """Open or make the log, and bring its schema up to date. `beside`: that process writes.

        Raises:
            LogLocked, LogUnusable, LogDamaged: as `opening.open_file` does.
        """
        path = Path(file).resolve()  # noqa: ASYNC240 -- once, at start
        if beside:
            writer = await ProcessWriter.open(path, beside)
            return cls(path, writer, writer.migrated, recovered=writer.recovered)
        from storage.sqlite.opening import open_file  # noqa: PLC0415 -- migrations are slow to import

        opened = open_file(path, os.getpid())
        return cls(path, ThreadWriter(opened), opened.migrated, recovered=opened.recovered)

    @property
    def migrated(self) -> list[str]:
        """See `EventLog.migrated`."""
        return self._migrated

    @property
    def recovered(self) -> bool:
        """See `EventLog.recovered`."""
        return self._recovered

    @property
    def healthy(self) -> bool:
        """See `EventLog.healthy`."""
        return self._writer.state.healthy

    async def stopped(self) -> LogBroken | None:
        """See `EventLog.stopped`."""
        await asyncio.shield(self._writer.stopped)
        return self._writer.broken

    def append(self, event: NewEvent) -> Awaitable[Appended]:
        """See `EventLog.append`."""
        return self._writer.do(operations.append, event, len(event.body) + ROW_BYTES)

    def take_in(
        self, delivery: D, read: Callable[[list[D]], Sequence[NewEvent | Refused]], size: int
    ) -> Awaitable[Taken | Unreadable]:
        """See `EventLog.take_in`."""
        return self._writer.do(operations.take_in, (read, delivery), size + ROW_BYTES)

    async def quarantine(self, refused: Refused) -> int | None:
        """See `EventLog.quarantine`."""
        return await self._writer.do(operations.quarantine, refused, len(refused.body) + ROW_BYTES)

    async def released(self, quarantine_id: int) -> None:
        """See `EventLog.released`."""
        await self._writer.do(append.released, quarantine_id)

    async def unrouted(self, limit: int) -> list[Unrouted]:
        """See `EventLog.unrouted`."""
        return await self._writer.alone(partial(read.unrouted, limit=limit))

    async def survey(self, look: Callable[[list[Unrouted]], T], limit: int) -> T:
        """See `EventLog.survey`."""
        return await self._writer.alone(partial(read.survey, look, limit))

    async def route(
        self, routings: Sequence[Routing], *, now_ms: int, states: Sequence[NewState] = ()
    ) -> bool:
        """See `EventLog.route`."""
        return await self._writer.do(operations.route, (list(routings), list(states), now_ms))

    async def route_next(
        self,
        decide: Callable[[list[Unrouted]], Decision[T] | None],
        limit: int,
        *,
        now_ms: int,
        owner: str = "",
        capacity: Mapping[str, int] | None = None,
    ) -> Routed[T] | None:
        """See `EventLog.route_next`."""
        claiming = Claiming(now_ms, owner, capacity or {})
        waiting = self._writer.do(operations.route_next, (decide, limit, claiming))
        self._writer.hand_on()  # as with a claim
        routed: Routed[T] | None = await waiting
        return routed

    async def tell_overdue(self, overdue: NewOverdue) -> bool:
        """See `EventLog.tell_overdue`."""
        return await self._writer.do(operations.tell_overdue, overdue)

    async def restate(self, restated: Restated) -> bool:
        """See `EventLog.restate`."""
        return await self._writer.do(calendar.restate, restated)

    async def claim(
        self,
        owner: str,
        capacity: Mapping[str, int],
        *,
        now_ms: int,
        replays: Mapping[str, int] | None = None,
        live: bool = True,
    ) -> list[Claimed]:
        """See `EventLog.claim`."""
        claimed = self._writer.do(operations.claim, (owner, capacity, replays, live, now_ms))
        self._writer.hand_on()  # now, and not behind the runs that this turn of the loop begins
        return await claimed

    async def finish(self, outcome: Outcome) -> Finished:
        """See `EventLog.finish`."""
        return await self._writer.do(runs.finish, outcome)

    async def release(self, owner: str, *, now_ms: int) -> int:
        """See `EventLog.release`."""
        await self._writer.do(effects.take_back_messages, (owner, True, now_ms))
        return await self._writer.do(runs.take_back, (owner, True, "stopped", now_ms))

    async def recover(self, owner: str, *, now_ms: int) -> int:
        """See `EventLog.recover`."""
        await self._writer.do(effects.take_back_messages, (owner, False, now_ms))
        await self._writer.do(due.limit, now_ms)
        return await self._writer.do(runs.take_back, (owner, False, "lost", now_ms))

    async def follow_clock(self, by_ms: int, *, now_ms: int) -> None:
        """See `EventLog.follow_clock`."""
        await self._writer.alone(partial(due.shift, by_ms=by_ms, now_ms=now_ms))

    async def claim_messages(
        self, owner: str, most: int, *, now_ms: int, avoid: Collection[str] = ()
    ) -> list[ClaimedMessage]:
        """See `EventLog.claim_messages`."""
        return await self._writer.do(effects.claim_messages, (owner, most, avoid, now_ms))

    async def finish_message(self, outcome: MessageOutcome) -> bool:
        """See `EventLog.finish_message`."""
        return await self._writer.do(effects.finish_messages, outcome)

    async def start_replay(self, replay: NewReplay) -> int:
        """See `EventLog.start_replay`."""
        return await self._writer.do(replay_rows.start, replay)

    async def extend_replay(self, batch: ReplayBatch) -> int:
        """See `EventLog.extend_replay`."""
        return await self._writer.do(operations.extend_replay, batch)

    @property
    def pulse(self) -> int:
        """See `EventLog.pulse`."""
        return self._writer.state.pulse

    async def probe(self) -> None:
        """See `EventLog.probe`."""
        await self._writer.do(vitals.probe, None)

    async def examine(self) -> list[Damage]:
        """See `EventLog.examine`."""
        return await apart(self._examiner.examine)

    async def start_reconciliation(self, new: NewReconciliation) -> int:
        """See `EventLog.start_reconciliation`."""
        return await self._writer.do(operations.start_reconciliation, new)

    async def record_found(self, batch: ReconcileBatch) -> list[bool]:
        """See `EventLog.record_found`."""
        size = sum(len(found.event.body) + ROW_BYTES for found in batch.events)
        return await self._writer.do(operations.record_found, batch, size)

    async def vitals(self) -> LogVitals:
        """See `EventLog.vitals`."""
        found = await self._ask(lambda connection: vitals.waiting(connection) | vitals.room(self._path))
        writer = self._writer
        return LogVitals(
            queue_rows=writer.queue_rows,
            queue_bytes=writer.queue_bytes,
            batch_rows=writer.state.batch_rows,
            sync_seconds=writer.state.sync_seconds,
            **found,
        )

    async def unfinished(self) -> Mapping[str, int]:
        """See `EventLog.unfinished`."""
        return await self._ask(vitals.unfinished, seconds=None)

    async def rewrite(self, events: Sequence[Rewriting], restated: Restated | None) -> bool:
        """See `EventLog.rewrite`."""
        return await self._writer.do(operations.rewrite, (events, restated))

    async def erase_traces(self, seqs: Sequence[int]) -> int:
        """See `EventLog.erase_traces`."""
        return await self._writer.do(forgetting.erase_traces, seqs)

    async def erase_refused(self, quarantine_id: int) -> None:
        """See `EventLog.erase_refused`."""
        await self._writer.do(operations.erase_refused, quarantine_id)

    async def rewrite_stored(self, item: StoredItem, value: str | None) -> bool:
        """See `EventLog.rewrite_stored`."""
        return await self._writer.do(forgetting.rewrite_stored, (item, value))

    async def note_erasure(self, erasure: Erasure) -> int:
        """See `EventLog.note_erasure`."""
        return await self._writer.do(forgetting.note_erasure, erasure)

    async def scrub(self) -> bool:
        """See `EventLog.scrub`."""
        first = True
        while await self._writer.do(forgetting.scrub, first):
            first = False
        for _ in range(FOLD_TRIES):
            if await self._writer.alone(forgetting.fold_in):
                return True
            await asyncio.sleep(FOLD_PAUSE)
        return False

    async def empty_index(self) -> int:
        """See `EventLog.empty_index`."""
        return await self._writer.do(search.empty, None)

    async def fill_index(self, events: Sequence[tuple[int, str]]) -> None:
        """See `EventLog.fill_index`."""
        await self._writer.do(search.fill, events)

    async def prune(self, limits: Limits, things: Sequence[Pruned]) -> list[bool]:
        """See `EventLog.prune`."""
        return await self._writer.do(pruning.prune, (limits, things))

    async def prune_refused(self, before_ms: int) -> int:
        """See `EventLog.prune_refused`."""
        return await self._writer.do(pruning.prune_refused, before_ms)

    async def give_back(self) -> None:
        """See `EventLog.give_back`."""
        more = True
        while more:
            more = await self._writer.alone(pruning.give_back)
            await asyncio.sleep(VACUUM_PAUSE)

    async def compact(self) -> None:
        """See `EventLog.compact`."""
        await self._writer.alone(forgetting.compact)

    async def announce(self, note: str) -> None:
        """See `EventLog.announce`."""
        await apart(announce, self._path, note)

    async def _close(self) -> None:
        """What waits is still written, then the file is folded together.

        A broken log is left as it is, and locked, until the process ends.
        """
        self._examiner.stop()
        await super()._close()
        await self._writer.close()
