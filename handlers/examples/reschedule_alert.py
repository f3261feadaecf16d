"""Tell a chat channel when an appointment gets another time.

    [handlers.reschedule_alert]
    url = "env:CHAT_WEBHOOK_URL"
    timezone = "Europe/Berlin"

Works with every chat that takes `{"text": "..."}` at an incoming-webhook address (Slack, Mattermost, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from receiver import Context, Rescheduled, Settings, on

if TYPE_CHECKING:
    from datetime import datetime


class AlertSettings(Settings):
    """Which channel."""

    url: str
    """The channel's incoming webhook. It is a secret, so it is best kept in a variable."""
    timezone: ZoneInfo = ZoneInfo("UTC")
    """For the times in the message."""


@on(Rescheduled)
async def reschedule_alert(event: Rescheduled, ctx: Context[AlertSettings]) -> None:
    """Post the old and the new time."""
    appointment = event.state

    def shown(moment: datetime | None) -> str:
        return f"{moment.astimezone(ctx.settings.timezone):%a %d %b, %H:%M}" if moment else "an unknown time"

    what = f"{appointment.title or 'An appointment'} with {appointment.customer.name or 'a customer'}"
    times = f"{shown(event.after.start_time)} instead of {shown(event.before.start_time)}"
    ctx.outbox.post(ctx.settings.url, json={"text": f"{what}: {times}"})
