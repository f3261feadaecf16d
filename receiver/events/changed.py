"""What really changed, as typed events: whichever webhook told it, and also if reconcile found it.

A handler `on(Rescheduled)` gets a `Rescheduled` for each webhook that turned out to be one, by comparing it
with what was known. The rule easiest to break: one event may be several changes, and a handler gets each of
those it named; but a handler that named the webhook itself gets that, once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from receiver.events.calendar import AnyCalendarEvent, CalendarEvent
from receiver.takers import ChangeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta

    from receiver.events.base import AnyEvent
    from storage.calendar import ChangeRecord

__all__ = [
    "AgentChanged",
    "AnyChange",
    "Cancelled",
    "Changed",
    "Completed",
    "ConferenceChanged",
    "Confirmed",
    "CustomerChanged",
    "KindChanged",
    "Moved",
    "NoShow",
    "OtherChanged",
    "Rescheduled",
    "Retitled",
    "StatusChanged",
    "given",
]


class AnyChange(AnyCalendarEvent):
    """Anything that changed in an appointment. A handler `on(AnyChange)` gets each change by itself.

    `calendar_event` is what the webhook carried, `state` all that is known of the appointment after it.
    """

    type_name: ClassVar[str] = "any change"
    names: ClassVar[frozenset[str]] = frozenset()
    """The changes that are of this class, as `klenhook log list --change` has them."""
    paths: ClassVar[tuple[str, ...]] = ()
    """The fields that have to be among those changed; any if there is none."""

    change: str
    """Its name, such as `rescheduled`."""
    fields: tuple[str, ...]
    """What changed, by the vendor's names, a customer's as `customer.email`."""
    before: CalendarEvent
    """Those fields as they were; None where nothing was known. The others are None."""
    after: CalendarEvent
    """Those fields as they are now. The others are None."""


class Rescheduled(AnyChange):
    """Beginning or end are other ones. `before` and `after` have both."""

    type_name: ClassVar[str] = "rescheduled"
    names: ClassVar[frozenset[str]] = frozenset({"rescheduled"})

    @property
    def by(self) -> timedelta | None:
        """How much later it begins; negative for earlier. None if one of the times is unknown."""
        before, after = self.before.start_time, self.after.start_time
        return after - before if before and after else None


class Moved(AnyChange):
    """The location is another one."""

    type_name: ClassVar[str] = "moved"
    names: ClassVar[frozenset[str]] = frozenset({"moved"})


class ConferenceChanged(AnyChange):
    """There is a video conference now, or none any more, or another one."""

    type_name: ClassVar[str] = "conference_changed"
    names: ClassVar[frozenset[str]] = frozenset({"conference_changed"})


class Retitled(AnyChange):
    """The title is another one."""

    type_name: ClassVar[str] = "retitled"
    names: ClassVar[frozenset[str]] = frozenset({"retitled"})


class KindChanged(AnyChange):
    """It is another kind of appointment."""

    type_name: ClassVar[str] = "kind_changed"
    names: ClassVar[frozenset[str]] = frozenset({"kind_changed"})


class CustomerChanged(AnyChange):
    """The customer is another one, or can be reached in another way; `fields` says what of it."""

    type_name: ClassVar[str] = "customer_changed"
    names: ClassVar[frozenset[str]] = frozenset({"customer_changed"})


class AgentChanged(AnyChange):
    """Another AI agent has it, or none."""

    type_name: ClassVar[str] = "agent_changed"
    names: ClassVar[frozenset[str]] = frozenset({"agent_changed"})


class StatusChanged(AnyChange):
    """The status is another one. Stands for the four below, too."""

    type_name: ClassVar[str] = "status_changed"
    names: ClassVar[frozenset[str]] = frozenset(
        {"status_changed", "confirmed", "cancelled", "completed", "no_show"}
    )


class Confirmed(StatusChanged):
    """It was confirmed."""

    type_name: ClassVar[str] = "confirmed"
    names: ClassVar[frozenset[str]] = frozenset({"confirmed"})


class Cancelled(StatusChanged):
    """It was cancelled, whether by `calendar.cancelled` or by another webhook."""

    type_name: ClassVar[str] = "cancelled"
    names: ClassVar[frozenset[str]] = frozenset({"cancelled"})

    reason: str | None = None
    """Why, if that was said."""


class Completed(StatusChanged):
    """It took place."""

    type_name: ClassVar[str] = "completed"
    names: ClassVar[frozenset[str]] = frozenset({"completed"})


class NoShow(StatusChanged):
    """The customer did not come. The vendor has no webhook of its own for this."""

    type_name: ClassVar[str] = "no_show"
    names: ClassVar[frozenset[str]] = frozenset({"no_show"})


class OtherChanged(AnyChange):
    """A field for which there is no class here is another one, such as what the vendor adds."""

    type_name: ClassVar[str] = "other_changed"
    names: ClassVar[frozenset[str]] = frozenset({"other_changed"})


_CLASSES: Final[dict[str, type[AnyChange]]] = {
    cls.type_name: cls
    for cls in (
        Rescheduled,
        Moved,
        ConferenceChanged,
        Retitled,
        KindChanged,
        CustomerChanged,
        AgentChanged,
        StatusChanged,
        Confirmed,
        Cancelled,
        Completed,
        NoShow,
        OtherChanged,
    )
}
AnyChange.names = frozenset(_CLASSES)


def Changed(*paths: str) -> type[AnyChange]:  # noqa: N802 -- it stands where a class does: on(Changed("title"))
    """For `on(...)`: a change of any of these fields, `on(Changed("customer.email", "location"))`.

    `customer` stands for all of its parts. The handler gets one `AnyChange` with all fields that changed.

    Raises:
        TypeError: a path is no text.
        ValueError: there is no path.
    """
    if not paths:
        raise ValueError('Changed() names no field; write Changed("customer.email"), or AnyChange for all.')
    if any(type(path) is not str for path in paths):
        raise TypeError('Changed(...) takes names of fields, such as Changed("customer.email").')
    return _changed(paths)


@cache
def _changed(paths: tuple[str, ...]) -> type[AnyChange]:
    title = f"Changed({', '.join(map(repr, paths))})"
    made = type(title, (AnyChange,), {"__module__": __name__, "__doc__": AnyChange.__doc__})
    changed = cast("type[AnyChange]", made)
    changed.type_name, changed.names, changed.paths = title, frozenset(_CLASSES), paths
    return changed


def _wanted(cls: type[AnyEvent], changes: Iterable[ChangeRecord]) -> list[ChangeRecord]:
    """Those of the changes that are of this class."""
    if not issubclass(cls, AnyChange):
        return []
    kind = ChangeKind(cls.names, cls.paths)
    return [change for change in changes if kind.has(change)]


def given(classes: Sequence[type[AnyEvent]], event: AnyEvent) -> list[AnyEvent]:
    """What a handler of these classes is called with for a webhook: the webhook, or what changed by it."""
    if isinstance(event, tuple(classes)):
        return [event]
    if not isinstance(event, AnyCalendarEvent) or isinstance(event, AnyChange):
        return []
    found: dict[str, AnyEvent] = {}
    for cls in classes:
        if not issubclass(cls, AnyChange) or not (changes := _wanted(cls, event.changes)):
            continue
        if cls.paths:
            found[cls.type_name] = _typed(cls, event, changes)
        else:
            found |= {change.name: _typed(_CLASSES[change.name], event, [change]) for change in changes}
    return list(found.values())


def _typed(cls: type[AnyChange], event: AnyCalendarEvent, changes: Sequence[ChangeRecord]) -> AnyChange:
    content = {name: getattr(event, name) for name in AnyCalendarEvent.model_fields}
    before = {path: value for change in changes for path, value in change.before.items()}
    after = {path: value for change in changes for path, value in change.after.items()}
    typed = cls.model_validate(
        {
            **(event.model_extra or {}),
            **content,
            "change": changes[0].name,
            "fields": tuple(after),
            "before": _nested(before),
            "after": _nested(after),
            "reason": changes[0].reason,
        }
    )
    typed.know(event.changes, event.known)
    return typed


def _nested(flat: dict[str, Any]) -> CalendarEvent:
    """Fields by path as a calendar event."""
    fields: dict[str, Any] = {}
    for path, value in flat.items():
        name, _, part = path.partition(".")
        if name == "customer" and part:
            fields.setdefault(name, {})[part] = value
        else:
            fields[path] = value
    return CalendarEvent.model_validate(fields)
