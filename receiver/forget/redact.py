"""A body without what people said: ids, kinds, times and statuses stay, all else gives way to placeholders.

Equal texts of one person get equal placeholders, so what changed when can still be told, and folding
its events again gives the same verdicts and the same names of changes. A placeholder cannot be taken for
real: its addresses are in `.invalid`, which leads nowhere (RFC 2606). The rule easiest to break: what is not
known to be harmless goes; a key that the vendor adds tomorrow is content.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from receiver import reading
from receiver.jsonbody import canonical
from receiver.words import FORGOTTEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from receiver.forget.person import Person
    from receiver.jsonbody import JSON

__all__ = ["Placeholders", "redacted", "without_mentions"]

DEEPEST: Final = 30
"""Content below this is one placeholder."""
MOST_PLACEHOLDERS: Final = 1_000_000
"""Of one erasure."""
_id = re.compile(r"[A-Za-z0-9_-]{1,64}")
_word = re.compile(r"[a-z][a-z0-9_.-]{0,39}")
_key = re.compile(r"[a-z][A-Za-z0-9_]{0,39}")


def _is_id(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and _id.fullmatch(value) is not None)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and _word.fullmatch(value) is not None


def _is_time(value: object) -> bool:
    return reading.instant(value) is not None


def _is_number(value: object) -> bool:
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


_CALENDAR_EVENT: Final[Mapping[str, Any]] = {
    "id": _is_id,
    "uuid": _is_id,
    "event_type": _is_word,
    "status": _is_word,
    **dict.fromkeys(("start_time", "end_time", "previous_start", "previous_end"), _is_time),
    **dict.fromkeys(("created_at", "updated_at"), _is_time),
    **dict.fromkeys(("duration_minutes", "remind_before_minutes"), _is_number),
    "ai_agent": {"id": _is_id, "assistant_id": _is_id},
    "team": {"id": _is_id},
}
_CALL: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("id", "klen_call_id", "agent_id", "assistant_id"), _is_id),
    **dict.fromkeys(("status", "type", "ended_reason"), _is_word),
    **dict.fromkeys(("started_at", "ended_at"), _is_time),
    **dict.fromkeys(("duration", "duration_seconds"), _is_number),
    "contact": {"id": _is_id},
}
_BODY: Final[Mapping[str, Any]] = {
    "event_type": _is_word,
    "timestamp": _is_time,
    "calendar_event": _CALENDAR_EVENT,
    "call": _CALL,
    # Of events that klenhook made itself.
    "expected": _is_word,
    "due_at": _is_time,
}
"""What stays, by its place: a check of the value, or the places inside it."""


class Placeholders:
    """What stands for the texts of one person."""

    def __init__(self, erasure_id: int = 0) -> None:
        """Two erasures have no placeholder in common, so nobody is taken for somebody else."""
        self._first = erasure_id * MOST_PLACEHOLDERS + 1
        self._numbers: dict[bytes, int] = {}

    def of(self, value: Any, key: str) -> str:
        """The placeholder for a value under this key: the same one for the same value."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # 1.0 is 1
        number = self._numbers.setdefault(canonical(value), self._first + len(self._numbers))
        if key == "email":
            return f"forgotten-{number}@forgotten.invalid"
        if key.endswith("_url"):
            return f"https://forgotten.invalid/{number}"
        return f"forgotten-{number}"


def redacted(body: JSON, placeholders: Placeholders) -> dict[str, Any]:
    """The body without content, marked as such."""
    kept = _kept(body, _BODY, placeholders) if isinstance(body, dict) else {}
    return {**kept, FORGOTTEN: True}


def _kept(value: Mapping[str, Any], places: Mapping[str, Any], placeholders: Placeholders) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, part in value.items():
        place = places.get(key)
        if isinstance(place, dict) and isinstance(part, dict):
            result[key] = _kept(part, place, placeholders)
        elif callable(place) and place(part):
            result[key] = part
        else:
            result[_clean(key, placeholders)] = _replaced(part, key, placeholders, DEEPEST)
    return result


def _replaced(value: Any, key: str, placeholders: Placeholders, depth: int) -> Any:
    """Content of the same shape that says nothing. Yes, no and nothing say nothing already."""
    if value is None or isinstance(value, bool) or value == "":
        return value
    if isinstance(value, dict) and depth:
        return {
            _clean(name, placeholders): _replaced(part, name, placeholders, depth - 1)
            for name, part in value.items()
        }
    if isinstance(value, list) and depth:
        return [_replaced(part, key, placeholders, depth - 1) for part in value]
    return placeholders.of(value, key)


def _clean(key: str, placeholders: Placeholders) -> str:
    return key if _key.fullmatch(key) else placeholders.of(key, "")


def without_mentions(value: JSON, person: Person) -> JSON:
    """The value without the texts, numbers and keys that hold an address or a number of the person."""

    def walk(part: Any, depth: int) -> Any:
        if isinstance(part, dict) and depth:
            return {
                name: walk(inner, depth - 1) for name, inner in part.items() if not person.is_mentioned(name)
            }
        if isinstance(part, list) and depth:
            return [walk(inner, depth - 1) for inner in part]
        if isinstance(part, float) and not math.isfinite(part):
            return None  # too large for Python; it could not be written again
        return FORGOTTEN if _mentions(part, person.is_mentioned) else part

    return walk(value, 500)  # type: ignore[no-any-return]  # as deep as JSON is read


def _mentions(part: Any, is_mentioned: Callable[[str], bool]) -> bool:
    if isinstance(part, str):
        return is_mentioned(part)
    return type(part) is int and is_mentioned(str(part))
