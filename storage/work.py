"""What is to be done with events, as plain frozen records: routings, runs, effects, messages, replays.

These pass between the service and the log; what people are shown is in `records.py`. The rule easiest to
break: a record says what was decided, never how the database keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.calendar import ChangeRecord, NewChange, NewState, StoredState
    from storage.records import NewEvent, Origin, Selection
    from storage.states import RunState

T = TypeVar("T")


class Unrouted(NamedTuple):
    """An event that waits for its runs, with what choosing its handlers needs."""

    seq: int
    source: str
    event_type: str | None
    calendar_event_uuid: str | None
    calendar_event_id: int | None
    call_id: str | None
    body: bytes
    event_id: str
    received_at_ms: int
    origin: Origin
    occurred_at_ms: int | None
    body_sha256: bytes
    flags: tuple[str, ...]
    delivery_id: str | None = None
    number: int | None = None
    """Of what it is about: the same for two events that are about the same, unless it is None."""
    known: StoredState | None = None
    """The state of its calendar event before the first event that waits."""

    @property
    def subject(self) -> Subject | None:
        """What it is about."""
        return subject_of(self.calendar_event_uuid, self.calendar_event_id, self.call_id)


class Subject(NamedTuple):
    """What an event is about. Runs of one handler and one subject keep the order of the log."""

    kind: Literal["calendar_event", "call"]
    uuid: str | None
    number: int | None


def subject_of(
    calendar_event_uuid: str | None, calendar_event_id: int | None, call_id: str | None
) -> Subject | None:
    """What an event is about, by the columns that intake read."""
    if call_id is not None:
        return Subject("call", call_id, None)
    if calendar_event_uuid is None and calendar_event_id is None:
        return None
    return Subject("calendar_event", calendar_event_uuid, calendar_event_id)


class NewRun(NamedTuple):
    """One event for one handler."""

    handler: str
    ordered: bool = True
    skipped: bool = False
    """Recorded as `skipped`, and never called."""


class Routing(NamedTuple):
    """The decision for one event: what it is about and who gets it."""

    seq: int
    source: str
    subject: Subject | None
    runs: tuple[NewRun, ...]
    words: str = ""
    """What the event is found by, separated by blanks."""
    number: int | None = None
    """`Unrouted.number`, for events whose states are stored with it."""
    verdict: str | None = None
    changes: tuple[NewChange, ...] = ()


class Decision(NamedTuple, Generic[T]):
    """What becomes of some events."""

    routings: Sequence[Routing]
    """One for each of them, in order."""
    states: Sequence[NewState]
    """What is known then of the calendar events that they are about."""
    told: T
    """What whoever asked for it wants to hear."""


class Routed(NamedTuple, Generic[T]):
    """What became of the events that waited."""

    events: int
    """How many there were."""
    told: T | None
    """What was decided; None if there were none."""
    claimed: list[Claimed]
    """Runs that are ours to execute at once."""


class Claimed(NamedTuple):
    """A run that is ours to execute; its attempt is counted already."""

    run_id: int
    handler: str
    attempt: int
    """Counts from 1, every call."""
    tries: int
    """The attempts that count against the policy, this one included; a handler may ask for one that does not.
    """
    seq: int
    event_id: str
    source: str
    origin: Origin
    event_type: str | None
    received_at_ms: int
    delivery_id: str | None
    body: bytes
    replay_id: int | None = None
    """The replay that asked for this run, if one did."""
    number: int | None = None
    """Of what it is about, for `history`."""
    verdict: str | None = None
    state: str | None = None
    """What is known of its calendar event, as JSON, if this is the last event about it."""
    changes: tuple[ChangeRecord, ...] = ()


class Finished(IntEnum):
    """What became of the report that an attempt has ended. False when the report came too late."""

    LATE = 0
    """The run is not in that attempt any more; nothing was changed."""
    RECORDED = 1
    CONFLICT = 2
    """A key that the attempt read has changed since: the run waits for another attempt, due at once."""


class StoredValue(NamedTuple):
    """What a handler's store holds under a key: JSON, and the run that wrote it. Both None for nothing."""

    value: str | None
    version: int | None


class NewMessage(NamedTuple):
    """One POST to another service, to be sent after its run is done."""

    url: str
    origin: str
    """Scheme, host and port: messages to one place share its fate."""
    headers: str
    """A JSON object."""
    body: bytes


class Effects(NamedTuple):
    """What an attempt wants to have happened, committed together with its run's `done`."""

    reads: tuple[tuple[str, int | None], ...] = ()
    """Keys that were read, with the version found; if one has changed since, nothing is committed."""
    writes: tuple[tuple[str, str | None], ...] = ()
    """New values as JSON; None deletes."""
    messages: tuple[NewMessage, ...] = ()


class Outcome(NamedTuple):
    """How one attempt ended, and the state its run goes to."""

    run_id: int
    attempt: int
    state: RunState
    started_at_ms: int
    finished_at_ms: int
    due_at_ms: int | None = None
    """When to try again; only with state `retrying`."""
    spends_try: bool = True
    error: str | None = None
    code_version: str | None = None
    """Which code the handler was: the beginning of a hash of its file."""
    effects: Effects | None = None
    """Only with state `done`."""


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message that is ours to send; its attempt is counted already."""

    message_id: int
    handler: str
    attempt: int
    url: str
    origin: str
    headers: str
    body: bytes
    idempotency_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOutcome:
    """How sending a message ended."""

    message_id: int
    attempt: int
    state: Literal["done", "retrying", "dead"]
    finished_at_ms: int
    due_at_ms: int | None = None
    status: int | None = None
    """The status of the answer, if there was one."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReconciliation:
    """A comparison with the vendor that begins."""

    source: str
    first_day: str
    last_day: str
    started_at_ms: int


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event that was missing."""

    event: NewEvent
    revision: int | None
    """That of the state it was found by; None if nothing was known. It is written if that still holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileBatch:
    """The next part of a comparison: what it found, and how far it has got with that."""

    reconciliation_id: int
    events: tuple[FoundEvent, ...]
    cursor: str
    requests: int
    compared: int
    finished_at_ms: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReplay:
    """Selected events for handlers once more."""

    selection: Selection
    target: str | None
    """The handler that gets them; None leaves it to the selection, or to who wants them."""
    total: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class ReplayItem:
    """An event to replay, and to whom if that is settled already."""

    event: Unrouted
    handlers: tuple[str, ...] | None
    number: int | None = None
    """Of what it is about, for `history`."""
    verdict: str | None = None
    changes: tuple[ChangeRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayBatch:
    """The next part of a replay: runs to make, and the cursor before and after."""

    replay_id: int
    from_seq: int
    last_seq: int
    routings: tuple[Routing, ...]
    filled: bool
    now_ms: int
