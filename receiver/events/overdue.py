"""An event that did not come, as an event: the one that klenhook makes itself."""

from __future__ import annotations

from typing import ClassVar

from receiver.events.base import Instant, Text  # noqa: TC001 -- pydantic reads the annotations
from receiver.events.calendar import AnyCalendarEvent
from receiver.shapes import OVERDUE

__all__ = ["Overdue"]


class Overdue(AnyCalendarEvent):
    """A webhook was due, by what is known of the appointment, and did not come; `origin` is `watchdog`."""

    type_name: ClassVar[str] = OVERDUE

    expected: Text = None
    """The webhook: `calendar.completed` or `calendar.reminder`."""
    due_at: Instant = None
    """When it should have been made, in UTC."""
