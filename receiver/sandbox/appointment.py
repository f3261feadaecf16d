"""An appointment at the vendor, and the three ways in which the vendor shows it.

https://docs.klen.ai/api-reference/calendar/get-events (14 keys), .../get-event-details (25 keys) and
https://docs.klen.ai/api-reference/webhooks/calendar-events (15 keys). The rule easiest to break: `ai_agent`
and `team` are left out when there is none, as in the vendor's second example; everything else is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

KINDS: Final = {
    "meeting": "Meeting",
    "appointment": "Appointment",
    "busy": "Busy",
    "voice_call": "Voice Call",
    "video_call": "Video Call",
}
STATUSES: Final = {
    "scheduled": "Scheduled",
    "confirmed": "Confirmed",
    "cancelled": "Cancelled",
    "completed": "Completed",
    "no_show": "No Show",
}
OPEN_STATUSES: Final = frozenset({"scheduled", "confirmed"})
"""Those of an appointment that is still to take place."""


@dataclass(frozen=True, slots=True)
class Agent:
    """An AI agent of the account."""

    id: int
    name: str
    assistant_id: str


@dataclass(frozen=True, slots=True)
class Team:
    """A team of the account."""

    id: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointment:
    """A calendar event, with the vendor's names but for its kind."""

    id: int
    uuid: str
    title: str
    start_time: datetime
    end_time: datetime
    created_at: datetime
    updated_at: datetime
    description: str | None = None
    kind: str = "meeting"
    status: str = "scheduled"
    location: str | None = None
    customer_name: str | None = None
    customer_email: str | None = None
    customer_phone: str | None = None
    customer_notes: str | None = None
    has_video_conference: bool = False
    video_conference_url: str | None = None
    video_conference_provider: str | None = None
    is_reminder_enabled: bool = True
    remind_before_minutes: int = 60
    ai_agent: Agent | None = None
    team: Team | None = None
    created_by_ai_agent: bool = False
    sync_external_calendars: bool = True
    send_notifications: bool = True
    reminder_due: datetime | None = None
    """When the reminder is to be sent; None when it was, or never will be."""
    completion_due: datetime | None = None
    """When it will count as completed if nobody says otherwise."""

    @property
    def is_open(self) -> bool:
        """Whether it is still to take place."""
        return self.status in OPEN_STATUSES

    @property
    def ics_url(self) -> str:
        """Path of its calendar file."""
        return f"/calendar/event/{self.uuid}/calendar.ics"

    def brief(self) -> dict[str, Any]:
        """What an answer to a change begins with."""
        return {
            "id": self.id,
            "uuid": self.uuid,
            "title": self.title,
            "start_time": text_of(self.start_time),
            "end_time": text_of(self.end_time),
            "status": self.status,
        }

    def listed(self) -> dict[str, Any]:
        """An element of the list of events."""
        return {
            "id": self.id,
            "uuid": self.uuid,
            "title": self.title,
            "event_type": self.kind,
            "status": self.status,
            "start_time": text_of(self.start_time),
            "end_time": text_of(self.end_time),
            "duration_minutes": (self.end_time - self.start_time) // timedelta(minutes=1),
            "location": self.location,
            "has_video_conference": self.has_video_conference,
            "video_conference_url": self.video_conference_url,
            "created_by_ai_agent": self.created_by_ai_agent,
            **self._agent(),
            "customer": self._customer(),
        }

    def in_webhook(self) -> dict[str, Any]:
        """The object `calendar_event` of a webhook."""
        return {**self.listed(), "ics_url": self.ics_url}

    def detailed(self) -> dict[str, Any]:
        """The answer to a request for this event alone."""
        listed = self.listed()
        head = {key: listed[key] for key in ("id", "uuid", "title")}
        middle = {
            key: listed[key]
            for key in (
                "start_time",
                "end_time",
                "duration_minutes",
                "location",
                "has_video_conference",
                "video_conference_url",
            )
        }
        return {
            **head,
            "description": self.description,
            "event_type": self.kind,
            "event_type_display": KINDS[self.kind],
            "status": self.status,
            "status_display": STATUSES[self.status],
            **middle,
            "video_conference_provider": self.video_conference_provider,
            "created_by_ai_agent": self.created_by_ai_agent,
            "is_reminder_enabled": self.is_reminder_enabled,
            "remind_before_minutes": self.remind_before_minutes,
            "created_at": text_of(self.created_at),
            "updated_at": text_of(self.updated_at),
            "customer": {**self._customer(), "notes": self.customer_notes},
            **self._agent(),
            **({"team": {"id": self.team.id, "name": self.team.name}} if self.team else {}),
            "external_calendars": self._external_calendars(),
            "ics_url": self.ics_url,
        }

    def _agent(self) -> dict[str, Any]:
        agent = self.ai_agent
        if agent is None:
            return {}
        return {"ai_agent": {"id": agent.id, "name": agent.name, "assistant_id": agent.assistant_id}}

    def _customer(self) -> dict[str, Any]:
        return {"name": self.customer_name, "email": self.customer_email, "phone": self.customer_phone}

    def _external_calendars(self) -> dict[str, str]:
        """The account has a Google and an Outlook calendar, as in the vendor's example."""
        if not self.sync_external_calendars:
            return {}
        return {"google": f"google_event_id_{self.id}", "outlook": f"outlook_event_id_{self.id}"}


def text_of(moment: datetime) -> str:
    """A time as the vendor writes it: `2025-05-01T14:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
