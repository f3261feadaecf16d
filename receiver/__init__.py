"""What the author of a plugin imports: `from receiver import CalendarCreated, on`.

Each name is loaded when it is first asked for, so that `klenhook --help` and the modules below stay quick to
import. The rule easiest to break: a name is in all three places here, and nowhere else is public.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from receiver.events import (
        AgentChanged,
        AnyChange,
        AnyEvent,
        CalendarCancelled,
        CalendarCompleted,
        CalendarCreated,
        CalendarReminder,
        CalendarUpdated,
        CallEnded,
        CallFailed,
        CallRecording,
        CallStarted,
        CallSummary,
        CallTranscript,
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
        Overdue,
        Rescheduled,
        Retitled,
        StatusChanged,
        UnknownEvent,
    )
    from receiver.klen.errors import KlenError
    from receiver.plugins.api import on
    from receiver.plugins.context import Context
    from receiver.plugins.settings import Settings
    from receiver.retry import Discard, Retry, RetryPolicy

__all__ = [
    "AgentChanged",
    "AnyChange",
    "AnyEvent",
    "CalendarCancelled",
    "CalendarCompleted",
    "CalendarCreated",
    "CalendarReminder",
    "CalendarUpdated",
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
    "Context",
    "CustomerChanged",
    "Discard",
    "KindChanged",
    "KlenError",
    "Moved",
    "NoShow",
    "OtherChanged",
    "Overdue",
    "Rescheduled",
    "Retitled",
    "Retry",
    "RetryPolicy",
    "Settings",
    "StatusChanged",
    "UnknownEvent",
    "on",
]

_HOMES: Final = {
    "Context": "receiver.plugins.context",
    "Discard": "receiver.retry",
    "KlenError": "receiver.klen.errors",
    "Retry": "receiver.retry",
    "RetryPolicy": "receiver.retry",
    "Settings": "receiver.plugins.settings",
    "on": "receiver.plugins.api",
}
"""Where a name is defined. The others are events."""

if not TYPE_CHECKING:  # a checker that saw this would believe in every name

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES.get(name, "receiver.events")), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
