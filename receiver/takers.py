"""What handlers want, as plain data: it can be asked where the log is written, which knows no plugins. Pure.

The rule easiest to break: the name of an event alone does not say who gets it. A known name on a body of
another shape is an unknown event, and an event goes as well to those that want what it changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from receiver.shapes import is_known
from storage.work import NewRun

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from storage.work import Unrouted

__all__ = ["ChangeKind", "Interest", "Taker"]


class ChangeLike(Protocol):
    """One thing that an event changed."""

    @property
    def name(self) -> str:
        """Such as `rescheduled`."""
        ...

    @property
    def after(self) -> Collection[str]:
        """The fields that changed."""
        ...


class ChangeKind(NamedTuple):
    """A kind of change that can be wanted."""

    names: frozenset[str]
    paths: tuple[str, ...] = ()
    """The fields that have to be among those changed; any if there is none."""

    def has(self, change: ChangeLike) -> bool:
        """Whether a change is of this kind."""
        return change.name in self.names and (
            not self.paths or any(_is_part(field, path) for field in change.after for path in self.paths)
        )


def _is_part(field: str, path: str) -> bool:
    return field == path or field.startswith(f"{path}.")


class Interest(NamedTuple):
    """The events that a handler wants, before its `where` is asked."""

    types: frozenset[str]
    """Those that klenhook knows."""
    others: bool
    """Whether it wants all others, and those without a type."""
    changes: tuple[ChangeKind, ...] = ()

    def in_type(self, event_type: str | None) -> bool:
        """Whether events of this type are wanted."""
        if event_type is None or not is_known(event_type):
            return self.others
        return event_type in self.types

    def in_change(self, changes: Sequence[ChangeLike]) -> bool:
        """Whether one of these changes is wanted."""
        return any(kind.has(change) for kind in self.changes for change in changes)

    def in_event(self, event: Unrouted, changes: Sequence[ChangeLike]) -> bool:
        """Whether an event is wanted, by its type or by what it changed."""
        known_as = None if "bad_shape" in event.flags else event.event_type
        return self.in_type(known_as) or (bool(changes) and self.in_change(changes))


class Taker(NamedTuple):
    """A handler, as far as routing needs to know it."""

    handler: str
    interest: Interest
    ordered: bool
    skips_stale: bool
    asks: bool
    """Whether it has a `where`, which only the service itself can ask."""

    def run(self, verdict: str | None) -> NewRun:
        """Its run of an event; one that is stale is skipped by those that say so."""
        return NewRun(self.handler, ordered=self.ordered, skipped=self.skips_stale and verdict == "stale")
