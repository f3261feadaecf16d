"""Sample events, typed as a handler gets them: of every webhook, and of everything that can change.

The rule easiest to break: the same call gives the same event, its id and times included, and another content
gives another id, as the log would.
"""

from __future__ import annotations

import copy
import difflib
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload
from uuid import NAMESPACE_URL, uuid5

from receiver.changes import fold
from receiver.events import (
    EVENT_TYPES,
    AnyCalendarEvent,
    AnyChange,
    AnyEvent,
    UnknownEvent,
    given,
    parse_event,
)
from receiver.samples import SAMPLE_TYPES, assign, sample_event, to_body
from receiver.told import told
from storage.calendar import ChangeRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

E = TypeVar("E", bound=AnyEvent)

ABSENT: Final[Any] = type("Absent", (), {"__repr__": lambda _: "ABSENT"})()
"""The value of a key that is to be missing: `sample(CalendarCreated, customer=ABSENT)`."""

FIRST: Final = datetime(2025, 5, 1, 10, 15, 30, tzinfo=UTC)
"""When the first sample happened; each further webhook of the list a minute after the one before."""

_SAME_TIME: Final = {"time_changed": ABSENT, "previous_start": ABSENT, "previous_end": ABSENT}

CHANGES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = MappingProxyType(
    {
        "created": ("calendar.created", {}),
        "rescheduled": ("calendar.updated", {}),
        "moved": ("calendar.updated", {**_SAME_TIME, "location": "Conference Room B"}),
        "conference_changed": (
            "calendar.updated",
            {**_SAME_TIME, "video_conference_url": "https://meet.google.com/xyz-wxyz-xyz"},
        ),
        "retitled": ("calendar.updated", {**_SAME_TIME, "title": "Contract Meeting"}),
        "kind_changed": ("calendar.updated", {**_SAME_TIME, "event_type": "video_call"}),
        "customer_changed": (
            "calendar.updated",
            {**_SAME_TIME, "customer": {"name": "Jane Smith", "email": "jane.smith@example.com"}},
        ),
        "agent_changed": ("calendar.updated", {**_SAME_TIME, "ai_agent": {"id": 43, "name": "Night Agent"}}),
        "confirmed": ("calendar.updated", {**_SAME_TIME, "status": "confirmed"}),
        "cancelled": ("calendar.cancelled", {}),
        "completed": ("calendar.completed", {}),
        "no_show": ("calendar.updated", {**_SAME_TIME, "status": "no_show"}),
        "status_changed": ("calendar.updated", {**_SAME_TIME, "status": "scheduled"}),
        "reminded": ("calendar.reminder", {}),
        "other_changed": ("calendar.updated", {**_SAME_TIME, "duration_minutes": 45}),
    }
)
"""By the name of a change: the webhook that tells it, and what its payload has different from the sample."""


@overload
def sample(kind: type[E], changes: Mapping[str, Any] | None = None, /, **more: Any) -> E: ...
@overload
def sample(kind: str, changes: Mapping[str, Any] | None = None, /, **more: Any) -> Any: ...
def sample(kind: type[AnyEvent] | str, changes: Mapping[str, Any] | None = None, /, **more: Any) -> Any:
    """One typed event: `sample(CalendarCreated, customer={"email": "ada@example.com"})`.

    Args:
        kind: An event class, such as `CalendarCreated` or `NoShow`, a webhook such as `calendar.created`, or
            one of `CHANGES` such as `no_show`, which is the webhook that tells it. What it changes is found
            by comparing with the sample's booking.
        changes: Keys inside the appointment or call, also by paths: `{"customer.email": "ada@example.com"}`.
        more: The same by keyword. A dict is merged into what is there, an empty one replaces it; a datetime
            is written as the vendor writes it; `ABSENT` leaves the key out. `timestamp`, `event_id`,
            `received_at`, `source`, `origin` and `delivery_id` are the event's own.

    Raises:
        ValueError: there is no such webhook or change, or a path leads nowhere.
    """
    given = {**(changes or {}), **more}
    envelope: dict[str, Any] = {
        key: given.pop(key)
        for key in ("event_id", "received_at", "source", "origin", "delivery_id")
        if key in given
    }
    body = to_body(payload(kind, given))
    event = parse_event(
        body,
        event_id=str(uuid5(NAMESPACE_URL, body.decode())),
        source="klen",
        received_at=FIRST,
    )
    received_at = (event.timestamp or FIRST) + timedelta(seconds=1)
    event = event.model_copy(update={"received_at": received_at, **envelope})
    if isinstance(event, AnyCalendarEvent):
        _compare(event, _booked(kind))
    return _as_change(kind, event) if isinstance(kind, type) and issubclass(kind, AnyChange) else event


def _booked(kind: type[AnyEvent] | str) -> dict[str, Any]:
    """What is known before it: the sample's booking, which a confirmation finds unconfirmed."""
    booked = sample_event("calendar.created", timestamp=FIRST)
    if "confirmed" in (kind, getattr(kind, "type_name", None)):
        assign(booked, "status", "scheduled")
    return booked


def _compare(event: AnyCalendarEvent, booked: dict[str, Any]) -> None:
    """Let the event know what it changes in what is known before it: nothing, if it is the booking."""
    later = told(event.raw, seq=2, body_sha256=b"", occurred_at_ms=60_000, received_at_ms=0)
    before = told(booked, seq=1, body_sha256=b"", occurred_at_ms=0, received_at_ms=0)
    if later is None or before is None:
        return
    known = None if later.event_type == "calendar.created" else fold(None, before)[0]
    state, _, changes = fold(known, later)
    event.know([ChangeRecord(*change) for change in changes], state.calendar_event())


def _as_change(kind: type[AnyChange], event: AnyEvent) -> AnyEvent:
    found = given([kind], event)
    if not found:
        raise ValueError(f"with these values nothing has changed that makes it a {kind.__name__}.")
    return found[0]


def samples() -> list[AnyEvent]:
    """One event of every webhook, in an order in which they could happen, and one of an unknown webhook."""
    kinds: list[type[AnyEvent]] = [*EVENT_TYPES.values(), UnknownEvent]
    return [sample(kind) for kind in kinds]


def payload(kind: type[AnyEvent] | str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The payload that `sample` reads, as the vendor would send it.

    Raises:
        ValueError: see `sample`.
    """
    event_type, usual = _meant(kind)
    if event_type == UnknownEvent.type_name:
        return {"event_type": "agent.created", "agent": {"id": 42}, "timestamp": _text(FIRST)} | dict(changes)
    event = sample_event(event_type, timestamp=FIRST + timedelta(minutes=SAMPLE_TYPES.index(event_type)))
    for path, value in (*usual.items(), *changes.items()):
        _change(event, "event_type" if path == "kind" else path, value)
    return event


def _meant(kind: type[AnyEvent] | str) -> tuple[str, Mapping[str, Any]]:
    name = kind if isinstance(kind, str) else kind.type_name
    if name in CHANGES:
        return CHANGES[name]
    if name in EVENT_TYPES or kind is UnknownEvent:
        return name, {}
    if not isinstance(kind, str):
        raise ValueError(f"{kind.__name__} stands for several webhooks; name one, such as CalendarCreated.")  # noqa: TRY004 -- the class is wrong, not its type
    known = [*EVENT_TYPES, *CHANGES]
    nearest = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(known)}."
    raise ValueError(f"there is no webhook or change {name!r}; {advice}")


def _change(event: dict[str, Any], path: str, value: Any) -> None:
    """Set, merge or leave out what is at a path inside the appointment or call."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            _change(event, f"{path}.{key}", part)
        return
    assign(event, path, _text(value) if isinstance(value, datetime) else copy.deepcopy(value))
    if value is ABSENT:
        *parents, name = path.split(".")
        table = event if path == "timestamp" else event["call" if "call" in event else "calendar_event"]
        for parent in parents:
            table = table[parent]
        del table[name]


def _text(moment: datetime) -> str:
    """An aware time as the vendor writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
