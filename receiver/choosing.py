"""The handlers of an event, with their `where` asked: the plugin's code, so this is done in the service.

The rule easiest to break: an event must get past here whatever a `where` does to it, or it holds back every
event behind it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from receiver import logs
from receiver.clock import to_datetime
from receiver.events import parse_event

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from receiver.events.calendar import Known
    from receiver.plugins import Handler
    from storage.calendar import ChangeRecord
    from storage.work import NewRun, Unrouted


def takers_of(
    event: Unrouted, handlers: Iterable[Handler], changes: Sequence[ChangeRecord], known: Known
) -> list[Handler]:
    """Those of the handlers that want the event: by its type or by what it changed, then by their `where`."""
    return [
        handler
        for handler in handlers
        if handler.interest.in_event(event, changes) and _chosen(handler, event, changes, known)
    ]


def _chosen(handler: Handler, event: Unrouted, changes: Sequence[ChangeRecord], known: Known) -> bool:
    """Ask the handler's `where`. If it fails, the event is given to the handler: rather one too many."""
    if handler.where is None:
        return True
    try:
        typed = parse_event(
            event.body,
            event_id=event.event_id,
            source=event.source,
            received_at=to_datetime(event.received_at_ms),
            origin=event.origin,
        )
        given = handler.given(typed, changes, known=known)
        return not given or any(handler.where(one) for one in given)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError):
            raise
        logs.get("route").warning(
            "where failed, so the handler gets the event",
            handler=handler.name,
            event_id=event.event_id,
            error=type(error).__name__,
        )
        return True


def runs_of(handlers: Iterable[Handler], verdict: str | None) -> tuple[NewRun, ...]:
    """The runs of an event for these handlers."""
    return tuple(handler.taker.run(verdict) for handler in handlers)
