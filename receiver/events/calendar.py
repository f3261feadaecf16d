"""The five calendar webhooks as typed events.

https://docs.klen.ai/api-reference/webhooks/calendar-events

Every attribute but `id` or `uuid` may be None: the vendor requires little and marks nothing as nullable,
yet sends nulls. The rule easiest to break: the outer `event_type` names the webhook, the inner one the kind
of appointment, which is therefore the attribute `kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeAlias

from pydantic import BeforeValidator, Field, PrivateAttr

from receiver.events.base import AnyEvent, Boolean, Identifier, Instant, Integer, Model, Text, Uuid, nested
from storage.calendar import ChangeRecord  # noqa: TC001 -- pydantic evaluates annotations

__all__ = [
    "AIAgent",
    "AnyCalendarEvent",
    "CalendarCancelled",
    "CalendarCompleted",
    "CalendarCreated",
    "CalendarEvent",
    "CalendarReminder",
    "CalendarUpdated",
    "Customer",
    "Known",
]


class AIAgent(Model):
    """The AI agent that booked."""

    id: Identifier = None
    """The vendor's number of the agent."""
    name: Text = None
    """Its name, such as "Meeting Scheduler"."""
    assistant_id: Text = None
    """Its id at the voice platform, such as `asst_01234567890`."""


class Customer(Model):
    """Who the appointment is with. Any of it may be missing."""

    name: Text = None
    """Full name."""
    email: Text = None
    """E-mail address, unchecked."""
    phone: Text = None
    """Phone number, usually like `+15551234567`, unchecked."""


class CalendarEvent(Model):
    """An appointment as the webhook shows it. At least one of `id` and `uuid` is there."""

    id: Integer = None
    """The vendor's number of the calendar event."""
    uuid: Uuid = None
    """The vendor's UUID of the calendar event, in lower case: the better key of the two."""
    title: Text = None
    """What people see in the calendar."""
    kind: Text = Field(default=None, alias="event_type")
    """`meeting`, `appointment`, `busy`, `voice_call`, `video_call`, or what the vendor adds."""
    status: Text = None
    """`scheduled`, `confirmed`, `cancelled`, `completed`, `no_show`, or what the vendor adds."""
    start_time: Instant = None
    """Beginning, in UTC."""
    end_time: Instant = None
    """End, in UTC."""
    duration_minutes: Integer = None
    """Minutes, as the vendor counts them."""
    location: Text = None
    """Where, in words."""
    has_video_conference: Boolean = None
    """Whether there is a conference to join."""
    video_conference_url: Text = None
    """Address of the conference. From outside: do not fetch it unasked."""
    created_by_ai_agent: Boolean = None
    """Whether an AI agent booked it."""
    ai_agent: Annotated[AIAgent | None, BeforeValidator(nested)] = None
    """The agent that booked it, else None."""
    customer: Annotated[Customer, BeforeValidator(lambda value: nested(value) or {})] = Customer()
    """Who it is with. Always there; its attributes are None when the payload has no customer."""
    ics_url: Text = None
    """Path of the calendar file, relative to a host that the vendor does not name."""
    time_changed: Boolean = None
    """In `calendar.updated`: whether start or end changed."""
    previous_start: Instant = None
    """In `calendar.updated`: the beginning before the change, in UTC."""
    previous_end: Instant = None
    """In `calendar.updated`: the end before the change, in UTC."""
    reason: Text = None
    """In `calendar.cancelled`: why, in the words of who cancelled."""


Known: TypeAlias = Mapping[str, Any] | Callable[[], Mapping[str, Any] | None] | None
"""The fields of a calendar event, or what reads them."""


class AnyCalendarEvent(AnyEvent):
    """Any of the five calendar webhooks."""

    calendar_event: Annotated[CalendarEvent, BeforeValidator(nested)]
    """The appointment as the webhook tells it, after what happened."""

    _changes: tuple[ChangeRecord, ...] = PrivateAttr(default=())
    _known: Known = PrivateAttr(default=None)

    @property
    def changes(self) -> tuple[ChangeRecord, ...]:
        """What it changed in what was known: each with `name`, `before`, `after` and `reason`."""
        return self._changes

    @property
    def state(self) -> CalendarEvent:
        """The appointment by everything that was known when this event had come, whichever event told it.

        Read from the log when it is asked for; without a log, as in a test, it is `calendar_event`.
        """
        if callable(self._known):
            self._known = self._known()
        return self.calendar_event if self._known is None else CalendarEvent.model_validate(self._known)

    @property
    def known(self) -> Known:
        """What `state` is made of."""
        return self._known

    def know(self, changes: Iterable[ChangeRecord], known: Known) -> None:
        """Take what routing has found of this event: what it changed, and the state, or what reads it."""
        self._changes, self._known = tuple(changes), known


class CalendarCreated(AnyCalendarEvent):
    """An appointment was booked."""

    type_name: ClassVar[str] = "calendar.created"


class CalendarUpdated(AnyCalendarEvent):
    """An appointment was changed; `calendar_event` has `time_changed` and the previous times if those did."""

    type_name: ClassVar[str] = "calendar.updated"


class CalendarCancelled(AnyCalendarEvent):
    """An appointment was cancelled; `calendar_event.reason` may say why."""

    type_name: ClassVar[str] = "calendar.cancelled"


class CalendarCompleted(AnyCalendarEvent):
    """An appointment took place."""

    type_name: ClassVar[str] = "calendar.completed"


class CalendarReminder(AnyCalendarEvent):
    """A reminder of an appointment was sent."""

    type_name: ClassVar[str] = "calendar.reminder"
