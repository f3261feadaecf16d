"""What is taken out of the log, as plain frozen records: people's data, and what is old.

The rule easiest to break: whoever takes an event out tells its words and the body that they come from, for
the log knows no words by itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """A recorded event's body, and what it is about, by our number."""

    seq: int
    subject: int | None
    """None for what is not routed, too."""
    flags: tuple[str, ...]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriting:
    """Another body in the place of the one that came, which is forgotten. Its digest stays."""

    seq: int
    before: bytes
    """The body that it was made from."""
    body: bytes
    title: str | None
    words_before: str
    words_after: str


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One value of a handler's store, as JSON."""

    handler: str
    key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """How much was taken out when somebody was forgotten; nothing of whom."""

    at_ms: int
    calendar_events: int = 0
    calls: int = 0
    events: int = 0
    """Those whose content is gone."""
    mentions: int = 0
    """Events about others, from which mentions were taken."""
    quarantined: int = 0
    stored: int = 0
    """Values of handlers' stores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Until when things were received that may be removed; by the same clock as `now_ms`."""

    now_ms: int
    before_ms: int
    dead_before_ms: int
    """For what has a dead run."""
    quarantine_before_ms: int


@dataclass(frozen=True, slots=True)
class Old:
    """Something that may be removed: a calendar event or call, or an event that is about neither."""

    subject: int | None
    kind: str | None
    seqs: tuple[int, ...]
    """All its events."""


@dataclass(frozen=True, slots=True)
class OldPage:
    """What may be removed, and where the next page begins; None after the last."""

    things: tuple[Old, ...]
    next: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """Something to remove: of each of its events the number, the body, and the words that it is found by."""

    subject: int | None
    events: tuple[tuple[int, bytes, str], ...]
