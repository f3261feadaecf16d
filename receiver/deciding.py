"""Which handlers get an event, decided where the log is written as far as no plugin has to be asked. Pure.

The rule easiest to break: nothing is decided here that another answer could change. Where a handler's `where`
has to be asked, or the log for what reconcile has found, `decide` gives None, and `route.py` does it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from receiver.folding import fold_batch
from receiver.twins import may_be_twin
from storage.calendar import ChangeRecord
from storage.work import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.folding import FoldedEvent
    from receiver.takers import Taker
    from storage.work import NewRun, Routing, Unrouted

__all__ = ["Kind", "Told", "decide", "told_of"]


class Kind(NamedTuple):
    """What counts of a routed event."""

    event_type: str | None
    verdict: str | None
    runs: tuple[NewRun, ...]


class Told(NamedTuple):
    """What the service hears of a batch."""

    routed: dict[Kind, int]
    """How many events of each kind."""
    failed: list[tuple[str, str]]
    """Events that could not be folded into their calendar events: id and kind of exception."""


def decide(takers: Sequence[Taker], events: Sequence[Unrouted]) -> Decision[Told] | None:
    """The routings of a batch, and what is known then; None if somebody has to be asked."""
    asking = [taker for taker in takers if taker.asks]
    if any(taker.interest.in_event(event, ()) for taker in asking for event in events):
        return None
    folded = fold_batch(events)
    with_changes = any(taker.interest.changes for taker in takers)
    with_found = any(event.origin == "reconcile" or _was_found(event) for event in events)
    routings = []
    for one in folded.events:
        runs = _runs(takers, one, with_changes=with_changes)
        if runs is None:
            return None
        routing = one.routing._replace(runs=runs) if runs else one.routing
        if with_found and may_be_twin(one.event, routing):
            return None
        routings.append(routing)
    return Decision(routings, folded.states, told_of(folded.events, routings))


def told_of(events: Sequence[FoldedEvent], routings: Sequence[Routing]) -> Told:
    """What there is to tell of these."""
    kinds = [
        Kind(one.event.event_type, routing.verdict, routing.runs)
        for one, routing in zip(events, routings, strict=True)
    ]
    failed = [(one.event.event_id, one.error) for one in events if one.error is not None]
    return Told(dict(Counter(kinds)), failed)


def _was_found(event: Unrouted) -> bool:
    return event.known is not None and event.known.was_found


def _runs(takers: Sequence[Taker], folded: FoldedEvent, *, with_changes: bool) -> tuple[NewRun, ...] | None:
    """The runs of an event; None if a `where` has to be asked."""
    event, routing = folded.event, folded.routing
    changes = [ChangeRecord.of(*change) for change in routing.changes] if with_changes else []
    wanted = [taker for taker in takers if taker.interest.in_event(event, changes)]
    if any(taker.asks for taker in wanted):
        return None
    return tuple([taker.run(routing.verdict) for taker in wanted])
