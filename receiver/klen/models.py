"""What Klen's API answers with, typed as webhooks are: nothing is required, and unknown keys are kept.

https://docs.klen.ai/api-reference/calendar/overview. The rule easiest to break: values are read by the
functions that events are read by, so that the same appointment looks the same from both sides.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from receiver.events.base import Boolean, Identifier, Instant, Integer, Model, Text, Uuid, nested
from receiver.events.calendar import CalendarEvent

__all__ = ["Availability", "EventDetails", "EventPage", "Made", "Slot", "Team", "Webhook"]


def _models(value: object) -> list[Any]:
    """The objects of a list; whatever else is in it is passed over."""
    return [found for item in value if (found := nested(item)) is not None] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


class Team(Model):
    """A team."""

    id: Integer = None
    """The vendor's number of the team."""
    name: Text = None
    """What people call it."""


class EventDetails(CalendarEvent):
    """A calendar event as the vendor has it: the list gives part of it, the event's own address all.

    https://docs.klen.ai/api-reference/calendar/get-event-details
    """

    description: Text = None
    """What it is about."""
    event_type_display: Text = None
    """The kind in words."""
    status_display: Text = None
    """The status in words."""
    video_conference_provider: Text = None
    """Such as `Zoom`."""
    is_reminder_enabled: Boolean = None
    """Whether a reminder is sent."""
    remind_before_minutes: Integer = None
    """How long before the beginning, in minutes."""
    created_at: Instant = None
    """When it was booked, in UTC."""
    updated_at: Instant = None
    """When it was last changed, in UTC."""
    team: Annotated[Team | None, BeforeValidator(nested)] = None
    """Whose it is."""
    raw: Any = Field(default=None, repr=False)
    """The answer's object as it came."""


class EventPage(Model):
    """One page of a list.

    https://docs.klen.ai/api-reference/calendar/get-events
    """

    count: Integer = None
    """How many events there are on all pages."""
    page: Integer = None
    """Which page it is, from 1."""
    pages: Integer = None
    """How many there are."""
    events: Annotated[list[EventDetails], BeforeValidator(_models)] = Field(default_factory=list)
    """The events on it."""


class Made(Model):
    """What creating, updating and cancelling answer.

    https://docs.klen.ai/api-reference/calendar/create-event
    """

    id: Integer = None
    """The vendor's number of the calendar event."""
    uuid: Uuid = None
    """Its UUID."""
    title: Text = None
    """What people see in the calendar."""
    start_time: Instant = None
    """Beginning, in UTC."""
    end_time: Instant = None
    """End, in UTC."""
    status: Text = None
    """As in `CalendarEvent`."""
    ics_url: Text = None
    """Path of the calendar file; after creating only."""
    message: Text = None
    """The vendor's sentence for people."""


class Slot(Model):
    """A time that is free."""

    start: Instant = None
    """Beginning, in UTC."""
    end: Instant = None
    """End, in UTC."""
    duration_minutes: Integer = None
    """Its length in minutes."""


class Availability(Model):
    """When an appointment can be.

    https://docs.klen.ai/api-reference/calendar/get-availability
    """

    user_id: Integer = None
    """Whose calendar it is."""
    start_date: Text = None
    """The first day that was looked at."""
    end_date: Text = None
    """The last one."""
    duration_minutes: Integer = None
    """The length that was asked for."""
    available_slots: Annotated[list[Slot], BeforeValidator(_models)] = Field(default_factory=list)
    """The free times."""
    count: Integer = None
    """How many there are."""


class Webhook(Model):
    """A registered webhook. The vendor's pages do not show its shape, so everything may be missing.

    https://docs.klen.ai/api-reference/webhooks/overview
    """

    id: Identifier = None
    """What `delete` takes."""
    name: Text = None
    """What it was called when it was made."""
    url: Text = None
    """Where deliveries go."""
    subscribed_events: Annotated[list[str], BeforeValidator(_texts)] = Field(default_factory=list)
    """Names of the webhooks it gets."""
