"""Forgetting changes what events say, and nothing of what happened: for any story, in any order."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from receiver.changes import fold
from receiver.forget.redact import Placeholders, redacted
from receiver.jsonbody import canonical, parse_json
from receiver.told import told
from receiver.words import words_of

TEXT = st.sampled_from(["", "Ann", "Bob", "a b", "2025", "confirmed", "\u00e9"])
VALUE = st.recursive(
    st.none() | TEXT | st.integers(0, 3) | st.sampled_from([0.5, 1.0, 2.0]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["x", "Y Z"]), inner, max_size=2)
    ),
    max_leaves=4,
)
TIME = st.sampled_from(
    ["2025-05-01T10:00:00Z", "2025-05-01T10:00:00.000Z", "2025-05-02T10:00:00Z", "soon", None]
)
STATUS = st.sampled_from(["scheduled", "confirmed", "cancelled", "completed", "no_show", "On Hold", None])
CALENDAR_EVENT = st.fixed_dictionaries(
    {},
    optional={
        "title": TEXT | st.none(),
        "location": TEXT | st.none(),
        "status": STATUS,
        "event_type": st.sampled_from(["meeting", "Video Call"]),
        "start_time": TIME,
        "end_time": TIME,
        "duration_minutes": st.sampled_from([30, "30", 60]),
        "customer": st.none()
        | st.dictionaries(st.sampled_from(["name", "email", "phone", "notes", "Fav"]), TEXT | st.none()),
        "ai_agent": st.none() | st.fixed_dictionaries({"id": st.integers(1, 2), "name": TEXT}),
        "reason": TEXT,
        "video_conference_url": TEXT,
        "priority": VALUE,
        "Odd Key": VALUE,
    },
)
STORY = st.lists(
    st.fixed_dictionaries(
        {
            "event_type": st.sampled_from(
                ["calendar.created", "calendar.updated", "calendar.cancelled", "calendar.reminder"]
            ),
            "calendar_event": CALENDAR_EVENT,
            "timestamp": st.sampled_from([f"2025-05-01T10:0{n}:00.000Z" for n in range(4)]),
        }
    ),
    min_size=1,
    max_size=7,
)


def judged(originals: list[dict[str, Any]], bodies: list[Any]) -> list[tuple[str, list[str]]]:
    """Verdict and names of changes of each event, in the order of arrival."""
    state = None
    found: list[tuple[str, list[str]]] = []
    for seq, (original, body) in enumerate(zip(originals, bodies, strict=True), 1):
        content = told(
            body,
            seq=seq,
            body_sha256=sha256(canonical(original)).digest(),
            occurred_at_ms=int(original["timestamp"][15]),
            received_at_ms=seq,
        )
        assert content is not None
        state, verdict, changes = fold(state, content)
        found.append((verdict, [change.name for change in changes]))
    return found


@given(STORY)
def test_verdicts_and_changes_stay(story: list[dict[str, Any]]) -> None:
    """Folding what is left of the events gives what folding the events gave."""
    placeholders = Placeholders(7)
    left = [parse_json(canonical(redacted(body, placeholders))) for body in story]

    assert judged(story, left) == judged(story, story)
    assert all(words_of(body) == "" for body in left)


@given(STORY)
def test_nothing_that_was_said_is_left(story: list[dict[str, Any]]) -> None:
    """None of the texts of people is in what is left."""
    left = b"".join(canonical(redacted(body, Placeholders())) for body in story)

    assert not any(text in left for text in (b"Ann", b"Bob", b"a b", b"Odd Key", b"Fav", b"Hold", b"soon"))
