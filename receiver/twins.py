"""Webhooks that come after all: what reconcile has told already is not told to handlers a second time.

The vendor may still be trying to deliver what was found at its API meanwhile. Such a webhook is recorded as
all are, and its runs as `skipped`. The rule easiest to break: only a webhook that changes nothing, is of the
kind that reconcile has told last, and was made at that time is one; rather one run too many than one too few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.calendar import HistoryRecord
    from storage.reader import EventReader
    from storage.work import Routing, Unrouted

BEFORE_MS: Final = 5_000
"""The vendor's clocks may differ by this: an appointment's own times, and the time of a webhook."""
AFTER_MS: Final = 40 * 60_000
"""The last retry comes after 36 minutes, and may have a time of its own."""


async def without_twins(
    log: EventReader, events: Sequence[Unrouted], routings: Sequence[Routing]
) -> list[Routing]:
    """The routings of a batch, those of such webhooks with runs that are skipped."""
    in_batch: dict[tuple[int | None, str | None], Unrouted] = {}
    found: list[Routing] = []
    for event, routing in zip(events, routings, strict=True):
        kind = (event.number, event.event_type)
        if may_be_twin(event, routing) and _tells_the_same(
            event, in_batch.get(kind) or await _latest(log, event)
        ):
            skipped = tuple(run._replace(skipped=True) for run in routing.runs)
            found.append(routing._replace(runs=skipped))
        else:
            found.append(routing)
        in_batch[kind] = event
    return found


def may_be_twin(event: Unrouted, routing: Routing) -> bool:
    """Whether an event is one, if the log says so."""
    is_about = event.number is not None and routing.verdict is not None
    return is_about and event.origin == "webhook" and bool(routing.runs) and not routing.changes


async def _latest(log: EventReader, event: Unrouted) -> HistoryRecord | None:
    """The last event of this kind about the same calendar event, among those that are routed."""
    if event.number is None or event.known is None or not event.known.was_found:
        return None  # as for nearly all
    return await log.latest(event.number, event.event_type)


def _tells_the_same(event: Unrouted, latest: Unrouted | HistoryRecord | None) -> bool:
    if latest is None or latest.origin != "reconcile":
        return False
    if event.occurred_at_ms is None or latest.occurred_at_ms is None:
        return False
    return -BEFORE_MS <= event.occurred_at_ms - latest.occurred_at_ms <= AFTER_MS
