"""How many runs may be under way, and what is claimed ahead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

from receiver.counts import Counts
from receiver.places import MEMORY, QUICK_SECONDS, Places
from storage.work import Claimed
from tests.support.logs import START

if TYPE_CHECKING:
    from collections.abc import Iterable

PLACES = 8
WAITING = 1_000
ENOUGH = 4 * MEMORY
"""Quick runs after which a handler counts as quick."""


@dataclass
class Named:
    """What places need to know of a handler."""

    name: str
    concurrency: int | None = None


def run(number: int, handler: str, *, replay_id: int | None = None) -> Claimed:
    return Claimed(
        number, handler, 1, 1, number, f"e-{number}", "klen", "webhook", None, START, None, b"", replay_id
    )


def places(*handlers: Named, quick: Iterable[str] = ()) -> Places:
    counts = Counts()
    made = Places(counts)
    made.replace(cast("Any", handlers), PLACES)
    for handler in handlers:
        counts.unfinished[handler.name] = WAITING
    for name in quick:
        for _ in range(ENOUGH):
            made.took(name, QUICK_SECONDS / 10)
    return made


def claim(made: Places, name: str, count: int) -> list[Claimed]:
    claimed = [run(number, name) for number in range(count)]
    for one in claimed:
        made.enter(one, cast("Any", Named(name)))
    return claimed


def test_nothing_is_claimed_ahead_of_a_handler_that_nobody_knows() -> None:
    """As many runs are asked for as there are places; with all of them taken, none."""
    made = places(Named("slow"))

    assert made.capacity(["slow"]) == {"slow": PLACES}
    claim(made, "slow", PLACES)
    assert len(list(made.admit())) == PLACES
    assert (made.ahead, made.capacity(["slow"])) == (0, {})


def test_twice_as_many_are_claimed_of_a_quick_one_and_no_more_run() -> None:
    """Half of them have a place; one of the others gets one when a run ends."""
    made = places(Named("quick"), quick=["quick"])

    assert made.capacity(["quick"]) == {"quick": 2 * PLACES}
    claimed = claim(made, "quick", 2 * PLACES)
    assert [one.run_id for one, _ in made.admit()] == [one.run_id for one in claimed[:PLACES]]
    assert (made.ahead, list(made.admit()), made.capacity(["quick"])) == (PLACES, [], {})
    made.leave(claimed[3])
    assert [one.run_id for one, _ in made.admit()] == [PLACES]


def test_more_are_claimed_when_half_of_what_was_ahead_is_used_up() -> None:
    """So that the log is asked for many at once."""
    made = places(Named("quick"), quick=["quick"])
    claimed = claim(made, "quick", 2 * PLACES)
    list(made.admit())

    for one in claimed[: PLACES // 2 - 1]:
        made.leave(one)
        list(made.admit())
    before = made.capacity(["quick"])
    made.leave(claimed[PLACES // 2 - 1])
    list(made.admit())

    assert before == {}
    assert made.capacity(["quick"]) == {"quick": PLACES}


def test_one_slow_run_among_many_makes_a_handler_slow_again() -> None:
    """What is claimed ahead must not wait behind it."""
    made = places(Named("quick"), quick=["quick"])

    made.took("quick", 1)

    assert made.capacity(["quick"]) == {"quick": PLACES}


@pytest.mark.parametrize(("quick", "expected"), [([], 2), (["few"], 4)])
def test_a_handlers_own_limit_holds(quick: list[str], expected: int) -> None:
    """It is claimed ahead of as well, and never runs more often at once than it says."""
    made = places(Named("few", concurrency=2), quick=quick)

    assert made.capacity(["few"]) == {"few": expected}
    claim(made, "few", expected)
    assert len(list(made.admit())) == 2


def test_a_handler_at_its_limit_does_not_hold_up_others() -> None:
    """What was claimed behind its runs goes past them."""
    made = places(Named("few", concurrency=1), Named("other"), quick=["few"])
    claim(made, "few", 2)
    claim(made, "other", 1)

    assert [one.handler for one, _ in made.admit()] == ["few", "other"]


def test_a_slow_handler_gets_no_room_that_is_for_claims_ahead() -> None:
    """Of two with a backlog, the quick one fills up what is ahead."""
    made = places(Named("slow"), Named("quick"), quick=["quick"])

    asked = made.capacity(["slow", "quick"])

    assert asked["slow"] <= PLACES
    assert PLACES < sum(asked.values()) <= 2 * PLACES


def test_replays_get_half_of_the_places() -> None:
    """Also while some of them run."""
    made = places(Named("one"))
    assert made.for_replays({"one": PLACES}) == {"one": PLACES // 2}

    made.enter(run(1, "one", replay_id=7), cast("Any", Named("one")))

    assert made.for_replays({"one": PLACES}) == {"one": PLACES // 2 - 1}


def test_a_lower_concurrency_holds_from_the_next_place_on() -> None:
    """After a reload nothing is asked for until enough runs have ended."""
    made = places(Named("one"))
    claimed = claim(made, "one", PLACES)
    list(made.admit())

    made.replace(cast("Any", [Named("one")]), 2)

    assert made.capacity(["one"]) == {}
    for one in claimed[:-1]:
        made.leave(one)
    assert made.capacity(["one"]) == {"one": 1}


def end(made: Places, claimed: Iterable[Claimed], *, recorded: bool = True) -> None:
    for one in claimed:
        made.leave(one)
        if recorded:
            made.ended(one)


def test_half_of_all_room_is_kept_for_runs_that_are_about_to_be_made() -> None:
    """The other half is for those before them; what is kept is not given out twice."""
    made = places(Named("quick"), quick=["quick"])

    first, second, third = made.reserve(["quick"]), made.reserve(["quick"]), made.reserve(["quick"])

    assert (first, second, third) == ({"quick": PLACES}, {"quick": PLACES}, {})
    assert (made.room, made.capacity(["quick"])) == (0, {})
    made.release(first)
    assert (made.room, made.reserve(["quick"])) == (PLACES, {"quick": PLACES})


def test_what_is_kept_is_shared_and_is_no_more_than_there_is() -> None:
    """Of handlers that are not quick, only what can begin at once; with many, each gets one."""
    made = places(Named("slow"), Named("quick"), Named("few", concurrency=1), quick=["quick"])
    claimed = claim(made, "slow", PLACES - 1)
    list(made.admit())

    assert made.reserve(["slow", "quick", "few"]) == {"slow": 1, "quick": PLACES // 3}
    end(made, claimed)
    many = [f"handler {number}" for number in range(3 * PLACES)]
    assert made.reserve(many) == dict.fromkeys(many[: PLACES - 1 - PLACES // 3], 1)


def test_a_run_that_ended_does_not_wait_though_the_log_does_not_know_it_yet() -> None:
    """Its place is free before it is recorded, and nothing need be asked for because of it."""
    made = places(Named("one"))
    made._counts.unfinished["one"] = 3
    claimed = claim(made, "one", 3)
    list(made.admit())

    assert made.waiting("one") == 0
    end(made, claimed[:2], recorded=False)
    assert made.waiting("one") == 0
    made._counts.unfinished["one"] -= 1
    made.ended(claimed[0])
    assert made.waiting("one") == 0
    made.ended(claimed[1])  # it is to be tried again
    assert made.waiting("one") == 1
