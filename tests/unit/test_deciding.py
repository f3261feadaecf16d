"""Who gets an event, decided without asking anybody, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from receiver.deciding import Kind, decide
from receiver.takers import ChangeKind, Interest, Taker
from storage.calendar import StoredState
from storage.work import NewRun, Unrouted
from tests.support.klen import UUID, webhook
from tests.support.logs import START

if TYPE_CHECKING:
    from receiver.deciding import Told
    from storage.work import Decision

CREATED = Interest(frozenset({"calendar.created"}), others=False)
OTHERS = Interest(frozenset(), others=True)
RETITLED = Interest(frozenset(), others=False, changes=(ChangeKind(frozenset({"retitled"})),))
MOVED = Interest(frozenset(), others=False, changes=(ChangeKind(frozenset({"moved"})),))


def taker(name: str, interest: Interest, **more: Any) -> Taker:
    usual: dict[str, Any] = {"ordered": True, "skips_stale": False, "asks": False}
    return Taker(name, interest, **usual | more)


def waiting(seq: int, kind: str = "calendar.created", **more: Any) -> Unrouted:
    fields = {name: more.pop(name) for name in ("title", "timestamp") if name in more}
    usual: dict[str, Any] = {
        "source": "klen",
        "event_type": kind,
        "calendar_event_uuid": UUID,
        "calendar_event_id": 123,
        "call_id": None,
        "body": webhook(kind, **fields),
        "event_id": f"e-{seq}",
        "received_at_ms": START,
        "origin": "webhook",
        "occurred_at_ms": START + seq,
        "body_sha256": b"\0" * 32,
        "flags": (),
        "number": 1,
    }
    return Unrouted(seq=seq, **usual | more)


def runs(decision: Decision[Told] | None) -> list[list[str]]:
    assert decision is not None
    return [[run.handler for run in routing.runs] for routing in decision.routings]


def test_an_event_goes_to_those_who_want_its_type_or_what_it_changed() -> None:
    """Each gets it once; nobody may want it at all."""
    takers = [
        taker("created", CREATED),
        taker("retitled", RETITLED),
        taker("moved", MOVED),
        taker("others", OTHERS),
    ]
    events = [
        waiting(1, title="One"),
        waiting(2, "calendar.updated", title="Two"),
        waiting(3, "calendar.reminder", title="Two"),
        waiting(4, "calendar.strange", title="Two"),
        waiting(5, title="Two", flags=("bad_shape",)),
    ]

    assert runs(decide(takers, events)) == [["created"], ["retitled"], [], ["others"], ["others"]]


def test_what_is_told_is_counted_by_kind() -> None:
    """With the runs as they were made, skipped ones marked; and what could not be folded is named."""
    takers = [taker("created", CREATED, skips_stale=True, ordered=False)]
    known = StoredState(1, "{}", "no JSON")
    events = [waiting(2), waiting(1, title="Earlier"), waiting(3, number=2, known=known)]

    decision = decide(takers, events)

    assert decision is not None
    run = NewRun("created", ordered=False)
    assert decision.told.routed == {
        Kind("calendar.created", "fresh", (run,)): 1,
        Kind("calendar.created", "stale", (run._replace(skipped=True),)): 1,
        Kind("calendar.created", None, (run,)): 1,
    }
    assert decision.told.failed == [("e-3", "ValueError")]
    assert [state.subject for state in decision.states] == [1]


@pytest.mark.parametrize("asks", [False, True])
def test_whoever_has_to_be_asked_is_asked_about_what_it_wants_only(*, asks: bool) -> None:
    """One with a `where` that wants none of the events is no reason not to decide."""
    takers = [taker("created", CREATED), taker("others", OTHERS, asks=asks)]

    assert runs(decide(takers, [waiting(1)])) == [["created"]]
    assert (decide(takers, [waiting(1), waiting(2, "calendar.strange")]) is None) is asks


@pytest.mark.parametrize(
    ("known", "origin"),
    [
        (StoredState(1, "{}", "[[],null,null,null,[],{}]", was_found=True), "webhook"),
        (None, "reconcile"),
    ],
)
def test_nothing_is_decided_where_reconcile_may_have_told_it_already(
    known: StoredState | None, origin: Any
) -> None:
    """The log has to be asked when; unless the event changed something, or is what reconcile has found."""
    takers = [taker("created", CREATED), taker("others", OTHERS)]
    first = waiting(1, origin=origin, known=known)

    assert runs(decide(takers, [first])) == [["created"]]
    assert decide(takers, [first, waiting(2, timestamp="2025-07-01T00:00:00Z", known=known)]) is None
    assert runs(decide([], [first, waiting(2, timestamp="2025-07-01T00:00:00Z", known=known)])) == [[], []]
