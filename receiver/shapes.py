"""Which webhooks there are, and when a body has the shape of one. Pure, and light to import.

The rule easiest to break: the type's name alone does not decide. A known name on a shape that cannot be read
(a calendar webhook that does not say which calendar event) is unknown, never an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from receiver import reading

if TYPE_CHECKING:
    from receiver.jsonbody import JSON

__all__ = ["KNOWN", "MAX_EVENT_TYPE", "OVERDUE", "is_known", "readable_as"]

KNOWN: Final = (
    *(f"calendar.{name}" for name in ("created", "updated", "cancelled", "completed", "reminder")),
    *(f"call.{name}" for name in ("started", "ended", "failed", "transcript", "recording", "summary")),
)
"""The vendor's names of its webhooks (https://docs.klen.ai/api-reference/webhooks/overview)."""
OVERDUE: Final = "klenhook.overdue"
"""The one that klenhook makes itself."""
MAX_EVENT_TYPE: Final = 100
"""Characters of a type's name that are kept; the vendor's longest has 18."""
_NAMES: Final = frozenset({*KNOWN, OVERDUE})


def is_known(event_type: str) -> bool:
    """Whether events of this type have a class of their own."""
    return event_type in _NAMES


def readable_as(value: JSON) -> str | None:
    """The type that a parsed body names and has the shape of, known or not; None if there is none."""
    event_type = value.get("event_type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(event_type, str):
        return None
    if event_type.startswith(("calendar.", OVERDUE)) and not _identifies(value.get("calendar_event")):
        return None
    return event_type


def _identifies(calendar_event: object) -> bool:
    """Whether it is an object that says which calendar event it is."""
    return isinstance(calendar_event, dict) and (
        reading.integer(calendar_event.get("id")) is not None
        or reading.uuid(calendar_event.get("uuid")) is not None
    )
