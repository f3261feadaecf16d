"""What is known, computed again from the log: where it differs from what is stored, and mended if asked.

The events are the truth; states, verdicts and changes follow from them in log order. The rule easiest to
break: a calendar event about which a new event came meanwhile is looked at again, never overwritten.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from receiver.folding import new_state, rows_of
from receiver.history import as_they_came
from storage.calendar import Restated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from receiver.history import Step
    from receiver.state import State
    from storage.calendar import CalendarEventRecord, ChangeRecord, NamedRecord, NewChange, NewState
    from storage.log import EventLog
    from storage.reader import EventReader

__all__ = ["Difference", "differences", "mend", "rebuild"]

PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """A calendar event that is stored otherwise than its events say."""

    record: NamedRecord
    restated: Restated
    fields: tuple[str, ...]
    """Of the calendar event; `(memory)` if only what is kept beside it differs, all if nothing was stored."""
    events: dict[str, str] = field(default_factory=dict)
    """By event id, what is otherwise: verdict or changes."""


async def differences(log: EventReader) -> AsyncIterator[Difference | None]:
    """Each calendar event in turn: what differs, or None."""
    after = 0
    while page := await log.calendar_event_page(after, PAGE):
        for record in page:
            yield await _difference(log, record)
        after = page[-1].subject


async def rebuild(log: EventLog, subject: int) -> bool:
    """Store what the events of one calendar event say, by its number in the log. False as for `mend`."""
    for record in await log.calendar_event_page(subject - 1, 1):
        if record.subject == subject and (difference := await _difference(log, record)) is not None:
            return await mend(log, difference)
    return True


async def mend(log: EventLog, difference: Difference) -> bool:
    """Store what the events say. False if it has changed since, so that it is to be looked at again."""
    return await log.restate(difference.restated)


async def _difference(log: EventReader, record: NamedRecord) -> Difference | None:
    known = record.known
    upto_seq = None if known is None else known.last_seq
    steps = as_they_came(await log.history(record.subject, upto_seq=upto_seq))
    told = [step for step in steps if step.verdict is not None]
    if not told or told[-1].state is None:  # its events were pruned, or tell nothing
        return None
    state = new_state(
        record.subject,
        told[-1].state,
        revision=known.revision if known else None,
        last_seq=told[-1].record.seq,
    )
    fields = _fields(known, told[-1].state, state)
    events = {
        step.record.event_id: otherwise
        for step in steps
        if (otherwise := _judged_otherwise(step)) is not None
    }
    if not fields and not events:
        return None
    judged = tuple((step.record.seq, step.verdict, rows_of(step.changes)) for step in steps)
    return Difference(record, Restated(state, judged), fields, events)


def _fields(known: CalendarEventRecord | None, state: State, new: NewState) -> tuple[str, ...]:
    expected = state.calendar_event()
    if known is None:
        return tuple(expected)
    found: dict[str, Any] = json.loads(known.calendar_event)
    names = tuple(name for name in {**found, **expected} if found.get(name) != expected.get(name))
    return names or (() if json.loads(known.memory) == json.loads(new.memory) else ("(memory)",))


def _judged_otherwise(step: Step) -> str | None:
    if step.record.verdict != step.verdict:
        return f"verdict {step.record.verdict}, expected {step.verdict}"
    if _stored(step.record.changes) != _computed(rows_of(step.changes)):
        return "changes"
    return None


def _stored(changes: Sequence[ChangeRecord]) -> list[tuple[Any, ...]]:
    return [(change.name, change.before, change.after, change.reason) for change in changes]


def _computed(changes: Sequence[NewChange]) -> list[tuple[Any, ...]]:
    return [
        (change.name, json.loads(change.before or "{}"), json.loads(change.after or "{}"), change.reason)
        for change in changes
    ]
