"""The state of one calendar event, merged from all that events have told: per field, the newest wins.

For each field it keeps the value, the events that carried it since it last was something else, and the
newest event before those. That is enough to take in an event from anywhere in the past, so the state depends
on the set of events alone. The rule easiest to break: nothing in here may depend on the order of arrival,
neither a value nor which event set it.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from pydantic_core import from_json

from receiver.told import CUSTOMER, PREVIOUS, Mark, same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from receiver.told import Told

__all__ = ["State", "encode", "recalled"]

MOST_MARKS: Final = 48
"""Events that one state remembers. Of a longer row that told the same, the first and the newest are kept."""

_ORDER: Final = {
    name: place
    for place, name in enumerate(
        (
            "id",
            "uuid",
            "title",
            "description",
            "event_type",
            "status",
            "start_time",
            "end_time",
            "duration_minutes",
            "location",
            "has_video_conference",
            "video_conference_url",
            "created_by_ai_agent",
            "ai_agent",
            CUSTOMER,
            "reason",
            "ics_url",
        )
    )
}
_PART: Final = f"{CUSTOMER}."
_slow = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


class _Field(NamedTuple):
    value: Any
    run: tuple[int, ...]
    """Numbers of the marks, in order of time, that carried this value since it last was another."""
    before: int
    """The number of the newest mark that carried another value; -1 if none did."""


_field: Final = partial(tuple.__new__, _Field)
"""Makes one in a third of the time: there are twenty to an event."""


class State:
    """All that is known of one calendar event. Immutable."""

    __slots__ = ("_fields", "_marks", "_newest", "booked_ms", "reminded_ms")

    def __init__(
        self,
        marks: tuple[Mark, ...] = (),
        fields: Mapping[str, _Field] | None = None,
        newest: Mark | None = None,
        *,
        booked_ms: int | None = None,
        reminded_ms: int | None = None,
    ) -> None:
        """Nothing is known at first."""
        self._marks = marks
        self._fields = fields or {}
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
        return path in self._fields

    def get(self, path: str) -> Any:
        """The value of a field as an event carried it, None if none did. A customer's is `customer_parts`."""
        field = self._fields.get(path)
        return None if field is None else field.value

    def has(self, mark: Mark) -> bool:
        """Whether an event is in it and still matters."""
        return mark in self._marks

    def differs(self, told: Told) -> bool:
        """Whether an event tells anything that is not known, or is known otherwise."""
        return any(
            (field := self._fields.get(path)) is None
            or (value != field.value and not same(path, field.value, value))
            for path, value in told.fields.items()
        )

    def contradicts(self, told: Told) -> bool:
        """Whether an event of the same instant has told a field otherwise."""
        return any(
            (field := self._fields.get(path)) is not None
            and self._marks[field.run[-1]].at_ms == told.mark.at_ms
            and not same(path, field.value, value)
            for path, value in told.fields.items()
        )

    def merged(self, told: Told) -> State:
        """The state with what one more event tells. An event that is in it already changes nothing."""
        if told.mark in self._marks:
            return self
        number, marks = len(self._marks), (*self._marks, told.mark)
        fields = dict(self._fields)
        is_newest = self._newest is None or told.mark > self._newest
        for path, value in told.fields.items():
            field = fields.get(path)
            if field is None:
                fields[path] = _field((value, (number,), -1))
            elif not is_newest:
                fields[path] = _merged(field, path, value, number, marks)
            elif value == field.value or same(path, field.value, value):
                fields[path] = _field((value, (*field.run, number), field.before))
            else:
                fields[path] = _field((value, (number,), field.run[-1]))
        newest = told.mark if is_newest or self._newest is None else self._newest
        if len(marks) > MOST_MARKS:
            marks, fields = _fewer(marks, fields, newest)
        booked_ms = self.booked_ms
        if told.event_type == "calendar.created":
            booked_ms = told.mark.at_ms if booked_ms is None else min(booked_ms, told.mark.at_ms)
        reminded_ms = self.reminded_ms
        if told.event_type == "calendar.reminder":
            reminded_ms = max(told.mark.at_ms, reminded_ms or told.mark.at_ms)
        return State(marks, fields, newest, booked_ms=booked_ms, reminded_ms=reminded_ms)

    @property
    def cancelled_ms(self) -> int | None:
        """Since when it is cancelled, if it is."""
        field = self._fields.get("status")
        return self._marks[field.run[0]].at_ms if field and field.value == "cancelled" else None

    def values(self) -> dict[str, Any]:
        """Values by path, the customer's as `customer.email`, without those that a newer null took away."""
        cleared = self._cleared()
        return {
            path: field.value
            for path, field in self._fields.items()
            if cleared is None or not path.startswith(_PART) or self._marks[field.run[-1]] > cleared
        }

    def calendar_event(self) -> dict[str, Any]:
        """The calendar event by the vendor's field names, in a fixed order."""
        values = self.values()
        found = {name: values.get(name) for name in _ORDER if name in values or name == CUSTOMER}
        parts = {path.removeprefix(_PART): value for path, value in values.items() if path.startswith(_PART)}
        if parts:
            found[CUSTOMER] = {name: parts[name] for name in sorted(parts)}
        elif CUSTOMER not in values:
            del found[CUSTOMER]
        others = [path for path in values if path not in found and not path.startswith(_PART)]
        return found | {path: values[path] for path in sorted(others) if path not in PREVIOUS}

    def provenance(self) -> dict[str, Mark]:
        """By field, the event that set it: since which none has told another value.

        A customer's parts are there each by itself, and as a whole by the one that was set last.
        """
        cleared = self._cleared()
        found: dict[str, Mark] = {}
        for path, field in self._fields.items():
            marks = [self._marks[number] for number in field.run]
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
        field = self._fields.get(CUSTOMER)
        return None if field is None else self._marks[field.run[-1]]

    def memory(self) -> str:
        """JSON of what the log keeps beside `calendar_event` to make this state again with `recalled`.

        Equal for equal states, however they came about.
        """
        cleared = CUSTOMER in self._fields
        groups: dict[tuple[tuple[int, ...], int], list[str]] = {}
        hidden: dict[str, Any] = {}
        for path, field in self._fields.items():
            groups.setdefault(field[1:], []).append(path)
            if path in PREVIOUS or (cleared and (path == CUSTOMER or path.startswith(_PART))):
                hidden[path] = field.value
        # The largest group has every path that no other one names.
        largest = max(groups, key=lambda key: (len(groups[key]), key), default=None)
        listed = [[*key] if key == largest else [*key, sorted(groups[key])] for key in sorted(groups)]
        hidden = {path: hidden[path] for path in sorted(hidden)}
        newest = None if self._newest is None else self._marks.index(self._newest)
        return encode([self._marks, newest, self.booked_ms, self.reminded_ms, listed, hidden])


def encode(value: Any) -> str:
    """Compact JSON. What it gets came through `told`, so there is nothing in it that JSON has not."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # a number of more than 64 bits, or very deep nesting
        return _slow.encode(value)


def recalled(calendar_event: str, memory: str) -> State:
    """The state that `State.calendar_event`, as JSON, and `State.memory` were taken from."""
    marks_told, newest, booked_ms, reminded_ms, listed, hidden = from_json(memory)
    marks = tuple(Mark(*mark) for mark in marks_told)
    values = {**_flat(from_json(calendar_event)), **hidden}
    named = {
        path: (tuple(run), before) for run, before, *paths in listed for path in (paths[0] if paths else ())
    }
    rest = next(((tuple(run), before) for run, before, *paths in listed if not paths), ((), -1))
    fields = {path: _field((value, *named.get(path, rest))) for path, value in values.items()}
    return State(
        marks, fields, None if newest is None else marks[newest], booked_ms=booked_ms, reminded_ms=reminded_ms
    )


def _flat(calendar_event: dict[str, Any]) -> dict[str, Any]:
    """Values by path; a customer by its parts."""
    customer = calendar_event.get(CUSTOMER)
    if not isinstance(customer, dict):
        return calendar_event
    flat = {name: value for name, value in calendar_event.items() if name != CUSTOMER}
    return flat | {f"{_PART}{name}": value for name, value in customer.items()}


def _merged(field: _Field, path: str, value: Any, number: int, marks: Sequence[Mark]) -> _Field:
    """The field with one more event that carries it, wherever that stands in time."""
    mark, newest = marks[number], marks[field.run[-1]]
    if same(path, field.value, value):
        if mark > newest:
            return _Field(value, (*field.run, number), field.before)
        if field.before < 0 or mark > marks[field.before]:
            return _Field(
                field.value, tuple(sorted((*field.run, number), key=marks.__getitem__)), field.before
            )
        return field
    if mark > newest:
        return _Field(value, (number,), field.run[-1])
    if field.before < 0 or mark > marks[field.before]:
        return _Field(field.value, tuple(n for n in field.run if marks[n] > mark), number)
    return field


def _fewer(
    marks: tuple[Mark, ...], fields: Mapping[str, _Field], newest: Mark
) -> tuple[tuple[Mark, ...], dict[str, _Field]]:
    """The same with the marks that are needed, and of long runs the first and the newest ones."""
    needed = {marks.index(newest)}
    for field in fields.values():
        needed |= {field.run[0], field.before, *field.run[-MOST_MARKS // 4 :]}
    needed.discard(-1)
    numbers = {old: new for new, old in enumerate(sorted(needed))}
    numbers[-1] = -1
    return tuple(marks[old] for old in sorted(needed)), {
        path: _Field(field.value, tuple(numbers[n] for n in field.run if n in needed), numbers[field.before])
        for path, field in fields.items()
    }


def _place(item: tuple[str, object]) -> tuple[int, str]:
    """Known fields in the vendor's order, then the others by name."""
    return _ORDER.get(item[0].partition(".")[0], len(_ORDER)), item[0]
