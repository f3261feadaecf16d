"""A batch of events, folded where the log is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from receiver import folding
from receiver.folding import fold_batch
from storage.calendar import StoredState
from storage.work import Unrouted
from tests.support.klen import UUID, webhook
from tests.support.logs import START

if TYPE_CHECKING:
    import pytest


def unrouted(seq: int, body: bytes, **more: Any) -> Unrouted:
    usual: dict[str, Any] = {"event_type": "calendar.created", "number": 1, "flags": ()}
    return Unrouted(
        seq=seq,
        source="klen",
        calendar_event_uuid=UUID,
        calendar_event_id=123,
        call_id=None,
        body=body,
        event_id=f"e-{seq}",
        received_at_ms=START,
        origin="webhook",
        occurred_at_ms=START + seq,
        body_sha256=b"\0" * 32,
        **usual | more,
    )


def test_an_event_that_cannot_be_folded_gets_past_and_says_why() -> None:
    """One whose body was damaged on the disk has no verdict and no words; those around it are as without it."""
    around = [unrouted(1, webhook(title="One")), unrouted(3, webhook(title="Two"))]
    damaged = unrouted(2, b'{"event_type": \xff')

    batch = fold_batch([around[0], damaged, around[1]])

    first, second, third = batch.events
    assert (second.error, second.routing.verdict, second.routing.words) == ("InvalidJSON", None, "")
    assert second.routing.subject == damaged.subject
    alone = fold_batch(around)
    assert ([first, third], batch.states) == (alone.events, alone.states)


def test_a_batch_is_folded_in_its_order_and_each_state_is_told_once() -> None:
    """What the first event says is known when the second is judged."""
    batch = fold_batch(
        [unrouted(1, webhook(title="One")), unrouted(2, webhook("calendar.updated", title="Two"))],
        with_known=True,
    )

    [state] = batch.states
    assert '"title":"Two"' in state.calendar_event
    assert (state.last_seq, state.revision) == (2, None)
    assert [[change.name for change in one.routing.changes] for one in batch.events] == [
        ["created"],
        ["retitled"],
    ]
    assert ['"title":"One"' in (one.known or "") for one in batch.events] == [True, False]


def test_what_was_known_stays_when_no_event_of_the_batch_can_be_folded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was read for an event that then went wrong; it is not written back as if that were in it."""
    before = fold_batch([unrouted(1, webhook(title="One"))]).states[0]
    known = StoredState(1, before.calendar_event, before.memory)

    def failing(*_arguments: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(folding, "fold", failing)
    batch = fold_batch([unrouted(2, webhook(title="Two"), known=known)])

    assert ([one.error for one in batch.events], batch.states) == (["ArithmeticError"], [])
    assert "one" not in batch.events[0].routing.words.split()
    assert "two" in batch.events[0].routing.words.split()


def test_words_are_kept_of_an_event_that_tells_nothing_of_use() -> None:
    """A body may be found by its words though what it says of its calendar event cannot be read."""
    known = StoredState(1, "{}", "no JSON")

    [one] = fold_batch([unrouted(1, webhook(title="Findable"), known=known)]).events

    assert (one.error, one.routing.verdict) == ("ValueError", None)
    assert "findable" in one.routing.words.split()
