"""Tell a chat channel when an appointment gets another time.

    [handlers.reschedule_alert]
    url = "env:CHAT_WEBHOOK_URL"
    timezone = "Europe/Berlin"

Works with every chat that takes `{"text": "..."}` at an incoming-webhook address (Slack, Mattermost, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from receiver import CalendarUpdated, Context, Settings, on

if TYPE_CHECKING:
    from datetime import datetime


class AlertSettings(Settings):
    """Which channel."""

    url: str
    """The channel's incoming webhook. It is a secret, so it is best kept in a variable."""
    timezone: ZoneInfo = ZoneInfo("UTC")
    """For the times in the message."""


def has_new_time(event: CalendarUpdated) -> bool:
    """Whether start or end changed."""
    return event.calendar_event.time_changed is True


@on(CalendarUpdated, where=has_new_time)
async def reschedule_alert(event: CalendarUpdated, ctx: Context[AlertSettings]) -> None:
    """Post the old and the new time."""
    appointment = event.calendar_event

    def shown(moment: datetime | None) -> str:
        return f"{moment.astimezone(ctx.settings.timezone):%a %d %b, %H:%M}" if moment else "an unknown time"

    what = f"{appointment.title or 'An appointment'} with {appointment.customer.name or 'a customer'}"
    times = f"{shown(appointment.start_time)} instead of {shown(appointment.previous_start)}"
    ctx.outbox.post(ctx.settings.url, json={"text": f"{what}: {times}"})
