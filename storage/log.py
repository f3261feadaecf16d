"""The seam between the service and its database, in the service's own verbs.

`tests/contract` is written against this protocol: a backend is done when it passes there. It is private:
it may change with any release. The rule easiest to break: no SQL, no SQLite habit and no knowledge of
calendars or handlers' code may show on this side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from storage.calendar import (
        CalendarEventRecord,
        HistoryRecord,
        NamedRecord,
        NewOverdue,
        NewState,
        RebookingRecord,
        Restated,
        StoredState,
    )
    from storage.errors import LogBroken
    from storage.records import (
        Appended,
        Damage,
        EventDetail,
        EventRecord,
        HandlerBacklog,
        LogStats,
        LogStatus,
        LogVitals,
        NewEvent,
        QuarantineRecord,
        ReconciliationRecord,
        Refused,
        ReplayRecord,
        Selection,
    )
    from storage.removal import Content, Erasure, Limits, OldPage, Pruned, Rewriting, StoredItem
    from storage.work import (
        Claimed,
        ClaimedMessage,
        Finished,
        MessageOutcome,
        NewReconciliation,
        NewReplay,
        Outcome,
        ReconcileBatch,
        ReplayBatch,
        ReplayItem,
        Routing,
        StoredValue,
        Unrouted,
    )


class EventReader(Protocol):
    """Questions to the log. Any number of processes may ask at the same time."""

    async def page(self, selection: Selection) -> list[EventRecord]:
        """Up to 500 events, newest first, or oldest first behind `after_seq`."""
        ...

    def stream(self, selection: Selection) -> AsyncIterator[EventRecord]:
        """Every selected event up to the limit, read page by page."""
        ...

    async def count(self, selection: Selection) -> int:
        """How many events are selected, whatever the limit."""
        ...

    async def get(self, event_id: str) -> EventDetail | None:
        """One event whole, or None."""
        ...

    async def find(self, prefix: str, *, limit: int = 10) -> list[str]:
        """Ids of events that begin so, in their own order; at most `limit`."""
        ...

    async def calendar_events(self, name: str) -> list[CalendarEventRecord]:
        """What is known of the calendar events of that uuid or number: several sources may have one."""
        ...

    async def calendar_event_page(self, after: int, limit: int) -> list[NamedRecord]:
        """Every calendar event, in the order of our numbers, also those of which nothing is known."""
        ...

    async def agenda(
        self, start_ms: int, end_ms: int, *, moved_since_ms: int | None = None
    ) -> list[CalendarEventRecord]:
        """Calendar events that are under way in the span, by their beginning, cancelled ones too.

        With `moved_since_ms`, also every one that an event received since has moved, wherever it was before.
        """
        ...

    async def calendar_events_between(self, from_ms: int, to_ms: int) -> list[CalendarEventRecord]:
        """The calendar events that begin in this time and are neither cancelled nor over, as far as known."""
        ...

    async def history(
        self, subject: int, *, after_seq: int = 0, upto_seq: int | None = None
    ) -> list[HistoryRecord]:
        """The events of a calendar event in log order, each with its verdict and what it changed.

        `subject` is a record's own number, not the vendor's.
        """
        ...

    async def latest(self, subject: int, event_type: str | None) -> HistoryRecord | None:
        """The last event of this type about a calendar event, if there is one."""
        ...

    def history_now(self, subject: int, *, after_seq: int = 0, upto_seq: int) -> list[HistoryRecord]:
        """As `history`, but the calling thread waits: a few milliseconds, for code that cannot await."""
        ...

    async def rebookings(self, subject: int) -> list[RebookingRecord]:
        """Likely reschedules that a calendar event is a part of: one was cancelled, another one booked."""
        ...

    async def known(self, subject: int) -> StoredState | None:
        """What is known of the calendar event of that number of ours."""
        ...

    async def contents(self, after_seq: int) -> list[Content]:
        """The next events with their bodies, oldest first; none behind the last."""
        ...

    async def bodies(self, seqs: Sequence[int]) -> dict[int, bytes]:
        """The bodies of these events, by their numbers, of those that are there."""
        ...

    async def old(self, limits: Limits, after: tuple[int, int]) -> OldPage:
        """What may be removed among the next events, behind this place; the first one is (-1, 0)."""
        ...

    async def old_refused(self, before_ms: int) -> int:
        """How many bodies of quarantine came before."""
        ...

    async def stored_items(self, after: tuple[str, str]) -> list[StoredItem]:
        """The next values that handlers keep, in the order of handler and key, behind these."""
        ...

    async def quarantined(self, *, limit: int = 50) -> list[QuarantineRecord]:
        """What was refused although it was signed, newest first."""
        ...

    async def quarantined_body(self, quarantine_id: int) -> Refused | None:
        """The kept bytes of one refused body, or None."""
        ...

    async def stored(self, handler: str, key: str) -> StoredValue:
        """What a handler's store holds under a key."""
        ...

    async def store_of(self, handler: str) -> dict[str, str]:
        """All that a handler's store holds: JSON by key."""
        ...

    async def replays(self, replay_id: int | None = None) -> list[ReplayRecord]:
        """The replays, newest first, or the one of that number, with how their runs stand."""
        ...

    async def replay_items(self, replay_id: int, limit: int) -> list[ReplayItem]:
        """The next events of a replay that has not got all its runs yet, oldest first."""
        ...

    async def known_as(self, source: str, uuid: str | None, number: int | None) -> CalendarEventRecord | None:
        """What is known of one calendar event of a source, by either name."""
        ...

    async def was_forgotten(self, subject: int) -> bool:
        """Whether the content of a calendar event, by our number of it, was taken out at a person's wish."""
        ...

    async def names_between(
        self, source: str, start_ms: int, end_ms: int
    ) -> list[tuple[str | None, int | None, str | None]]:
        """Uuid, number and status of the known calendar events that begin in this time."""
        ...

    async def oldest_event_ms(self, source: str) -> int | None:
        """When the first event of a source that the log still has was received; None if there is none."""
        ...

    async def reconciliations(
        self, reconciliation_id: int | None = None, *, limit: int = 20
    ) -> list[ReconciliationRecord]:
        """The comparisons with the vendor, newest first, or the one of that number."""
        ...

    async def found_by(self, reconciliation_id: int) -> list[str]:
        """The ids of the events that one of them has found, in log order."""
        ...

    async def stats(self, since_ms: int, until_ms: int) -> LogStats:
        """Numbers of what was received in this span. They may take a minute."""
        ...

    async def backlog(self) -> list[HandlerBacklog]:
        """Every handler the log knows, with its runs by state."""
        ...

    async def status(self) -> LogStatus:
        """Counts, sizes, versions and settings."""
        ...

    async def sql(self, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Column names and rows of one reading statement over the documented views.

        Raises:
            QueryError: it is wrong, wants to write, or takes too long.
        """
        ...

    async def aclose(self) -> None:
        """Finish what was begun and let go of the files. A second time does nothing."""
        ...


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

    async def append(self, event: NewEvent) -> Appended:
        """Record one delivery: as a new event, or under the event it repeats.

        It repeats an event of the same source that came with the same bytes, or with the same
        `content_digest` and `delivery_digest`. Concurrent copies make one event.
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

    async def route(
        self, routings: Sequence[Routing], *, now_ms: int, states: Sequence[NewState] = ()
    ) -> bool:
        """Record the routings of consecutive events, with their runs, due at once, and new states.

        Events that have one are passed over. False, and nothing is recorded, if what is known of a calendar
        event has changed since `unrouted` told it: then ask that again.
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
        """Take back runs and messages that other owners left when they died; how many runs."""
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

    async def prune(self, limits: Limits, things: Sequence[Pruned]) -> list[bool]:
        """Remove things with all that hangs on their events; which of them went.

        One that has a new event, or may not go any more, stays. Deliveries of what went stay duplicates.
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
