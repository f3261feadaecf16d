"""The fold: how an event stands to what is known of its calendar event, and what it changed.

Pure: `fold(state, told) -> (state, verdict, changes)`. Changes come from comparing what was known with what
is known, whatever the webhook is called: a cancellation may come as an update, and what reconcile found
changes the same as what a webhook told. The rule easiest to break: to learn a field that nobody told before
is no change, or each further field the vendor or its API shows would look like one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from receiver.state import State
from receiver.told import CUSTOMER, PREVIOUS, TERMINAL, same
from receiver.verdicts import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from receiver.told import Told
    from receiver.verdicts import Verdict

__all__ = ["Change", "fold"]

_TIMES: Final = ("start_time", "end_time")
_GROUPS: Final = {
    **dict.fromkeys(_TIMES, "rescheduled"),
    "location": "moved",
    "has_video_conference": "conference_changed",
    "video_conference_url": "conference_changed",
    "video_conference_provider": "conference_changed",
    "title": "retitled",
    "event_type": "kind_changed",
    "ai_agent": "agent_changed",
    "created_by_ai_agent": "agent_changed",
}
_SILENT: Final = frozenset(
    {
        "id",
        "uuid",
        "status",
        "reason",
        "created_at",
        "updated_at",
        "event_type_display",
        "status_display",
        *PREVIOUS,
    }
)
"""Fields that name the calendar event, follow from others or are told in another way."""
_OPTIONAL: Final = frozenset(
    {"location", "video_conference_url", "ai_agent", "customer.name", "customer.email", "customer.phone"}
)
"""Fields that webhooks leave out when they are empty, so that not to be told means to be empty."""


class Change(NamedTuple):
    """One thing that an event changed."""

    name: str
    """One of `receiver.verdicts.NAMES`."""
    before: dict[str, Any]
    """The fields that changed, as they were; None where nothing was known."""
    after: dict[str, Any]
    """The same fields as they are now."""
    reason: str | None = None
    """Why a calendar event was cancelled, if the event says so."""


def fold(state: State | None, told: Told) -> tuple[State, Verdict, tuple[Change, ...]]:
    """The state with one more event, how the event stands to what was known, and what it changed.

    `fresh`: it is the newest, and says something new. `same`: nothing new. `stale`: something newer is known,
    so that it adds at most fields nobody told since. `conflicting`: of the same instant as the newest, with
    other content. `impossible`: newer, but cannot follow, such as an update after a cancel; it counts all
    the same, since the vendor knows better.
    """
    known = state or State()
    merged = known.merged(told)
    newest = known.newest
    changes = tuple(_facts(known, told))
    if newest is not None and told.mark.at_ms < newest.at_ms:
        return merged, "stale", changes
    is_new = known.differs(told)
    if is_new or CUSTOMER in told.fields:
        changes = tuple(sorted((*changes, *_differences(known, merged, told)), key=_rank))
    verdict: Verdict = "fresh"
    if newest is not None:
        if told.mark.at_ms == newest.at_ms and known.contradicts(told):
            verdict = "conflicting"
        elif _is_impossible(known, changes):
            verdict = "impossible"
        elif not is_new:
            verdict = "same"
    return merged, verdict, changes


def _facts(known: State, told: Told) -> Iterator[Change]:
    """What an event says has happened by what it is, however late it comes."""
    if told.event_type == "calendar.created" and known.booked_ms is None:
        yield Change("created", {}, {})
    if told.event_type == "calendar.reminder" and not known.has(told.mark):
        yield Change("reminded", {}, {})


def _differences(known: State, merged: State, told: Told) -> Iterator[Change]:
    """What is otherwise than before, by groups of fields."""
    before = known.values()
    after = merged.values() if before else {}
    groups = _groups(before, after, told) if before else {}
    for name, paths in groups.items():
        if paths:
            yield Change(
                name, {path: before.get(path) for path in paths}, {path: after.get(path) for path in paths}
            )
    if "rescheduled" not in groups and merged.newest == told.mark:
        yield from _by_its_own_word(known, told)
    yield from _status(known, merged, told)


def _groups(before: Mapping[str, Any], after: Mapping[str, Any], told: Told) -> dict[str, list[str]]:
    """The fields that have another value now, by the name of their change."""
    groups: dict[str, list[str]] = {}
    for path in _changed(before, after, told):
        part = path.startswith(f"{CUSTOMER}.")
        groups.setdefault("customer_changed" if part else _GROUPS.get(path, "other_changed"), []).append(path)
    if "rescheduled" in groups:
        groups["rescheduled"] = list(_TIMES)
        # The length follows from the times.
        groups["other_changed"] = [
            path for path in groups.get("other_changed", ()) if path != "duration_minutes"
        ]
    return groups


def _changed(before: Mapping[str, Any], after: Mapping[str, Any], told: Told) -> Iterator[str]:
    """The fields that have another value now, but for the status."""
    is_known_whole = "title" in before and "start_time" in before
    for path in [path for path in told.fields if before.get(path) != after.get(path) or path == CUSTOMER]:
        if path == CUSTOMER:
            yield from (part for part in before if part.startswith(f"{CUSTOMER}.") and part not in after)
        elif path in _SILENT or not (path in before or (is_known_whole and path in _OPTIONAL)):
            continue
        elif not same(path, before.get(path), after.get(path)):
            yield path


def _by_its_own_word(known: State, told: Told) -> Iterator[Change]:
    """A change of times that only `previous_start` and `previous_end` tell.

    The log has no earlier state then, or what led from that state to the previous times is missing.
    """
    if not any(name in told.fields for name in PREVIOUS):
        return
    before = {path: told.fields.get(name) for path, name in zip(_TIMES, PREVIOUS, strict=True)}
    after = {path: told.fields.get(path) for path in _TIMES}
    says_so = any(
        before[path] is not None and after[path] is not None and not same(path, before[path], after[path])
        for path in _TIMES
    )
    is_new = any(not same(name, known.get(name), told.fields.get(name)) for name in PREVIOUS)
    if says_so and is_new:
        yield Change("rescheduled", before, after)


def _status(known: State, merged: State, told: Told) -> Iterator[Change]:
    before, after = known.get("status"), merged.get("status")
    if not isinstance(after, str) or same("status", before, after):
        return
    if before is not None or after in TERMINAL:
        name = after if after in (*TERMINAL, "confirmed") else "status_changed"
        reason = told.fields.get("reason") if name == "cancelled" else None
        yield Change(name, {"status": before}, {"status": after}, reason if isinstance(reason, str) else None)


def _is_impossible(known: State, changes: Iterable[Change]) -> bool:
    status = known.get("status")
    if status not in ("cancelled", "completed"):
        return False
    names = {change.name for change in changes} - {"created", "reminded"}
    if status == "cancelled":
        return bool(names)
    return not names.isdisjoint({"confirmed", "cancelled", "status_changed"})


def _rank(change: Change) -> int:
    return NAMES.index(change.name)
