"""The events of one batch folded into what is known of their calendar events, in log order. Pure.

A state is read once however many events of the batch are about it, and written once. The rule easiest to
break: whatever a body holds, its event must get past here, or it holds back every event behind it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from receiver import reading
from receiver.changes import Change, fold
from receiver.jsonbody import parse_json
from receiver.parts import in_parts
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
    routing: Routing
    """Without runs."""
    known: str | None = None
    """If it was asked for: what is known of its calendar event after it, as JSON."""
    error: str | None = None
    """Why it was not folded into its calendar event, if it should have been: the kind of exception."""


class FoldedBatch(NamedTuple):
    """A batch, and what is known now of the calendar events that it is about."""

    events: list[FoldedEvent]
    states: list[NewState]


def fold_batch(events: Sequence[Unrouted], *, with_known: bool = False) -> FoldedBatch:
    """Fold the events of a batch, in log order."""
    folding = Folding()
    found = [one for part in in_parts(events) for one in _folded(part, folding, with_known=with_known)]
    return FoldedBatch(found, folding.states())


def _folded(events: Sequence[Unrouted], folding: Folding, *, with_known: bool) -> list[FoldedEvent]:
    read = _read(events)
    folding.recall(events, read)
    folded = [folding.add(*both) for both in zip(events, read, strict=True)]
    return [
        FoldedEvent(
            event,
            Routing(
                event.seq,
                event.source,
                event.subject,
                (),
                words,
                event.number,
                one.verdict,
                rows_of(one.changes),
            ),
            encode(one.state.calendar_event()) if with_known and one.state else None,
            one.error,
        )
        for event, one, (words, _, _) in zip(events, folded, read, strict=True)
    ]


class _Read(NamedTuple):
    """What a body says."""

    words: str
    told: Told | None
    error: str | None = None


def _read(events: Sequence[Unrouted]) -> list[_Read]:
    try:
        bodies = [parse_json(event.body) for event in events]
        words = [words_of(body) for body in bodies]
        tolds = [_told_by(*both) for both in zip(events, bodies, strict=True)]
    except Exception as error:  # noqa: BLE001 -- one event that cannot be folded must not stop all others
        if len(events) > 1:
            return [read for event in events for read in _read([event])]
        found = ""
        with contextlib.suppress(Exception):  # they are worth having, whatever else is wrong
            found = words_of(parse_json(events[0].body))
        return [_Read(found, None, type(error).__name__)]
    return [*map(_Read, words, tolds)]


def _told_by(event: Unrouted, body: JSON) -> Told | None:
    if event.number is None or event.call_id is not None:
        return None
    return told_by(event, body)


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

    def recall(self, events: Sequence[Unrouted], read: Sequence[_Read]) -> None:
        """Get ready what is known of what they are about, as far as it can be read."""
        for event, one in zip(events, read, strict=True):
            if one.told is not None:
                with contextlib.suppress(Exception):  # `add` will say what is wrong
                    self._line(event)

    def add(self, event: Unrouted, read: _Read) -> Folded:
        """Fold the next event of the batch."""
        if read.told is None:
            return Folded(error=read.error)
        try:
            line = self._line(event)
            state, verdict, changes = fold(line.state, read.told)
        except Exception as error:  # noqa: BLE001 -- as above
            return Folded(error=type(error).__name__)
        line.state, line.last_seq = state, event.seq
        return Folded(verdict, changes, state)

    def _line(self, event: Unrouted) -> _Line:
        assert event.number is not None  # noqa: S101 -- it is about something
        line = self._lines.get(event.number)
        if line is None:
            line = self._lines[event.number] = _line(event)
        return line

    def states(self) -> list[NewState]:
        """What is known now of the calendar events of the batch."""
        return [
            new_state(number, line.state, revision=line.revision, last_seq=line.last_seq)
            for number, line in self._lines.items()
            if line.state is not None and line.last_seq
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
    email = reading.storable(customer.get("email"), LONGEST)
    if email and (address := email.strip().lower()):
        return address
    phone = reading.storable(customer.get("phone"), LONGEST) or ""
    return "".join(c for c in phone if c.isdigit()) or None


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
