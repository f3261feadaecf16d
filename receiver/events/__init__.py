"""The vendor's webhooks as typed events.

Everything here is pure: a body or a parsed value in, a frozen value out. Bodies are typed when they are
read, not when they are stored, so a change at the vendor never needs a change of rows.
"""

from __future__ import annotations

from receiver.events.base import AnyEvent, UnknownEvent
from receiver.events.calendar import (
    AIAgent,
    AnyCalendarEvent,
    CalendarCancelled,
    CalendarCompleted,
    CalendarCreated,
    CalendarEvent,
    CalendarReminder,
    CalendarUpdated,
    Customer,
)
from receiver.events.calls import (
    AnyCall,
    Call,
    CallEnded,
    CallFailed,
    CallRecording,
    CallStarted,
    CallSummary,
    CallTranscript,
    Contact,
)
from receiver.events.changed import (
    AgentChanged,
    AnyChange,
    Cancelled,
    Changed,
    Completed,
    ConferenceChanged,
    Confirmed,
    CustomerChanged,
    KindChanged,
    Moved,
    NoShow,
    OtherChanged,
    Rescheduled,
    Retitled,
    StatusChanged,
    given,
)
from receiver.events.overdue import Overdue
from receiver.events.parse import EVENT_TYPES, event_class, event_class_of, parse_event

__all__ = [
    "EVENT_TYPES",
    "AIAgent",
    "AgentChanged",
    "AnyCalendarEvent",
    "AnyCall",
    "AnyChange",
    "AnyEvent",
    "CalendarCancelled",
    "CalendarCompleted",
    "CalendarCreated",
    "CalendarEvent",
    "CalendarReminder",
    "CalendarUpdated",
    "Call",
    "CallEnded",
    "CallFailed",
    "CallRecording",
    "CallStarted",
    "CallSummary",
    "CallTranscript",
    "Cancelled",
    "Changed",
    "Completed",
    "ConferenceChanged",
    "Confirmed",
    "Contact",
    "Customer",
    "CustomerChanged",
    "KindChanged",
    "Moved",
    "NoShow",
    "OtherChanged",
    "Overdue",
    "Rescheduled",
    "Retitled",
    "StatusChanged",
    "UnknownEvent",
    "event_class",
    "event_class_of",
    "given",
    "parse_event",
]
