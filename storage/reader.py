"""The half of the seam between the service and its database that only asks; see `storage.log`.

Any number of processes may ask at the same time, beside the one service that writes. The rule easiest to
break: an answer is records, never rows, and no question may hold up who writes for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from storage.calendar import CalendarEventRecord, HistoryRecord, NamedRecord, RebookingRecord, StoredState
    from storage.records import (
        EventDetail,
        EventRecord,
        HandlerBacklog,
        LogStats,
        LogStatus,
        QuarantineRecord,
        ReconciliationRecord,
        Refused,
        ReplayRecord,
        Selection,
    )
    from storage.removal import Content, Limits, OldPage, StoredItem
    from storage.work import ReplayItem, StoredValue


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
        """What is known of the calendar events of that uuid or number.

        Several may have one number: of several sources, or of one whose events disagree about it.
        """
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

    async def indexed(self) -> tuple[int, dict[int, int]]:
        """The last event that is routed, and up to it the marks of the words that events are found by.

        They are `storage.marks.mark_of` those words, by number of the event. It takes 20 seconds in a log of
        a million events.
        """
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
