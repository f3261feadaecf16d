"""Made-up appointments and changes of them, for bursts: no person in them is real.

The rule easiest to break: what is made up depends on the generator alone, so that a seed gives it again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from receiver.sandbox.appointment import KINDS

if TYPE_CHECKING:
    import random

TITLES: Final = (
    "Client Meeting",
    "First Call",
    "Project Review",
    "Contract",
    "Zoë's visit",
    "会議",
    "Inspection",
)
NAMES: Final = ("Ada", "Bruno", "Chloé", "Dmitri", "Esra", "Fatou", "Grete", "Hiroshi", "Ines", "Jörg")
PLACES: Final = (None, "Conference Room A", "Conference Room B", "Online", "Café Müller")
REASONS: Final = ("Client requested to reschedule", "Fell ill", None)
LENGTHS: Final = (15, 30, 45, 60, 90)
QUARTERS_AHEAD: Final = 30 * 24 * 4
"""Appointments are booked up to thirty days ahead, on the quarter of an hour."""


def invented(dice: random.Random, now: datetime) -> dict[str, Any]:
    """The request for an appointment."""
    first, number = dice.choice(NAMES), dice.randrange(10_000)
    return {
        "title": dice.choice(TITLES),
        **_times(dice, now),
        "event_type": dice.choice(list(KINDS)),
        "status": dice.choice(("scheduled", "confirmed")),
        "location": dice.choice(PLACES),
        "customer_name": f"{first} Example",
        "customer_email": f"customer{number}@example.com",
        "customer_phone": f"+1555{number:07}",
        "remind_before_minutes": dice.choice((15, 30, 60, 1440)),
        **({"ai_agent_id": 42, "created_by_ai_agent": True} if dice.random() < 0.5 else {}),  # noqa: PLR2004 -- every other one
    }


def invented_changes(dice: random.Random, now: datetime) -> dict[str, Any]:
    """The request for an update; or for a cancellation, if it has a `reason`, which may be None."""
    choice = dice.randrange(10)
    if choice < 4:  # noqa: PLR2004 -- of ten
        return _times(dice, now)
    if choice < 6:  # noqa: PLR2004 -- of ten
        return {"location": dice.choice(PLACES)}
    if choice < 8:  # noqa: PLR2004 -- of ten
        return {"title": dice.choice(TITLES)}
    if choice == 8:  # noqa: PLR2004 -- of ten
        return {"status": dice.choice(("confirmed", "no_show", "completed"))}
    return {"reason": dice.choice(REASONS)}


def _times(dice: random.Random, now: datetime) -> dict[str, str]:
    quarter = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    start = quarter + timedelta(minutes=15) * dice.randrange(QUARTERS_AHEAD)
    end = start + timedelta(minutes=dice.choice(LENGTHS))
    return {"start_time": start.isoformat(), "end_time": end.isoformat()}
