"""The events of one calendar event, folded again: in the order of time, up to a time, or as they came.

Pure. There are few events about one calendar event, so what was known at any time is found by folding those
that there were. The rule easiest to break: what each event changed in truth is found in the order of time;
how it was judged depends on the order in which it came, and is in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from receiver.changes import Change, fold
from receiver.errors import InvalidJSON
from receiver.folding import told_by
from receiver.jsonbody import parse_json
from receiver.told import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.state import State
    from receiver.told import Told
    from receiver.verdicts import Verdict
    from storage.calendar import HistoryRecord

__all__ = ["Step", "as_they_came", "continued", "in_order_of_time", "state_at"]


_FIRST: Final = Mark(-(2**63), 0, 0, 0)


class Step(NamedTuple):
    """One event, and what folding finds of it. Without a verdict, it tells nothing of the calendar event."""

    record: HistoryRecord
    verdict: Verdict | None
    changes: tuple[Change, ...]
    state: State | None
    """As it is then."""


def as_they_came(records: Iterable[HistoryRecord]) -> list[Step]:
    """The events in log order, as routing judges them."""
    return _steps([(record, _told(record)) for record in records])


def in_order_of_time(records: Iterable[HistoryRecord]) -> list[Step]:
    """The events in the order in which they happened, with what each changed; silent ones first."""
    told = [(record, _told(record)) for record in records]
    return _steps(sorted(told, key=lambda pair: pair[1].mark if pair[1] else _FIRST))


def state_at(
    records: Iterable[HistoryRecord], *, time_ms: int | None, by_occurred: bool = False
) -> State | None:
    """What was known at a time, by the events received until then; None if nothing was.

    With `by_occurred`, by those that had happened, as far as is known now. Without a time, by all.
    """
    state: State | None = None
    for record in records:
        told = _told(record)
        if told is None:
            continue
        if time_ms is None or (told.mark.at_ms if by_occurred else record.received_at_ms) <= time_ms:
            state, _, _ = fold(state, told)
    return state


def continued(state: State | None, records: Iterable[HistoryRecord]) -> State | None:
    """A state with more events of its calendar event."""
    for record in records:
        told = _told(record)
        if told is not None:
            state, _, _ = fold(state, told)
    return state


def _told(record: HistoryRecord) -> Told | None:
    try:
        return told_by(record, parse_json(record.body))
    except InvalidJSON:  # intake lets none in
        return None


def _steps(told: Iterable[tuple[HistoryRecord, Told | None]]) -> list[Step]:
    steps: list[Step] = []
    state: State | None = None
    for record, content in told:
        if content is None:
            steps.append(Step(record, None, (), state))
        else:
            state, verdict, changes = fold(state, content)
            steps.append(Step(record, verdict, changes, state))
    return steps
