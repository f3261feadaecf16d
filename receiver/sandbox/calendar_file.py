"""An appointment as a calendar file, for `GET /calendar/event/{uuid}/calendar.ics`.

The rule easiest to break: its UID is the UUID, so that a calendar takes a later file for the same entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from icalendar import Calendar, Event

if TYPE_CHECKING:
    from receiver.sandbox.appointment import Appointment

STATUSES: Final = {"scheduled": "TENTATIVE", "cancelled": "CANCELLED"}
"""https://www.rfc-editor.org/rfc/rfc5545#section-3.8.1.11; every other status is CONFIRMED."""


def calendar_file(appointment: Appointment) -> bytes:
    """One VEVENT (RFC 5545)."""
    entry = Event()
    entry.add("uid", appointment.uuid)
    entry.add("dtstamp", appointment.updated_at)
    entry.add("dtstart", appointment.start_time)
    entry.add("dtend", appointment.end_time)
    entry.add("summary", appointment.title)
    for name, text in (("description", appointment.description), ("location", appointment.location)):
        if text:
            entry.add(name, text)
    entry.add("status", STATUSES.get(appointment.status, "CONFIRMED"))
    calendar = Calendar()
    calendar.add("prodid", "-//klenhook//sandbox//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add_component(entry)
    data: bytes = calendar.to_ical()
    return data
