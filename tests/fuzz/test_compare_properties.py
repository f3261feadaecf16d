"""Whatever was lost of an appointment's story, one comparison makes the log know how it stands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from receiver.changes import fold
from receiver.jsonbody import parse_json
from receiver.klen.compare import differs, missing
from receiver.told import told
from tests.fuzz.test_changes_properties import FIELDS
from tests.support.story import UUID, WHOLE, told_of

if TYPE_CHECKING:
    from receiver.state import State

READ_AT = 1_746_200_000_000
STEPS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["A", "B", ""]),
        "status": st.sampled_from(["scheduled", "confirmed", "cancelled", "completed", "no_show"]),
        "start_time": st.sampled_from(["2025-05-01T14:00:00.000Z", "2025-05-03T14:00:00.000Z"]),
        "location": st.sampled_from(["Room A", "Room B", None]),
        "customer": st.sampled_from([{"name": "Ann", "email": "a@x"}, {"name": "Bob", "email": None}]),
        "later_field": st.sampled_from([1, "x", None, {"a": [1.5]}]),
    },
)
KINDS = {"cancelled": "calendar.cancelled", "completed": "calendar.completed"}


def webhook(number: int, before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What the vendor sends for a step, a moment after it."""
    kind = "calendar.created" if number == 0 else "calendar.updated"
    if number and now.get("status") != before.get("status"):
        kind = KINDS.get(now["status"], kind)
    timestamp = f"2025-05-01T10:{number:02}:00.250Z"
    return {"event_type": kind, "calendar_event": dict(now), "timestamp": timestamp}


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[bool], dict[str, Any]]:
    """The webhooks of one appointment, which of them came, and what the vendor's API shows in the end."""
    now: dict[str, Any] = {**WHOLE, "status": "scheduled"}
    sent = [webhook(0, now, now)]
    for number in range(1, draw(st.integers(1, 6))):
        before, now = now, now | draw(STEPS)
        sent.append(webhook(number, before, now))
    came = [draw(st.booleans()) for _ in sent]
    last = f"2025-05-01T10:{len(sent) - 1:02}:00.000Z"
    details = now | {"description": "D", "created_at": "2025-05-01T10:00:00.000Z", "updated_at": last}
    return sent, came, details


def after(state: State | None, bodies: list[dict[str, Any]], seq: int) -> State | None:
    for number, body in enumerate(bodies, seq):
        state = fold(state, told_of(number, body))[0]
    return state


def shown(state: State) -> dict[str, Any]:
    """What the log says of the fields that the vendor has in its list."""
    known = state.calendar_event()
    return {name: known.get(name) for name in ("title", "status", "start_time", "location")}


@given(stories())
def test_one_comparison_is_enough(story: tuple[list[dict[str, Any]], list[bool], dict[str, Any]]) -> None:
    """Afterwards nothing differs, and what comes late after all changes nothing."""
    sent, came, details = story
    arrived = [body for body, there in zip(sent, came, strict=True) if there]
    state = after(None, arrived, 1)
    found = [parse_json(one.body) for one in missing(state, details, read_at_ms=READ_AT)]
    assert all(isinstance(body, dict) for body in found)
    state = after(state, [body for body in found if isinstance(body, dict)], 10)
    assert state is not None
    assert not differs(state, details)
    assert missing(state, details, read_at_ms=READ_AT) == []
    assert shown(state) == {name: details[name] for name in shown(state)}

    late = [body for body, there in zip(sent, came, strict=True) if not there]
    settled = after(state, late, 20)
    assert settled is not None
    assert shown(settled) == shown(state)
    assert not differs(settled, details)


@given(st.none() | FIELDS, FIELDS)
def test_any_details_come_to_rest(known: dict[str, Any] | None, details: dict[str, Any]) -> None:
    """Whatever the log knew and whatever the vendor shows, recording it once leaves nothing to find."""
    state = None if known is None else after(None, [webhook(0, known, known)], 1)
    whole = json.loads(json.dumps({"id": 123, "uuid": UUID} | details))
    for number, one in enumerate(missing(state, whole, read_at_ms=READ_AT), 2):
        content = told(
            parse_json(one.body),
            seq=number,
            body_sha256=bytes([number] * 32),
            occurred_at_ms=one.happened_ms,
            received_at_ms=READ_AT,
        )
        assert content is not None
        state = fold(state, content)[0]
    assert missing(state, whole, read_at_ms=READ_AT) == []
