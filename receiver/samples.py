"""One sample event of every webhook, with the values the vendor's pages show, to send and to test with.

https://docs.klen.ai/api-reference/webhooks/calendar-events and .../call-events. The rule easiest to break:
every sample is about the same appointment or the same call, so that samples sent one after the other tell
its story; `assign` makes them differ.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import datetime

_APPOINTMENT: Final[dict[str, Any]] = {
    "id": 123,
    "uuid": "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "title": "Client Meeting",
    "event_type": "meeting",
    "status": "confirmed",
    "start_time": "2025-05-01T14:00:00.000Z",
    "end_time": "2025-05-01T15:00:00.000Z",
    "duration_minutes": 60,
    "location": "Conference Room A",
    "has_video_conference": True,
    "video_conference_url": "https://meet.google.com/abc-defg-hij",
    "created_by_ai_agent": True,
    "ai_agent": {"id": 42, "name": "Meeting Scheduler", "assistant_id": "asst_01234567890"},
    "customer": {"name": "John Smith", "email": "john.smith@example.com", "phone": "+15551234567"},
    "ics_url": "/calendar/event/f47ac10b-58cc-4372-a567-0e02b2c3d479/calendar.ics",
}

_CALL: Final[dict[str, Any]] = {
    "id": 6789,
    "klen_call_id": "call_6789",
    "agent_id": 42,
    "agent_name": "Meeting Scheduler",
    "status": "completed",
    "type": "outbound",
    "phone_number": "+15551234567",
    "started_at": "2025-04-23T14:30:45Z",
    "contact": {"id": 7, "name": "John Smith", "email": "john.smith@example.com"},
}

_ENDED: Final[dict[str, Any]] = {"ended_at": "2025-04-23T14:35:15Z", "duration_seconds": 270}

_SPECIAL: Final[dict[str, dict[str, Any]]] = {
    "calendar.created": {},
    "calendar.updated": {
        "time_changed": True,
        "previous_start": "2025-05-01T13:00:00.000Z",
        "previous_end": "2025-05-01T14:00:00.000Z",
    },
    "calendar.cancelled": {"status": "cancelled", "reason": "Client requested to reschedule"},
    "calendar.completed": {"status": "completed"},
    "calendar.reminder": {},
    "call.started": {"status": "in-progress", "assistant_id": "asst_01234567890"},
    "call.ended": {
        **_ENDED,
        "duration": 270,
        "summary": "John wants to meet on Thursday.",
        "recording_url": "https://storage.example.com/recordings/call_6789.mp3",
    },
    "call.failed": {
        "status": "failed",
        "ended_at": "2025-04-23T14:31:15Z",
        "failure_reason": "Nobody answered",
        "ended_reason": "no-answer",
    },
    "call.transcript": {
        **_ENDED,
        "transcript": "Agent: Hello, this is the office.\nCustomer: Hello, I would like to meet.",
        "transcript_url": None,
    },
    "call.recording": {
        **_ENDED,
        "recording_url": "https://storage.example.com/recordings/call_6789.mp3",
    },
    "call.summary": {**_ENDED, "summary": "John wants to meet on Thursday."},
}
"""By webhook: what its payload has besides, or different from, the appointment or the call."""

SAMPLE_TYPES: Final = tuple(_SPECIAL)


def sample_event(event_type: str, *, timestamp: datetime) -> dict[str, Any]:
    """The payload of this webhook as the vendor would make it at `timestamp`, yours to change.

    Raises:
        KeyError: there is no such webhook; `SAMPLE_TYPES` has them all.
    """
    base = _CALL if event_type.startswith("call.") else _APPOINTMENT
    return {
        "event_type": event_type,
        _subject(event_type): copy.deepcopy(base | _SPECIAL[event_type]),
        "timestamp": timestamp.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def assign(event: dict[str, Any], path: str, value: object) -> None:
    """Set `customer.email`, or another path inside the appointment or call; `timestamp` is the envelope's.

    A path that begins at the envelope, as in `calendar_event.title`, means the same.

    Raises:
        ValueError: the path has an empty part, or leads through something that is no object; says which.
    """
    if path == "timestamp":
        event["timestamp"] = value
        return
    subject = _subject(event["event_type"])
    *parents, name = path.removeprefix(f"{subject}.").split(".")
    if not all((*parents, name)):
        raise ValueError(f"expected a path such as customer.email, found {path!r}")
    table = event[subject]
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ValueError(f"{path!r} leads through {parent!r}, which is no object")  # noqa: TRY004 -- the path is wrong, no argument's type
    table[name] = value


def to_body(event: dict[str, Any]) -> bytes:
    """The bytes of a payload: compact JSON in UTF-8, which all of the vendor's samples would sign alike.

    Raises:
        ValueError: it holds what UTF-8 or JSON cannot write.
    """
    return json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _subject(event_type: str) -> str:
    return "call" if event_type.startswith("call.") else "calendar_event"
