"""The order of arrival never decides the truth: what holds for every set of events in every order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from receiver.changes import fold
from receiver.jsonbody import parse_json
from receiver.state import State, encode, recalled
from receiver.verdicts import NAMES, VERDICTS
from tests.support.story import body, folded, told_of

if TYPE_CHECKING:
    from receiver.told import Told

TEXTS = st.text(max_size=5) | st.sampled_from(["\0", "\ud800", "a\udfff"])
UNKNOWN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["A", "B", "", None]),
        "status": st.sampled_from(
            ["scheduled", "confirmed", "cancelled", "completed", "no_show", "new", None, 7]
        ),
        "start_time": st.sampled_from(
            [
                "2025-05-01T14:00:00.000Z",
                "2025-05-01T14:00:00Z",
                "2025-05-01T16:00:00+02:00",
                "2025-05-02T14:00Z",
                "?",
                None,
            ]
        ),
        "end_time": st.sampled_from(["2025-05-01T15:00:00.000Z", "2025-05-02T15:00:00Z"]),
        "previous_start": st.sampled_from(["2025-05-01T13:00:00Z", "2025-05-01T14:00:00Z", None]),
        "location": st.sampled_from(["Room A", "Room B", None]),
        "ai_agent": st.sampled_from([{"id": 42}, {"id": 43, "name": "Night"}, None]),
        "customer": st.one_of(
            st.sampled_from([None, "nobody", {}]),
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.sampled_from(["Ann", ""]),
                    "email": st.sampled_from(["a@x", "b@x", None]),
                    "other": UNKNOWN,
                },
            ),
        ),
        "reason": st.sampled_from(["ill", None]),
        "later_field": UNKNOWN,
    },
)
KINDS = st.sampled_from(["created", "updated", "cancelled", "completed", "reminder", "invented"])
MINUTES = st.none() | st.integers(0, 6)


@st.composite
def stories(draw: st.DrawFn) -> list[Told]:
    """Different events about one calendar event, in the order in which they are in the log."""
    bodies = [body(draw(KINDS), draw(MINUTES), **draw(FIELDS)) for _ in range(draw(st.integers(1, 8)))]
    different = {json.dumps(one, sort_keys=True): one for one in bodies}
    return [told_of(seq, one) for seq, one in enumerate(different.values(), 1)]


def facts(state: State) -> tuple[Any, ...]:
    """All that a state says."""
    provenance = {path: (mark.at_ms, mark.seq) for path, mark in state.provenance().items()}
    return state.calendar_event(), provenance, state.newest, state.booked_ms, state.reminded_ms


@given(stories(), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_state(story: list[Told], random: Any) -> None:
    """Values, and which event set each of them, depend on the set of events alone."""
    shuffled = random.sample(story, len(story))

    assert facts(folded(shuffled)[0]) == facts(folded(story)[0])


@given(stories(), st.randoms(use_true_random=False))
def test_repetition_changes_nothing(story: list[Told], random: Any) -> None:
    """An event that is folded once more, at any time later, leaves the state as it is."""
    state = folded(story)[0]
    again = fold(state, random.choice(story))[0]

    assert facts(again) == facts(state)


@given(stories(), st.integers(0, 8))
def test_a_stored_state_goes_on_as_the_live_one(story: list[Told], stop: int) -> None:
    """A state that was written as JSON and read again is the same, and so is all that follows."""
    state: State | None = None
    stored: State | None = None
    for number, one in enumerate(story):
        state, *live = fold(state, one)
        stored, *read = fold(stored, one)
        assert read == live
        if number >= stop:
            stored = recalled(encode(stored.calendar_event()), stored.memory())
        assert facts(stored) == facts(state)
        assert stored.memory() == state.memory()


@given(stories())
def test_the_newest_event_that_carries_a_field_wins(story: list[Told]) -> None:
    """For each field, among those that carry it the last one in time and content counts."""
    state = folded(story)[0]

    for path in {path for one in story for path in one.fields}:
        newest = max((one for one in story if path in one.fields), key=lambda one: one.mark)
        assert state.get(path) == newest.fields[path]


@given(stories())
def test_verdicts_and_changes_are_of_the_documented_ones(story: list[Told]) -> None:
    """Whatever the events hold, each has a verdict, and changes by name, each at most once."""
    for verdict, changes in folded(story)[1]:
        names = [change.name for change in changes]
        assert verdict in VERDICTS
        assert names == sorted(set(names), key=NAMES.index)
        for change in changes:
            assert change.before.keys() == change.after.keys()
            json.loads(encode([change.before, change.after]))


@given(st.dictionaries(TEXTS.filter(bool), UNKNOWN, max_size=4))
def test_unknown_fields_survive(unknown: dict[str, Any]) -> None:
    """What the vendor adds is in the state, as JSON that any reader takes."""
    first, second = body("created", 1, **unknown, title="A"), body("updated", 2, title="B")
    state = folded([told_of(1, first), told_of(2, second)])[0]

    text = encode(state.calendar_event())
    assert text.encode()
    parse_json(text.encode())
    for name, value in unknown.items():
        if name.isascii() and "customer" not in name and name not in {"title", "time_changed"}:
            assert name in state
            if isinstance(value, (int, type(None))):
                assert state.get(name) == value
