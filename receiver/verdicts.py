"""The words of the calendar: how an event may stand to what is known, and the names of what it may change.

They are public, in listings, filters and views; `receiver.changes` says when which applies. The rule easiest
to break: this imports nothing, since the help of commands does, which has to be quick.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["fresh", "same", "stale", "conflicting", "impossible"]
VERDICTS: Final = ("fresh", "same", "stale", "conflicting", "impossible")

NAMES: Final = (
    "created",
    "rescheduled",
    "moved",
    "conference_changed",
    "retitled",
    "kind_changed",
    "customer_changed",
    "agent_changed",
    "confirmed",
    "cancelled",
    "completed",
    "no_show",
    "status_changed",
    "reminded",
    "other_changed",
)
"""Every change, in the order in which those of one event are listed."""
