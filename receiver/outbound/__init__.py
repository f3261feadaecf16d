"""HTTP from handlers to the outside: one client for the service, behind a guard against forged destinations.

A payload's URL is written by whoever booked the appointment. The rule easiest to break: nothing in klenhook
requests an address that came from outside except through `Outbound`.
"""

from __future__ import annotations

from receiver.outbound.answer import Answer, retry_after_seconds
from receiver.outbound.client import Outbound
from receiver.outbound.errors import (
    AnswerTooLarge,
    FailedAnswer,
    OutboundError,
    Refused,
    TimedOut,
    Unreachable,
    UnreadableAnswer,
)

__all__ = [
    "Answer",
    "AnswerTooLarge",
    "FailedAnswer",
    "Outbound",
    "OutboundError",
    "Refused",
    "TimedOut",
    "Unreachable",
    "UnreadableAnswer",
    "retry_after_seconds",
]
