"""What is known of calendar events, as plain frozen records: states, changes, histories.

The service decides what a state and a change say; here a state is JSON. The rule easiest to break: a state
goes with its revision, so that none is put in the place of one that nobody has seen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from storage.records import NewEvent, Origin


class ChangeRecord(NamedTuple):
    """One thing that an event changed: the fields before and after."""

    name: str
    before: dict[str, Any]
    after: dict[str, Any]
    reason: str | None

    @classmethod
    def of(cls, name: str, before: str | None, after: str | None, reason: str | None) -> Self:
        """From what is stored."""
        return cls(name, json.loads(before) if before else {}, json.loads(after) if after else {}, reason)


@dataclass(frozen=True, slots=True)
class CalendarEventRecord:
    """What is known of one calendar event."""

    subject: int
    """Our number of it, for `history`."""
    source: str
    uuid: str | None
    number: int | None
    """The vendor's number."""
    revision: int
    last_seq: int
    calendar_event: str
    """JSON."""
    memory: str
    """What is needed to go on from there."""


@dataclass(frozen=True, slots=True)
class NamedRecord:
    """One calendar event by its names, and what is known of it, if anything is."""

    subject: int
    uuid: str | None
    number: int | None
    source: str
    known: CalendarEventRecord | None


@dataclass(frozen=True, slots=True)
class RebookingRecord:
    """The other side of a likely reschedule: inferred from a booking soon after a cancellation."""

    name: str
    """`rebooked_as`, at the one that was cancelled, or `rebooked_from`, at the one that was booked."""
    uuid: str | None
    number: int | None


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """One event of a calendar event's history, as it was judged when it came."""

    seq: int
    event_id: str
    event_type: str | None
    occurred_at_ms: int | None
    received_at_ms: int
    origin: Origin
    body_sha256: bytes
    body: bytes
    verdict: str | None
    changes: tuple[ChangeRecord, ...]


class StoredState(NamedTuple):
    """What is known of a calendar event: as JSON, and what is needed to go on from there."""

    revision: int
    calendar_event: str
    memory: str
    was_found: bool = False
    """Whether any of its events came from a comparison with the vendor."""


class NewState(NamedTuple):
    """What is known of a calendar event now."""

    subject: int
    """`Unrouted.number` of its events."""
    revision: int | None
    """That of the state it was made from; None if there was none."""
    last_seq: int
    """The last event that is in it."""
    calendar_event: str
    memory: str
    status: str | None
    start_ms: int | None
    end_ms: int | None
    booked_ms: int | None = None
    cancelled_ms: int | None = None
    customer: str | None = None
    """What tells customers apart: an e-mail address in lower case, else the digits of a phone number."""


class NewChange(NamedTuple):
    """One thing that an event changed. `before` and `after` are JSON objects of fields, or None."""

    name: str
    before: str | None = None
    after: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class NewOverdue:
    """A webhook that was due and did not come, to be told once."""

    subject: int
    expected: str
    due_ms: int
    event: NewEvent | None
    """What handlers get, if any wants it."""


@dataclass(frozen=True, slots=True)
class Restated:
    """A state that was made anew, with how its events are judged then."""

    state: NewState
    judged: tuple[tuple[int, str | None, tuple[NewChange, ...]], ...]
    """By number of the event: verdict and changes."""
