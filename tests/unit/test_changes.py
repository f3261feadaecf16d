"""What an event changed, and how it stands to what was known."""

from __future__ import annotations

from typing import Any

import pytest

from receiver.changes import Change
from tests.support.story import WHOLE, event, folded

CREATED = event(1, "created", 0, **WHOLE)


def after(*events: Any) -> tuple[str, list[Change]]:
    """What was found of the last one."""
    verdict, changes = folded(events)[1][-1]
    return verdict, list(changes)


def names(*events: Any) -> list[str]:
    return [change.name for change in after(*events)[1]]


@pytest.mark.parametrize(
    ("fields", "name", "before", "now"),
    [
        ({"location": "Room B"}, "moved", {"location": "Room A"}, {"location": "Room B"}),
        ({"location": None}, "moved", {"location": "Room A"}, {"location": None}),
        ({"title": "Other"}, "retitled", {"title": "Client Meeting"}, {"title": "Other"}),
        (
            {"event_type": "video_call"},
            "kind_changed",
            {"event_type": "meeting"},
            {"event_type": "video_call"},
        ),
        (
            {"customer": {"email": "x@y"}},
            "customer_changed",
            {"customer.email": "ann@example.com"},
            {"customer.email": "x@y"},
        ),
        (
            {"ai_agent": {"id": 43}},
            "agent_changed",
            {"ai_agent": {"id": 42, "name": "Scheduler"}},
            {"ai_agent": {"id": 43}},
        ),
        (
            {"video_conference_url": "https://x"},
            "conference_changed",
            {"video_conference_url": None},
            {"video_conference_url": "https://x"},
        ),
        ({"duration_minutes": 45}, "other_changed", {"duration_minutes": 60}, {"duration_minutes": 45}),
        ({"status": "no_show"}, "no_show", {"status": "confirmed"}, {"status": "no_show"}),
        ({"status": "cancelled"}, "cancelled", {"status": "confirmed"}, {"status": "cancelled"}),
        ({"status": "completed"}, "completed", {"status": "confirmed"}, {"status": "completed"}),
        ({"status": "scheduled"}, "status_changed", {"status": "confirmed"}, {"status": "scheduled"}),
        ({"status": "invented"}, "status_changed", {"status": "confirmed"}, {"status": "invented"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_change_is_found_by_comparing(fields: dict[str, Any], name: str, before: Any, now: Any) -> None:
    """An update that carries the whole calendar event changes what is different in it, and nothing else."""
    found = after(CREATED, event(2, "updated", 5, **{**WHOLE, **fields}))

    assert found == ("fresh", [Change(name, before, now)])


def test_rescheduled_has_both_times_before_and_after() -> None:
    """A move in time is one change of start and end; the length that follows from it is none."""
    times = {"start_time": "2025-05-01T16:00:00Z", "end_time": "2025-05-01T18:00:00Z"}
    verdict, changes = after(CREATED, event(2, "updated", 5, **{**WHOLE, **times, "duration_minutes": 120}))

    before = {"start_time": "2025-05-01T14:00:00.000Z", "end_time": "2025-05-01T15:00:00.000Z"}
    assert (verdict, changes) == ("fresh", [Change("rescheduled", before, times)])


def test_a_moment_written_in_another_way_is_the_same() -> None:
    """No fraction, or another offset, is no change of time; nor is empty text where there was nothing."""
    again = {**WHOLE, "start_time": "2025-05-01T16:00:00+02:00", "video_conference_url": ""}

    assert (
        after(CREATED, event(2, "updated", 5, **again)) == ("same", [])
        or names(CREATED, event(2, "updated", 5, **again)) == []
    )


def test_without_an_earlier_state_the_update_s_own_word_counts() -> None:
    """`previous_start` and `previous_end` serve as what was before, and are told once."""
    previous = {"previous_start": "2025-05-01T13:00:00Z", "previous_end": "2025-05-01T14:00:00Z"}
    first = event(1, "updated", 1, **WHOLE, **previous, time_changed=True)
    again = event(2, "updated", 2, **WHOLE, **previous, time_changed=True)

    [change] = after(first)[1]
    assert (change.name, change.before) == (
        "rescheduled",
        {"start_time": previous["previous_start"], "end_time": previous["previous_end"]},
    )
    assert names(CREATED, event(2, "updated", 1, **WHOLE, **previous)) == ["rescheduled"]
    assert after(first, again) == ("same", [])


def test_known_times_count_more_than_the_update_s_word() -> None:
    """What was before is what the log knows, not what the update says it was."""
    later = {**WHOLE, "start_time": "2025-05-01T17:00:00Z", "previous_start": "2025-05-01T09:00:00Z"}
    [change] = after(CREATED, event(2, "updated", 5, **later))[1]

    assert change.before["start_time"] == WHOLE["start_time"]


def test_to_learn_a_field_is_no_change() -> None:
    """What nobody told before, such as the details that only the vendor's API shows, has not changed."""
    details = {
        "description": "Bring papers",
        "team": {"id": 5},
        "customer": {**WHOLE["customer"], "notes": "VIP"},
    }
    found = after(CREATED, event(2, "updated", 5, **{**WHOLE, **details}))
    assert found == ("fresh", [])

    state, [*_, (_, changes)] = folded(
        [
            CREATED,
            event(2, "updated", 5, **{**WHOLE, **details}),
            event(3, "updated", 6, **{**WHOLE, "description": "None"}),
        ]
    )
    assert [change.name for change in changes] == ["other_changed"]
    assert state.calendar_event()["customer"]["notes"] == "VIP"
    assert state.calendar_event()["team"] == {"id": 5}


def test_an_empty_field_is_left_out_and_may_be_filled() -> None:
    """A customer without an e-mail address who gets one has changed: webhooks leave empty fields out."""
    bare = {**WHOLE, "customer": {"name": "Ann"}}
    [change] = after(event(1, "created", 0, **bare), event(2, "updated", 1, **WHOLE))[1]

    assert (change.name, change.before) == (
        "customer_changed",
        {"customer.email": None, "customer.phone": None},
    )


def test_no_customer_takes_what_was_known_away() -> None:
    """A null customer empties its parts, and a later one that knows less has only what it has."""
    cleared = event(2, "updated", 5, **{**WHOLE, "customer": None})
    state, found = folded([CREATED, cleared, event(3, "updated", 6, customer={"name": "Bob"})])

    assert set(found[1][1][0].after.values()) == {None}
    assert state.calendar_event()["customer"] == {"name": "Bob"}


def test_a_cancellation_has_its_reason() -> None:
    """Why it was cancelled is told with the change, and stays in the state."""
    cancel = event(2, "cancelled", 5, **{**WHOLE, "status": "cancelled", "reason": "ill"})
    state, found = folded([CREATED, cancel])

    assert found[1][1] == (Change("cancelled", {"status": "confirmed"}, {"status": "cancelled"}, "ill"),)
    assert state.get("reason") == "ill"


def test_a_cancellation_without_a_status_is_one() -> None:
    """`calendar.cancelled` and `calendar.completed` mean their status where they do not carry it."""
    assert names(CREATED, event(2, "cancelled", 5, id=123)) == ["cancelled"]
    assert names(event(1, "completed", 5, id=123)) == ["completed"]


@pytest.mark.parametrize(
    ("kind", "expected"), [("created", ["created"]), ("updated", []), ("reminder", ["reminded"])]
)
def test_the_first_event(kind: str, expected: list[str]) -> None:
    """The first event that is known of a calendar event has changed nothing but what it is."""
    assert after(event(1, kind, 0, **WHOLE)) == ("fresh", [Change(name, {}, {}) for name in expected])


@pytest.mark.parametrize("status", ["cancelled", "completed", "no_show"])
def test_an_end_that_comes_first_is_told(status: str) -> None:
    """A calendar event that is first heard of when it has ended has ended."""
    assert names(event(1, "updated", 0, **{**WHOLE, "status": status})) == [status]


class TestVerdicts:
    """How an event stands to what is known when it comes."""

    def test_stale_is_what_is_older_than_something_known(self) -> None:
        """It changes nothing that something newer has told, yet what it alone tells is learnt."""
        cancelled = event(1, "cancelled", 9, status="cancelled", title="A")
        state, found = folded(
            [cancelled, event(2, "updated", 5, status="confirmed", title="B", location="C")]
        )

        assert found[1] == ("stale", ())
        assert (state.get("status"), state.get("title"), state.get("location")) == ("cancelled", "A", "C")

    def test_a_late_creation_was_one(self) -> None:
        """That it was created is a fact whenever it is heard."""
        assert after(event(1, "updated", 9, **WHOLE), event(2, "created", 0, **WHOLE)) == (
            "stale",
            [Change("created", {}, {})],
        )

    def test_same_is_what_says_nothing_new(self) -> None:
        """A newer event with known content changes no state; a reminder is one too."""
        assert after(CREATED, event(2, "updated", 5, **WHOLE)) == ("same", [])
        assert after(CREATED, event(2, "reminder", 5, **WHOLE)) == ("same", [Change("reminded", {}, {})])

    def test_conflicting_is_another_content_at_the_same_instant(self) -> None:
        """At one instant what ends the calendar event wins, whichever came first."""
        update = event(2, "updated", 5, **{**WHOLE, "title": "B"})
        cancel = event(3, "cancelled", 5, **{**WHOLE, "status": "cancelled"})

        for order in ([CREATED, update, cancel], [CREATED, cancel, update]):
            state, found = folded(order)
            assert found[-1][0] == "conflicting"
            assert (state.get("status"), state.get("title")) == ("cancelled", "Client Meeting")

    def test_a_creation_comes_before_what_happened_at_its_instant(self) -> None:
        """Times to the second put a booking and its first change at one instant; the change is later."""
        update = event(2, "updated", 0, **{**WHOLE, "title": "B"})

        assert folded([CREATED, update])[0].get("title") == folded([update, CREATED])[0].get("title") == "B"

    @pytest.mark.parametrize("fields", [{}, {"status": "confirmed", "title": "B"}, {"status": "completed"}])
    def test_impossible_is_an_update_after_a_cancel(self, fields: dict[str, Any]) -> None:
        """What changes a cancelled calendar event cannot be, and counts all the same."""
        cancel = event(2, "cancelled", 5, **{**WHOLE, "status": "cancelled"})
        state, found = folded([CREATED, cancel, event(3, "updated", 6, **{**WHOLE, **fields})])

        assert found[-1][0] == "impossible"
        assert state.get("status") == fields.get("status", "confirmed")

    def test_a_cancellation_may_be_told_twice(self) -> None:
        """A cancel that comes as an update and as a cancellation is one."""
        cancelled = {**WHOLE, "status": "cancelled"}
        order = [
            CREATED,
            event(2, "updated", 5, **cancelled),
            event(3, "cancelled", 6, **cancelled, reason="ill"),
        ]

        assert [[change.name for change in changes] for _, changes in folded(order)[1]] == [
            ["created"],
            ["cancelled"],
            [],
        ]

    def test_an_event_without_a_timestamp_counts_from_when_it_was_received(self) -> None:
        """It cannot have happened later than that, and is taken to be news."""
        assert after(CREATED, event(2, "updated", None, **{**WHOLE, "title": "B"}))[0] == "fresh"


def test_provenance_names_the_event_that_set_a_field() -> None:
    """Not the newest event that carried it, but the one since which it is what it is."""
    moved = {**WHOLE, "location": "Room B"}
    events = [CREATED, event(2, "updated", 1, **moved), event(3, "reminder", 2, **moved)]
    set_by = {path: mark.seq for path, mark in folded(events)[0].provenance().items()}

    assert (set_by["title"], set_by["location"], set_by["customer.email"], set_by["customer"]) == (1, 2, 1, 1)


def test_a_long_story_stays_small() -> None:
    """A calendar event with thousands of events has a state of a few kilobytes."""
    story = [event(seq, "updated", None, **WHOLE, note=seq % 7) for seq in range(1, 2_000)]
    state = folded(story)[0]

    assert len(state.memory()) < 4_000
    assert state.provenance()["title"].seq == 1
