"""The events of one batch folded into what is known of their calendar events, in log order. Pure.

A state is read once however many events of the batch are about it, and written once. The rule easiest to
break: whatever a body holds, its event must get past here, or it holds back every event behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from receiver import reading
from receiver.changes import Change, fold
from receiver.jsonbody import parse_json
from receiver.state import State, encode, recalled
from receiver.told import CUSTOMER, told
from receiver.words import words_of
from storage.calendar import NewChange, NewState
from storage.work import Routing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.jsonbody import JSON
    from receiver.told import Told
    from receiver.verdicts import Verdict
    from storage.calendar import HistoryRecord
    from storage.work import Unrouted

LONGEST: Final = 500
"""Characters of a text column."""

__all__ = ["FoldedBatch", "FoldedEvent", "fold_batch", "new_state", "rows_of", "told_by"]


class FoldedEvent(NamedTuple):
    """What there is to know of an event when its handlers are chosen."""

    event: Unrouted
    """Unless it was asked for, without its body and what was known before."""
    routing: Routing
    """Without runs."""
    known: str | None = None
    """With the body: what is known of its calendar event after it, as JSON."""
    error: str | None = None
    """Why it was not folded into its calendar event, if it should have been: the kind of exception."""


class FoldedBatch(NamedTuple):
    """A batch, and what is known now of the calendar events that it is about."""

    events: list[FoldedEvent]
    states: list[NewState]
    with_bodies: bool


def fold_batch(events: Sequence[Unrouted], *, with_bodies: bool) -> FoldedBatch:
    """Fold the events of a batch, in log order."""
    folding = Folding()
    folded = [_folded_event(event, folding, with_bodies=with_bodies) for event in events]
    return FoldedBatch(folded, folding.states(), with_bodies)


def _folded_event(event: Unrouted, folding: Folding, *, with_bodies: bool) -> FoldedEvent:
    words, known = "", None
    try:
        body = parse_json(event.body)
        words = words_of(body)
        folded = folding.add(event, body)
    except Exception as error:  # noqa: BLE001 -- one event that cannot be folded must not stop all others
        folded = Folded(error=type(error).__name__)
    if not with_bodies:
        known_before = event.known and event.known._replace(calendar_event="", memory="")
        event = event._replace(body=b"", body_sha256=b"", known=known_before)
    elif folded.state:
        known = encode(folded.state.calendar_event())
    routing = Routing(
        seq=event.seq,
        source=event.source,
        subject=event.subject,
        runs=(),
        words=words,
        number=event.number,
        verdict=folded.verdict,
        changes=rows_of(folded.changes),
    )
    return FoldedEvent(event, routing, known, folded.error)


class Folded(NamedTuple):
    """What folding found of one event. Without a verdict, it is about no calendar event."""

    verdict: Verdict | None = None
    changes: tuple[Change, ...] = ()
    state: State | None = None
    """As it is after this event."""
    error: str | None = None


@dataclass(slots=True)
class _Line:
    """One calendar event of the batch."""

    state: State | None
    revision: int | None
    last_seq: int = 0


class Folding:
    """A batch under way."""

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}

    def add(self, event: Unrouted, body: JSON) -> Folded:
        """Fold the next event of the batch, with its parsed body."""
        if event.number is None or event.call_id is not None:
            return Folded()
        content = told_by(event, body)
        if content is None:
            return Folded()
        line = self._lines.get(event.number) or _line(event)
        state, verdict, changes = fold(line.state, content)
        line.state, line.last_seq = state, event.seq
        self._lines[event.number] = line
        return Folded(verdict, changes, state)

    def states(self) -> list[NewState]:
        """What is known now of the calendar events of the batch."""
        return [
            new_state(number, line.state, revision=line.revision, last_seq=line.last_seq)
            for number, line in self._lines.items()
            if line.state is not None
        ]


def _line(event: Unrouted) -> _Line:
    if event.known is None:
        return _Line(None, None)
    return _Line(recalled(event.known.calendar_event, event.known.memory), event.known.revision)


def new_state(number: int, state: State, *, revision: int | None, last_seq: int) -> NewState:
    """A state as it is stored."""
    start, end = (reading.instant(state.get(name)) for name in ("start_time", "end_time"))
    calendar_event = state.calendar_event()
    customer = calendar_event.get(CUSTOMER)
    return NewState(
        subject=number,
        revision=revision,
        last_seq=last_seq,
        calendar_event=encode(calendar_event),
        memory=state.memory(),
        status=reading.storable(state.get("status"), LONGEST),
        start_ms=None if start is None else reading.milliseconds(start),
        end_ms=None if end is None else reading.milliseconds(end),
        booked_ms=state.booked_ms,
        cancelled_ms=state.cancelled_ms,
        customer=_customer(customer if isinstance(customer, dict) else {}),
    )


def _customer(customer: dict[str, Any]) -> str | None:
    """What tells customers apart."""
    email, phone = (reading.storable(customer.get(name), LONGEST) or "" for name in ("email", "phone"))
    return email.strip().lower() or "".join(c for c in phone if c.isdigit()) or None


def told_by(event: Unrouted | HistoryRecord, body: JSON) -> Told | None:
    """What a recorded event, with its parsed body, tells of its calendar event, if it does."""
    return told(
        body,
        seq=event.seq,
        body_sha256=event.body_sha256,
        occurred_at_ms=event.occurred_at_ms,
        received_at_ms=event.received_at_ms,
    )


def rows_of(changes: tuple[Change, ...]) -> tuple[NewChange, ...]:
    """Changes as they are stored."""
    return tuple(
        NewChange(
            change.name,
            encode(change.before) if change.before else None,
            encode(change.after) if change.after else None,
            reading.storable(change.reason, 10_000),
        )
        for change in changes
    )
