"""A batch of events, folded where the log is written."""

from __future__ import annotations

from typing import Any

from receiver.folding import fold_batch
from storage.work import Unrouted
from tests.support.klen import UUID, webhook
from tests.support.logs import START


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

    batch = fold_batch([around[0], damaged, around[1]], with_bodies=False)

    first, second, third = batch.events
    assert (second.error, second.routing.verdict, second.routing.words) == ("InvalidJSON", None, "")
    assert second.routing.subject == damaged.subject
    alone = fold_batch(around, with_bodies=False)
    assert ([first, third], batch.states) == (alone.events, alone.states)


def test_a_batch_is_folded_in_its_order_and_each_state_is_told_once() -> None:
    """What the first event says is known when the second is judged."""
    batch = fold_batch(
        [unrouted(1, webhook(title="One")), unrouted(2, webhook("calendar.updated", title="Two"))],
        with_bodies=True,
    )

    [state] = batch.states
    assert '"title":"Two"' in state.calendar_event
    assert (state.last_seq, state.revision) == (2, None)
    assert [[change.name for change in one.routing.changes] for one in batch.events] == [
        ["created"],
        ["retitled"],
    ]
    assert ['"title":"One"' in (one.known or "") for one in batch.events] == [True, False]
