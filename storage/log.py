"""The seam between the service and its database, in the service's own verbs.

`tests/contract` is written against this protocol: a backend is done when it passes there. It is private:
it may change with any release. The rule easiest to break: no SQL, no SQLite habit and no knowledge of
calendars or handlers' code may show on this side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from storage.reader import EventReader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from storage.calendar import NewOverdue, NewState, Restated
    from storage.errors import LogBroken
    from storage.records import Appended, Damage, LogVitals, NewEvent, Refused, Taken, Unreadable
    from storage.removal import Erasure, Limits, Pruned, Rewriting, StoredItem
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


class EventLog(EventReader, Protocol):
    """The log as the one service that may change it sees it.

    Each verb that changes something returns when the change is durable: it is on disk, and a power cut
    cannot take it back.

    Every one of them raises `LogUnavailable` when the log cannot be written now, and `LogBroken` when it
    must not be written any more.
    """

    @property
    def migrated(self) -> list[str]:
        """Names of the migrations that opening it applied."""
        ...

    def append(self, event: NewEvent) -> Awaitable[Appended]:
        """Record one delivery: as a new event, or under the event it repeats.

        It repeats an event of the same source that came with the same bytes, or with the same
        `content_digest` and `delivery_digest`. Concurrent copies make one event.
        """
        ...

    def take_in(
        self, delivery: D, read: Callable[[list[D]], Sequence[NewEvent | Refused]], size: int
    ) -> Awaitable[Taken | Unreadable]:
        """Record what `read` makes of a delivery: an event as `append` does, or a body for quarantine.

        `read` is a pure function of a module, and quick: it may be called in another process, where the log
        is written, with all deliveries that came together. `size` is the delivery's in memory, in bytes.
        """
        ...

    async def quarantine(self, refused: Refused) -> int | None:
        """Keep a signed body that could not be read; None when it is kept already or the room is used up."""
        ...

    async def released(self, quarantine_id: int) -> None:
        """Note that a refused body went through intake after all."""
        ...

    async def unrouted(self, limit: int) -> list[Unrouted]:
        """The oldest events without a routing, in log order, with what is known of their calendar events."""
        ...

    async def survey(self, look: Callable[[list[Unrouted]], T], limit: int) -> T:
        """What `look` makes of what `unrouted` gives. It is called as `take_in` calls `read`."""
        ...

    async def route(
        self, routings: Sequence[Routing], *, now_ms: int, states: Sequence[NewState] = ()
    ) -> bool:
        """Record the routings of consecutive events, with their runs, due at once, and new states.

        Events that have one are passed over. False, and nothing is recorded, if what is known of a calendar
        event has changed since `unrouted` told it: then ask that again.
        """
        ...

    async def route_next(
        self,
        decide: Callable[[list[Unrouted]], Decision[T] | None],
        limit: int,
        *,
        now_ms: int,
        owner: str = "",
        capacity: Mapping[str, int] | None = None,
    ) -> Routed[T] | None:
        """Record what `decide` says of the oldest events that wait, at most `limit` of them, in one go.

        It is called as `take_in` calls `read`. Of each handler in `capacity` up to so many of the new runs
        are the owner's at once, as if it had claimed them; the others are due. None if `decide` gives None:
        then nothing is recorded.
        """
        ...

    async def tell_overdue(self, overdue: NewOverdue) -> bool:
        """Record that something is overdue, with its event. False if it is recorded already."""
        ...

    async def restate(self, restated: Restated) -> bool:
        """Replace what is known of a calendar event, and how its events were judged.

        False, and nothing is changed, if it has changed since it was read.
        """
        ...

    async def claim(
        self,
        owner: str,
        capacity: Mapping[str, int],
        *,
        now_ms: int,
        replays: Mapping[str, int] | None = None,
        live: bool = True,
    ) -> list[Claimed]:
        """Take up to `capacity[handler]` due runs per handler, counting one attempt of each.

        Live runs come first; of the places they leave, replayed ones get at most `replays[handler]`, or all.
        Without `live`, only replayed ones are taken.
        A run waits while an earlier run of its handler and subject is unfinished.
        """
        ...

    async def finish(self, outcome: Outcome) -> Finished:
        """Record how an attempt ended, and with `done` its effects: all of it or nothing.

        `LATE`, and nothing changed, if the run has left that attempt. `CONFLICT` if a key that the attempt
        read has changed since: no effect happens, and the run waits for another attempt, due at once.

        Raises:
            ValueError: a running run cannot go there, or a time to try again is missing or is one too many.
        """
        ...

    async def release(self, owner: str, *, now_ms: int) -> int:
        """Give back this owner's running runs and messages, as after a stop: they wait, no try spent."""
        ...

    async def recover(self, owner: str, *, now_ms: int) -> int:
        """Take back runs and messages that other owners left when they died; how many runs.

        Should the clock have been set back meanwhile, what waits is due no later than was decided.
        """
        ...

    async def follow_clock(self, by_ms: int, *, now_ms: int) -> None:
        """The clock was set forward by so much (back, below 0) and now shows `now_ms`.

        Runs and messages wait as long as they would have. Everything that was asked for before goes by the
        old time, everything after by the new one.
        """
        ...

    async def claim_messages(
        self, owner: str, most: int, *, now_ms: int, avoid: Collection[str] = ()
    ) -> list[ClaimedMessage]:
        """Take due messages, but none for these origins, counting one attempt of each.

        A message waits while an earlier one of its handler about the same subject is unfinished.
        """
        ...

    async def finish_message(self, outcome: MessageOutcome) -> bool:
        """Record how sending ended. False, and nothing changed, if the message has left that attempt."""
        ...

    async def start_replay(self, replay: NewReplay) -> int:
        """Record a replay of the events that are in the log now; its number. It has no runs yet."""
        ...

    async def extend_replay(self, batch: ReplayBatch) -> int:
        """Make the runs of the next events and move the cursor, together; how many runs.

        0 if the cursor is no longer where the batch begins: somebody else has made them.
        """
        ...

    @property
    def recovered(self) -> bool:
        """Whether the service before this one ended without closing the log."""
        ...

    @property
    def pulse(self) -> int:
        """Changes while the log's writer works, even if it does so in vain."""
        ...

    async def probe(self) -> None:
        """Write and sync something that means nothing, to see that the log can be written."""
        ...

    async def examine(self) -> list[Damage]:
        """Read the structure of the whole log through, beside the work; what is wrong with it.

        A damaged log can only be opened again when it is sound. Raises `LogUnavailable` if it could not be
        read.
        """
        ...

    async def vitals(self) -> LogVitals:
        """How the log is doing now."""
        ...

    async def unfinished(self) -> Mapping[str, int]:
        """Runs that are not finished, by handler. It takes a while if there are many."""
        ...

    async def rewrite(self, events: Sequence[Rewriting], restated: Restated | None) -> bool:
        """Put other bodies in the place of those of routed events, and flag them as `forgotten`.

        They are about one calendar event; what follows from them comes with them. False, and nothing is
        changed, if what is known of it is no longer what that was made from.
        """
        ...

    async def erase_traces(self, seqs: Sequence[int]) -> int:
        """Take errors and messages of these events' runs out; how many runs and messages are under way.

        Messages that wait become `dead`.
        """
        ...

    async def erase_refused(self, quarantine_id: int) -> None:
        """Empty a body of quarantine; it stays known."""
        ...

    async def rewrite_stored(self, item: StoredItem, value: str | None) -> bool:
        """Put another value, or none, in the place of one that a handler keeps. False if it has changed."""
        ...

    async def note_erasure(self, erasure: Erasure) -> int:
        """Record that somebody is forgotten; the number of that."""
        ...

    async def scrub(self) -> bool:
        """Clear away what is left of erased content in the log's files. False if a reader is in the way."""
        ...

    async def empty_index(self) -> int:
        """Take all words out of the index, for `fill_index` to put them in; the last event that is routed.

        Those behind it get into the index when they are routed.
        """
        ...

    async def fill_index(self, events: Sequence[tuple[int, str]]) -> None:
        """Put the words of events, by their numbers, into the index, which must have none of them."""
        ...

    async def prune(self, limits: Limits, things: Sequence[Pruned]) -> list[bool]:
        """Remove things with all that hangs on their events; which of them went.

        One that has a new event, or may not go any more, stays. Deliveries of what went stay duplicates.
        It ends after a short time, so that nobody waits long for it: there may be fewer answers than things.
        """
        ...

    async def prune_refused(self, before_ms: int) -> int:
        """Remove the bodies of quarantine that came before; how many."""
        ...

    async def give_back(self) -> None:
        """Give room that is not used any more back to the file system, in small steps."""
        ...

    async def compact(self) -> None:
        """Write the log's file anew, without free space. It takes a while, and everything else waits."""
        ...

    async def start_reconciliation(self, new: NewReconciliation) -> int:
        """Record that a comparison with the vendor begins; its number."""
        ...

    async def record_found(self, batch: ReconcileBatch) -> list[bool]:
        """Write what it found, and how far it has got, together; which of the events are in the log now.

        Those are not whose calendar event has changed since it was compared, or has events that wait for
        their routing: compare it again.
        """
        ...

    async def announce(self, note: str) -> None:
        """Leave one line for those who ask who holds the log; see `storage.holder`."""
        ...

    @property
    def healthy(self) -> bool:
        """False after a failed write, until one succeeds again."""
        ...

    async def stopped(self) -> LogBroken | None:
        """Return when nothing can be written any more: the error if the log broke, None if it was closed."""
        ...
