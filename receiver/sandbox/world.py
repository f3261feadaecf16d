"""The account at the vendor: its appointments, and what happens when one is booked, changed or cancelled.

Pure: no I/O, and the times are passed in; the same calls on the same seed give the same world, UUIDs
included. The rule easiest to break: whatever changes an appointment tells it as a `Happening`, since that is
what webhooks are made of.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from receiver.sandbox.appointment import Agent, Appointment, Team, text_of
from receiver.sandbox.drawn import drawn_uuid
from receiver.sandbox.errors import agent_not_found, invalid_time_range, team_not_found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FIRST_ID: Final = 123
"""The first appointment has the id of the vendor's examples."""

AGENTS: Final = (Agent(42, "Meeting Scheduler", "asst_01234567890"),)
TEAMS: Final = (Team(5, "Sales Team"),)

ANNOUNCED: Final = {"cancelled": "calendar.cancelled", "completed": "calendar.completed"}
"""Statuses with a webhook of their own. `no_show` has none, so it is an update."""

KEPT_BY_PUT: Final = frozenset({"status", "created_by_ai_agent", "reminder_due", "completion_due"})
"""What a full update leaves as it was when it says nothing about it, besides what has no default."""

TICK: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to an appointment, as a webhook tells it."""

    event_type: str
    appointment: Appointment
    """As it is afterwards."""
    at: datetime
    extras: Mapping[str, Any] = field(default_factory=dict)
    """What this webhook says besides."""

    def payload(self) -> dict[str, Any]:
        """The webhook's body."""
        return {
            "event_type": self.event_type,
            "calendar_event": {**self.appointment.in_webhook(), **self.extras},
            "timestamp": text_of(self.at),
        }


class World:
    """One account. Appointments are replaced, never changed in place."""

    def __init__(self, seed: int, *, appointments: Iterable[Appointment] = ()) -> None:
        """`seed` is what the UUIDs are drawn from; `appointments` are those of an earlier run."""
        self._seed = seed
        self._by_id: dict[int, Appointment] = {}
        self._ids: dict[str, int] = {}
        self._due: list[tuple[datetime, int, str]] = []
        self._last = datetime.min.replace(tzinfo=UTC)
        self._agents = {agent.id: agent for agent in AGENTS}
        self._teams = {team.id: team for team in TEAMS}
        for appointment in appointments:
            self._put(appointment)
            self._last = max(self._last, appointment.updated_at)
        self._numbers = itertools.count(max(self._by_id, default=FIRST_ID - 1) + 1)

    def __iter__(self) -> Iterator[Appointment]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, event_id: str) -> Appointment | None:
        """By the vendor's number or UUID."""
        if event_id.isascii() and event_id.isdigit() and len(event_id) <= 18:  # noqa: PLR2004 -- digits of an id
            return self._by_id.get(int(event_id))
        return self._by_id.get(self._ids.get(event_id.lower(), 0))

    def between(self, first: date, last: date, status: str | None = None) -> list[Appointment]:
        """Those that start on these days in UTC, both included, by time."""
        begin = datetime.combine(first, time(), UTC)
        end = datetime.combine(last, time.max, UTC)
        found = [
            one for one in self if begin <= one.start_time <= end and (status is None or one.status == status)
        ]
        return sorted(found, key=lambda one: (one.start_time, one.id))

    def draft(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What `create` needs, checked, from the fields of `fields.read_new`.

        Raises:
            APIError: the times are the wrong way round, or the agent or team does not exist.
        """
        draft = self._resolve(given)
        _check_times(draft["start_time"], draft["end_time"])
        return draft

    def create(self, draft: Mapping[str, Any], *, now: datetime, callers_now: datetime) -> Happening:
        """Book an appointment."""
        at, number = self._moment(now), next(self._numbers)
        uuid = drawn_uuid(self._seed, "appointment", number)
        appointment = Appointment(id=number, uuid=uuid, created_at=at, updated_at=at, **draft)
        return self._happened("calendar.created", _planned(appointment, callers_now), at)

    def update(
        self,
        old: Appointment,
        given: Mapping[str, Any],
        *,
        now: datetime,
        callers_now: datetime,
        whole: bool = False,
    ) -> Happening:
        """Change an appointment with fields from `fields.read_changes`; `whole` resets what is not given.

        Raises:
            APIError: see `draft`.
        """
        changes = ({} if not whole else _defaults()) | self._resolve(given)
        new = replace(old, **changes)
        _check_times(new.start_time, new.end_time)
        at = self._moment(now)
        new = replace(new, updated_at=at)
        extras: dict[str, Any] = {}
        if (old.start_time, old.end_time) != (new.start_time, new.end_time):
            extras = {
                "time_changed": True,
                "previous_start": text_of(old.start_time),
                "previous_end": text_of(old.end_time),
            }
        if _plan(old) != _plan(new):
            new = _planned(new, callers_now)
        event_type = ANNOUNCED.get(new.status) if new.status != old.status else None
        return self._happened(event_type or "calendar.updated", new, at, extras)

    def cancel(self, old: Appointment, reason: str | None, *, now: datetime) -> Happening | None:
        """Cancel an appointment; None if it was cancelled already."""
        if old.status == "cancelled":
            return None
        at = self._moment(now)
        notes = old.customer_notes
        if reason:
            notes = "\n".join(filter(None, (notes, f"Cancellation reason: {reason}")))
        new = replace(old, status="cancelled", customer_notes=notes, updated_at=at)
        return self._happened("calendar.cancelled", new, at, {"reason": reason} if reason else {})

    def next_due(self) -> datetime | None:
        """When the next reminder or completion is due."""
        while self._due and not self._is_due(*self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def fall_due(self, *, now: datetime) -> Happening | None:
        """Send the next reminder, or complete the next appointment, if its time has come."""
        due = self.next_due()
        if due is None or due > now:
            return None
        _, number, event_type = heapq.heappop(self._due)
        old, at = self._by_id[number], self._moment(now)
        if event_type == "calendar.reminder":
            return self._happened(event_type, replace(old, reminder_due=None), at)
        new = replace(old, status="completed", completion_due=None, reminder_due=None, updated_at=at)
        return self._happened(event_type, new, at)

    def _is_due(self, moment: datetime, number: int, event_type: str) -> bool:
        """Whether that is still planned."""
        one = self._by_id[number]
        planned = one.reminder_due if event_type == "calendar.reminder" else one.completion_due
        return one.is_open and planned == moment

    def _happened(
        self, event_type: str, appointment: Appointment, at: datetime, extras: Mapping[str, Any] | None = None
    ) -> Happening:
        self._put(appointment)
        return Happening(event_type, appointment, at, extras or {})

    def _put(self, appointment: Appointment) -> None:
        self._by_id[appointment.id] = appointment
        self._ids[appointment.uuid] = appointment.id
        for moment, event_type in (
            (appointment.reminder_due, "calendar.reminder"),
            (appointment.completion_due, "calendar.completed"),
        ):
            if moment and appointment.is_open:
                heapq.heappush(self._due, (moment, appointment.id, event_type))

    def _moment(self, now: datetime) -> datetime:
        """Now, or just after what happened last: no two webhooks have the same timestamp."""
        self._last = max(now, self._last + TICK)
        return self._last

    def _resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The ids of agent and team become those."""
        resolved = dict(given)
        if "ai_agent_id" in resolved:
            number = resolved.pop("ai_agent_id")
            resolved["ai_agent"] = None if number is None else self._agents.get(number)
            if number is not None and resolved["ai_agent"] is None:
                raise agent_not_found()
        if "team_id" in resolved:
            number = resolved.pop("team_id")
            resolved["team"] = None if number is None else self._teams.get(number)
            if number is not None and resolved["team"] is None:
                raise team_not_found()
        return resolved


def _check_times(start: datetime, end: datetime) -> None:
    if end <= start:
        raise invalid_time_range()


def _defaults() -> dict[str, Any]:
    return {
        one.name: one.default
        for one in fields(Appointment)
        if one.default is not MISSING and one.name not in KEPT_BY_PUT
    }


def _plan(one: Appointment) -> tuple[Any, ...]:
    return (
        one.start_time,
        one.end_time,
        one.is_open,
        one.is_reminder_enabled,
        one.remind_before_minutes,
    )


def _planned(one: Appointment, callers_now: datetime) -> Appointment:
    """With its reminder and its completion ahead. What is past already, for the caller, never falls due."""
    try:
        reminder = one.start_time - timedelta(minutes=one.remind_before_minutes)
    except OverflowError:
        reminder = datetime.min.replace(tzinfo=UTC)
    return replace(
        one,
        reminder_due=reminder if one.is_reminder_enabled and reminder > callers_now else None,
        completion_due=one.end_time if one.end_time > callers_now else None,
    )
