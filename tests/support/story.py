"""Events about one appointment, made by hand for tests of what they change."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from receiver.changes import fold
from receiver.columns import columns
from receiver.told import told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.changes import Change
    from receiver.state import State
    from receiver.told import Told
    from receiver.verdicts import Verdict

UUID: Final = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
WHOLE: Final[dict[str, Any]] = {
    "id": 123,
    "uuid": UUID,
    "title": "Client Meeting",
    "event_type": "meeting",
    "status": "confirmed",
    "start_time": "2025-05-01T14:00:00.000Z",
    "end_time": "2025-05-01T15:00:00.000Z",
    "duration_minutes": 60,
    "location": "Room A",
    "created_by_ai_agent": True,
    "ai_agent": {"id": 42, "name": "Scheduler"},
    "customer": {"name": "Ann", "email": "ann@example.com", "phone": "+15550001"},
}


def body(kind: str, minute: int | None, **fields: Any) -> dict[str, Any]:
    """A webhook `calendar.<kind>` that was made at this minute, with these fields of the calendar event."""
    timestamp = {} if minute is None else {"timestamp": f"2025-05-01T10:{minute:02}:00.000Z"}
    return {"event_type": f"calendar.{kind}", "calendar_event": fields, **timestamp}


def event(seq: int, kind: str, minute: int | None, **fields: Any) -> Told:
    """As `body`, as it is folded. It is received when its number says."""
    return told_of(seq, body(kind, minute, **fields))


def told_of(seq: int, content: Any, *, received_at_ms: int | None = None) -> Told:
    """What a body tells."""
    found = told(
        content,
        seq=seq,
        body_sha256=sha256(json.dumps(content, sort_keys=True).encode()).digest(),
        occurred_at_ms=columns(content).occurred_at_ms,
        received_at_ms=1_746_100_000_000 + seq if received_at_ms is None else received_at_ms,
    )
    assert found is not None
    return found


def folded(events: Iterable[Told]) -> tuple[State, list[tuple[Verdict, tuple[Change, ...]]]]:
    """The state after all of them, and what was found of each."""
    state: State | None = None
    found = []
    for one in events:
        state, verdict, changes = fold(state, one)
        found.append((verdict, changes))
    assert state is not None
    return state, found
