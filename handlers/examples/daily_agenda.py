"""Keep the agenda of every day, and post it to a chat channel whenever that day changes.

    [handlers.daily_agenda]
    url = "env:CHAT_WEBHOOK_URL"
    timezone = "Europe/Berlin"

Webhooks may come twice or late. For each appointment the store remembers the newest one, and whatever is not
newer changes nothing. Appointments of one day may be handled side by side; klenhook then runs the later one
again, so that none gets lost.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from receiver import CalendarCancelled, CalendarCreated, CalendarUpdated, Context, Settings, on


class AgendaSettings(Settings):
    """Which channel, and whose days."""

    url: str
    """The channel's incoming webhook. It is a secret, so it is best kept in a variable."""
    timezone: ZoneInfo = ZoneInfo("UTC")
    """Decides on which day an appointment is."""


@on(CalendarCreated, CalendarUpdated, CalendarCancelled)
async def daily_agenda(
    event: CalendarCreated | CalendarUpdated | CalendarCancelled, ctx: Context[AgendaSettings]
) -> None:
    """Move the appointment to its day, and post each day that looks different now."""
    appointment = event.calendar_event
    key = str(appointment.uuid or appointment.id)
    occurred = (event.timestamp or event.received_at).timestamp()
    known = await ctx.store.get(f"appointment:{key}", {"occurred": 0, "day": None})
    if appointment.start_time is None or occurred <= known["occurred"]:
        return
    start = appointment.start_time.astimezone(ctx.settings.timezone)
    today = None if appointment.status == "cancelled" else f"{start:%Y-%m-%d}"
    ctx.store.set(f"appointment:{key}", {"occurred": occurred, "day": today})
    for day in sorted({known["day"], today} - {None}):
        agenda = await ctx.store.get(f"day:{day}", {})
        before = dict(agenda)
        agenda.pop(key, None)
        if day == today:
            agenda[key] = f"{start:%H:%M} {appointment.title or 'Appointment'}"
        if agenda != before:
            ctx.store.set(f"day:{day}", agenda)
            lines = sorted(agenda.values()) or ["nothing"]
            ctx.outbox.post(ctx.settings.url, json={"text": "\n".join([day, *lines])})
