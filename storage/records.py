"""What goes into the log and what comes out of it, as plain frozen records.

They know rows, not calendars: a body is bytes, a handler is a name. Times are integers, milliseconds
since 1970 in UTC, named `..._ms`; only `received_at` of a row is ever compared with another clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from storage.calendar import ChangeRecord
    from storage.states import RunState
    from storage.tally import Histogram

Origin = Literal["webhook", "reconcile", "watchdog"]


class NewEvent(NamedTuple):
    """A verified body and the columns that one parse of it gave. Those may be None."""

    event_id: str
    source: str
    body: bytes
    body_sha256: bytes
    content_digest: bytes
    """8 bytes over the content apart from its timestamp."""
    delivery_digest: bytes | None
    """8 bytes over the delivery id; None without one."""
    received_at_ms: int
    origin: Origin = "webhook"
    delivery_id: str | None = None
    headers: str = "{}"
    """The allow-listed headers as a JSON object."""
    secret_fingerprint: str | None = None
    event_type: str | None = None
    calendar_event_uuid: str | None = None
    calendar_event_id: int | None = None
    call_id: str | None = None
    occurred_at_ms: int | None = None
    title: str | None = None
    status: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    flags: str | None = None
    """Names of what is odd about it, separated by blanks, such as `unknown_type`."""


class Appended(NamedTuple):
    """What became of a delivery: a new event, or one more delivery of an event the log has."""

    event_id: str
    """Empty for one more delivery of an event that was pruned."""
    duplicate: bool
    id_reused: bool = False
    """New content under a delivery id that an earlier event came with."""


class Taken(NamedTuple):
    """What became of a delivery that was read where the log is written, and what was read."""

    appended: Appended
    event_type: str | None
    flags: str | None


class Unreadable(NamedTuple):
    """What became of one whose body could not be read: it is in quarantine, if there was room."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A signed body that could not be read, kept in quarantine."""

    source: str
    body: bytes
    body_sha256: bytes
    received_at_ms: int
    reason: str
    delivery_id: str | None = None
    headers: str = "{}"
    secret_fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRecord:
    """One message, as `log show` tells it."""

    message_id: int
    handler: str
    url: str
    idempotency_key: str
    state: RunState
    attempts: int
    status: int | None
    error: str | None
    created_at: str
    due_at: str | None
    finished_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRecord:
    """One replay and how it stands."""

    replay_id: int
    created_at: str
    filled_at: str | None
    """When its last run was made; None while events are still to be added."""
    target: str | None
    selection: str
    total: int
    last_seq: int
    runs: dict[RunState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which events are meant: the filters of `log list`, `export` and `replay`. All of them together."""

    type_glob: str | None = None
    calendar_event: str | None = None
    """A uuid, or the vendor's number as text."""
    since_ms: int | None = None
    until_ms: int | None = None
    run_state: RunState | None = None
    handler: str | None = None
    verdict: str | None = None
    change: str | None = None
    source: str | None = None
    code_version: str | None = None
    """Events that this version of a handler's code was called for."""
    after_seq: int | None = None
    """Only events behind this one, oldest first. Without it: newest first."""
    words: tuple[tuple[str, ...], ...] = ()
    """Only routed events that have one word of every group. A `*` behind a word means all that begin so."""
    limit: int = 50
    """0 is all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """One event as `log list` shows it."""

    seq: int
    event_id: str
    source: str
    event_type: str | None
    calendar_event_uuid: str | None
    calendar_event_id: int | None
    occurred_at: str | None
    received_at: str
    delivery_id: str | None
    verdict: str | None
    changes: list[str]
    deliveries: int
    origin: Origin
    runs: dict[str, RunState]
    title: str | None
    status: str | None
    start_time: str | None
    end_time: str | None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """One accepted request: the one that brought the event, or a repetition of it."""

    delivery_id: str | None
    received_at: str
    outcome: Literal["accepted", "duplicate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One call of a handler."""

    attempt: int
    started_at: str | None
    """None when the process stopped or died before it could say."""
    finished_at: str
    outcome: str
    """The state its run went to; or `conflict`; or `stopped`, `lost`: ended with the process, ours or not."""
    error: str | None
    code_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One event for one handler, with its attempts."""

    run_id: int
    handler: str
    state: RunState
    attempt: int
    due_at: str | None
    replay_id: int | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDetail:
    """One event whole."""

    record: EventRecord
    body: bytes
    body_sha256: str
    headers: Mapping[str, str]
    secret_fingerprint: str | None
    deliveries: list[DeliveryRecord]
    runs: list[RunRecord]
    messages: list[MessageRecord]
    changes: list[ChangeRecord]
    number: int | None
    """Of what it is about, for `history`."""


@dataclass(frozen=True, slots=True)
class ReconciliationRecord:
    """One comparison with the vendor and how it stands."""

    reconciliation_id: int
    source: str
    started_at: str
    finished_at: str | None
    """None while it is under way, or if it was interrupted."""
    first_day: str
    last_day: str
    cursor: str | None
    """How far it has got."""
    requests: int
    compared: int
    found: int
    error: str | None
    """The kind of error that ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStats:
    """Numbers of a span of the log. Lists are sorted."""

    types: dict[str, int]
    verdicts: dict[str, int]
    changes: dict[str, int]
    handlers: dict[str, dict[RunState, int]]
    days: dict[str, int]
    """Events by the day they were received, in UTC."""
    lead_ms: list[int]
    """From booking to beginning."""
    notice_ms: list[int]
    """From cancelling to beginning."""
    reschedules: dict[int, int]
    """By how often it was moved, the number of calendar events."""
    delay_ms: list[int]
    """From happening, by the vendor's clock, to arriving here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRecord:
    """One signed body that could not be read."""

    id: int
    source: str
    received_at: str
    reason: str
    size: int
    body_sha256: str
    delivery_id: str | None
    state: Literal["kept", "released", "forgotten"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerBacklog:
    """How a handler stands: runs by state, and its last error."""

    handler: str
    runs: dict[RunState, int]
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has the log open to write it, by its own word. None where it says nothing."""

    pid: str | None
    note: str | None
    """What it announced."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it was written."""

    kind: Literal["file", "event", "quarantine", "state"]
    event_id: str | None
    """Of `event` and `state`: whose."""
    message: str
    """What is wrong. It quotes nothing of the content."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of the log that was made and checked."""

    events: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """The log as a whole, for `db status`."""

    path: str
    version: int
    events: int
    last_seq: int
    unrouted: int
    runs: dict[RunState, int]
    quarantined: int
    size_bytes: int
    wal_bytes: int
    sqlite_version: str
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogVitals:
    """How the log is doing now. Cheap to ask for, whatever is in the log."""

    unrouted: int
    """Events that wait for their routing."""
    unrouted_since_ms: int | None
    """When the oldest of them was received."""
    due_since_ms: Mapping[str, int]
    """When the oldest waiting live run of each handler may have been claimed, or will be."""
    queue_rows: int
    queue_bytes: int
    """What waits to be written."""
    batch_rows: Histogram
    sync_seconds: Histogram
    """How many changes were committed together, and what committing took."""
    size_bytes: int
    wal_bytes: int
    free_bytes: int
    free_inodes: int | None
    """None where the file system does not count them."""
