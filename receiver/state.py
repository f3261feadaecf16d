"""The state of one calendar event, merged from all that events have told: per field, the newest wins.

For each field it keeps the value, the events that carried it since it last was something else, and the
newest event before those. That is enough to take in an event from anywhere in the past, so the state depends
on the set of events alone. The rule easiest to break: nothing in here may depend on the order of arrival,
neither a value nor which event set it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from pydantic_core import from_json

from receiver.told import CUSTOMER, FIELDS, PREVIOUS, Mark, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from receiver.told import Told

__all__ = ["State", "encode", "recalled"]

MOST_MARKS: Final = 48
"""Events that one state remembers. Of a longer row that told the same, the first and the newest are kept."""

_ORDER: Final = {name: place for place, name in enumerate(FIELDS)}
_PART: Final = f"{CUSTOMER}."
_slow = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


class _Trail(NamedTuple):
    """Which events carried a field. Fields that were told together share one."""

    run: tuple[int, ...]
    """Numbers of the marks, in order of time, that carried its value since it last was another."""
    before: int
    """The number of the newest mark that carried another value; -1 if none did."""


class State:
    """All that is known of one calendar event. Immutable."""

    __slots__ = ("_marks", "_newest", "_trails", "_values", "booked_ms", "reminded_ms")

    def __init__(
        self,
        marks: tuple[Mark, ...] = (),
        values: dict[str, Any] | None = None,
        trails: dict[str, _Trail] | None = None,
        newest: Mark | None = None,
        *,
        booked_ms: int | None = None,
        reminded_ms: int | None = None,
    ) -> None:
        """Nothing is known at first."""
        self._marks = marks
        self._values = values or {}
        self._trails = trails or {}
        self._newest = newest
        self.booked_ms = booked_ms
        """When it was created, if that event is known."""
        self.reminded_ms = reminded_ms
        """When a reminder of it was sent last."""

    @property
    def newest(self) -> Mark | None:
        """The newest event."""
        return self._newest

    def __contains__(self, path: str) -> bool:
        """Whether any event has told this field."""
        return path in self._values

    def get(self, path: str) -> Any:
        """The value of a field as an event carried it, None if none did. A customer's is `customer_parts`."""
        return self._values.get(path)

    def has(self, mark: Mark) -> bool:
        """Whether an event is in it and still matters."""
        return mark in self._marks

    def differs(self, told: Told) -> bool:
        """Whether an event tells anything that is not known, or is known otherwise."""
        known = self._values
        unlike = [path for path, value in told.fields.items() if path not in known or value != known[path]]
        return any(path not in known or not same(path, known[path], told.fields[path]) for path in unlike)

    def contradicts(self, told: Told) -> bool:
        """Whether an event of the same instant has told a field otherwise."""
        return any(
            (trail := self._trails.get(path)) is not None
            and self._marks[trail.run[-1]].at_ms == told.mark.at_ms
            and not same(path, self._values[path], value)
            for path, value in told.fields.items()
        )

    def merged(self, told: Told) -> State:
        """The state with what one more event tells. An event that is in it already changes nothing."""
        if told.mark in self._marks:
            return self
        marks = (*self._marks, told.mark)
        if self._newest is None or told.mark > self._newest:
            newest, values, trails = told.mark, self._values | told.fields, self._continued(told)
        else:
            newest, values, trails = self._newest, *self._filled_in(told, marks)
        if len(marks) > MOST_MARKS:
            marks, trails = _fewer(marks, trails, newest)
        booked_ms = self.booked_ms
        if told.event_type == "calendar.created":
            booked_ms = told.mark.at_ms if booked_ms is None else min(booked_ms, told.mark.at_ms)
        reminded_ms = self.reminded_ms
        if told.event_type == "calendar.reminder":
            reminded_ms = max(told.mark.at_ms, reminded_ms or told.mark.at_ms)
        return State(marks, values, trails, newest, booked_ms=booked_ms, reminded_ms=reminded_ms)

    def _continued(self, told: Told) -> dict[str, _Trail]:
        """The trails with an event that is newer than all others."""
        number, known, trails = len(self._marks), self._values, dict(self._trails)
        first = longer = _Trail((number,), -1)
        shorter: _Trail | None = None
        for path, value in told.fields.items():
            trail = trails.get(path)
            if trail is None:
                trails[path] = first
            elif value == known[path] or same(path, known[path], value):
                if trail is not shorter:  # mostly it is the one of the field before
                    shorter, longer = trail, _Trail((*trail.run, number), trail.before)
                trails[path] = longer
            else:
                trails[path] = _Trail((number,), trail.run[-1])
        return trails

    def _filled_in(self, told: Told, marks: Sequence[Mark]) -> tuple[dict[str, Any], dict[str, _Trail]]:
        """Values and trails with an event that is not the newest."""
        number, values, trails = len(self._marks), dict(self._values), dict(self._trails)
        for path, value in told.fields.items():
            if path in trails:
                values[path], trails[path] = _filled(path, values[path], trails[path], value, number, marks)
            else:
                values[path], trails[path] = value, _Trail((number,), -1)
        return values, trails

    @property
    def cancelled_ms(self) -> int | None:
        """Since when it is cancelled, if it is."""
        is_cancelled = self._values.get("status") == "cancelled"
        return self._marks[self._trails["status"].run[0]].at_ms if is_cancelled else None

    def values(self) -> dict[str, Any]:
        """Values by path, the customer's as `customer.email`, without those that a newer null took away."""
        cleared = self._cleared()
        if cleared is None:
            return dict(self._values)
        return {
            path: value
            for path, value in self._values.items()
            if not path.startswith(_PART) or self._marks[self._trails[path].run[-1]] > cleared
        }

    def calendar_event(self) -> dict[str, Any]:
        """The calendar event by the vendor's field names, in a fixed order."""
        values = self.values()
        others = sorted(values.keys() - _ORDER.keys())
        parts = {path.removeprefix(_PART): values[path] for path in others if path.startswith(_PART)}
        if parts:
            values[CUSTOMER] = parts
        found = {name: values[name] for name in _ORDER if name in values}
        for path in others:
            if not path.startswith(_PART) and path not in PREVIOUS:
                found[path] = values[path]
        return found

    def provenance(self) -> dict[str, Mark]:
        """By field, the event that set it: since which none has told another value.

        A customer's parts are there each by itself, and as a whole by the one that was set last.
        """
        cleared = self._cleared()
        found: dict[str, Mark] = {}
        for path, trail in self._trails.items():
            marks = [self._marks[number] for number in trail.run]
            if path.startswith(_PART) and cleared is not None:
                marks = [mark for mark in marks if mark > cleared]
            if marks and path not in PREVIOUS:
                found[path] = marks[0]
        parts = [mark for path, mark in found.items() if path.startswith(_PART)]
        if parts:
            found[CUSTOMER] = max(parts)
        return dict(sorted(found.items(), key=_place))

    def _cleared(self) -> Mark | None:
        """The newest event that had something else than parts for a customer, such as null."""
        trail = self._trails.get(CUSTOMER)
        return None if trail is None else self._marks[trail.run[-1]]

    def memory(self) -> str:
        """JSON of what the log keeps beside `calendar_event` to make this state again with `recalled`.

        Equal for equal states, however they came about.
        """
        groups: dict[_Trail, list[str]] = {}
        last: _Trail | None = None
        group: list[str] = []
        for path, trail in self._trails.items():
            if trail is not last:  # hashing twenty of them takes longer than all else here
                last, group = trail, groups.setdefault(trail, [])
            group.append(path)
        # The largest group has every path that no other one names.
        largest = max(groups, key=lambda trail: (len(groups[trail]), trail)) if len(groups) > 1 else last
        listed = [
            [*trail] if trail == largest else [*trail, sorted(groups[trail])] for trail in sorted(groups)
        ]
        hidden: list[str] = [path for path in (*PREVIOUS, CUSTOMER) if path in self._values]
        if CUSTOMER in self._values:
            hidden += [path for path in self._values if path.startswith(_PART)]
        return encode(
            [
                [*map(tuple, self._marks)],
                None if self._newest is None else self._marks.index(self._newest),
                self.booked_ms,
                self.reminded_ms,
                listed,
                {path: self._values[path] for path in sorted(hidden)},
            ]
        )


def encode(value: Any) -> str:
    """Compact JSON. What it gets came through `told`, so there is nothing in it that JSON has not."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # a number of more than 64 bits, or very deep nesting
        return _slow.encode(value)


def recalled(calendar_event: str, memory: str) -> State:
    """The state that `State.calendar_event`, as JSON, and `State.memory` were taken from."""
    marks_told, newest, booked_ms, reminded_ms, listed, hidden = from_json(memory)
    marks = tuple(map(Mark._make, marks_told))
    values = _flat(from_json(calendar_event)) | hidden
    rest = next((_Trail(tuple(run), before) for run, before, *paths in listed if not paths), _Trail((), -1))
    trails = dict.fromkeys(values, rest)
    for run, before, *paths in listed:
        if paths:
            trails |= dict.fromkeys(paths[0], _Trail(tuple(run), before))
    return State(
        marks,
        values,
        trails,
        None if newest is None else marks[newest],
        booked_ms=booked_ms,
        reminded_ms=reminded_ms,
    )


def _flat(calendar_event: dict[str, Any]) -> dict[str, Any]:
    """Values by path; a customer by its parts."""
    customer = calendar_event.get(CUSTOMER)
    if isinstance(customer, dict):
        del calendar_event[CUSTOMER]
        calendar_event |= {_PART + name: value for name, value in customer.items()}
    return calendar_event


def _filled(
    path: str, known: Any, trail: _Trail, value: Any, number: int, marks: Sequence[Mark]
) -> tuple[Any, _Trail]:
    """A field with one more event that carries it, wherever that stands in time."""
    (run, before), mark = trail, marks[number]
    if mark > marks[run[-1]]:
        if same(path, known, value):
            return value, _Trail((*run, number), before)
        return value, _Trail((number,), run[-1])
    if before >= 0 and mark <= marks[before]:
        return known, trail
    if same(path, known, value):
        return known, _Trail(tuple(sorted((*run, number), key=marks.__getitem__)), before)
    return known, _Trail(tuple(n for n in run if marks[n] > mark), number)


def _fewer(
    marks: tuple[Mark, ...], trails: Mapping[str, _Trail], newest: Mark
) -> tuple[tuple[Mark, ...], dict[str, _Trail]]:
    """The same with the marks that are needed, and of long runs the first and the newest ones."""
    needed = {marks.index(newest)}
    for run, before in trails.values():
        needed |= {run[0], before, *run[-MOST_MARKS // 4 :]}
    needed.discard(-1)
    numbers = {old: new for new, old in enumerate(sorted(needed))}
    numbers[-1] = -1
    return tuple(marks[old] for old in sorted(needed)), {
        path: _Trail(tuple(numbers[n] for n in run if n in needed), numbers[before])
        for path, (run, before) in trails.items()
    }


def _place(item: tuple[str, object]) -> tuple[int, str]:
    """Known fields in the vendor's order, then the others by name."""
    return _ORDER.get(item[0].partition(".")[0], len(_ORDER)), item[0]
