"""The requests that every server gets: prebuilt, signed, each with a body and a delivery id of its own.

Bodies have `BODY_BYTES` bytes. Each appointment gets all five webhooks within 320 requests, so handlers run
in lines, as they do in life. The rule easiest to break: numbers are never used twice on one server, or it
answers "duplicate", which costs less.
"""

from __future__ import annotations

import json
import uuid
from typing import Final

from receiver.signing import sign

SECRET: Final = "a secret of the benchmarks"
PATH: Final = "/webhooks/klen"
BODY_BYTES: Final = 700
CONNECTIONS: Final = 64
EVENT_TYPES: Final = (
    "calendar.created",
    "calendar.updated",
    "calendar.reminder",
    "calendar.completed",
    "calendar.cancelled",
)


def body(number: int) -> bytes:
    """The webhook of that number."""
    appointment = number // (CONNECTIONS * len(EVENT_TYPES)) * CONNECTIONS + number % CONNECTIONS
    identity = uuid.UUID(int=appointment, version=4)
    content = {
        "event_type": EVENT_TYPES[number // CONNECTIONS % len(EVENT_TYPES)],
        "calendar_event": {
            "id": appointment,
            "uuid": str(identity),
            "title": f"Meeting {appointment}",
            "event_type": "meeting",
            "status": "confirmed",
            "start_time": "2025-05-01T14:00:00.000Z",
            "end_time": "2025-05-01T15:00:00.000Z",
            "duration_minutes": 60,
            "location": "",
            "has_video_conference": True,
            "video_conference_url": "https://meet.example.com/abc-defg-hij",
            "created_by_ai_agent": True,
            "ai_agent": {"id": 42, "name": "Meeting Scheduler", "assistant_id": "asst_01234567890"},
            "customer": {"name": "John Smith", "email": "john@example.com", "phone": "+15551234567"},
            "ics_url": f"/calendar/event/{identity}/calendar.ics",
        },
        "timestamp": f"2025-05-01T{number // 3_600_000 % 24:02}:{number // 60_000 % 60:02}:"
        f"{number // 1000 % 60:02}.{number % 1000:03}Z",
    }
    encoded = json.dumps(content, separators=(",", ":")).encode()
    room = b'"location":"'
    return encoded.replace(room, room + b"x" * (BODY_BYTES - len(encoded)))


def request(number: int) -> bytes:
    """The whole request of that number, ready to be written to a socket."""
    content = body(number)
    headers = {
        "Host": "127.0.0.1",
        "User-Agent": "Klen-Webhooks/1.0",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        "X-Klen-Event": EVENT_TYPES[number // CONNECTIONS % len(EVENT_TYPES)],
        "X-Klen-Delivery-ID": str(uuid.UUID(int=number, version=4)),
        **sign("klen", SECRET, content, now=0),
    }
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + content
