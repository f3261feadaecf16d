"""One event on its way to one webhook: what is sent, and what came of each attempt.

https://docs.klen.ai/api-reference/webhooks/overview. The rule easiest to break: the body and the delivery id
are the same at every attempt; the secret is the webhook's at the time of the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from receiver.sandbox.appointment import text_of

ANSWER_SECONDS: Final = 10.0
"""Real seconds that an endpoint has to answer."""

RETRY_AFTER: Final = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30))
"""How long after one attempt the next one is made; after the last, the delivery has failed."""

State = Literal["waiting", "delivered", "failed", "dropped"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request, and what came back."""

    at: datetime
    status: int | None
    """Of the answer; None if there was none."""
    note: str
    """What the answer said, or why there was none."""
    milliseconds: int
    fault: Literal["bad signature", "duplicate", "outage"] | None = None
    """What the sandbox did wrong on purpose."""

    @property
    def succeeded(self) -> bool:
        """Whether it is taken for delivered: any 2xx."""
        return self.status is not None and 200 <= self.status < 300  # noqa: PLR2004 -- the class of success


@dataclass(slots=True, kw_only=True)
class Delivery:
    """What is to be sent, and how far that has come."""

    number: int
    """Counts the deliveries of this sandbox, in the order of what happened."""
    id: str
    webhook_id: int
    event_type: str
    subject: str
    """UUID of the appointment; deliveries about the same one are sent in order."""
    body: bytes
    created_at: datetime
    state: State = "waiting"
    """Until it is `delivered`, or `failed` four times; `dropped` was never sent."""
    due: datetime | None = None
    """When the next attempt is made, if it is to be made later."""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def made(self) -> int:
        """How many attempts were made, apart from duplicates."""
        return sum(attempt.fault != "duplicate" for attempt in self.attempts)

    def record(self, attempt: Attempt) -> None:
        """Take note of an attempt, and decide when the next one is, if any."""
        number = self.made
        self.attempts.append(attempt)
        if attempt.succeeded:
            self.state, self.due = "delivered", None
        elif number < len(RETRY_AFTER):
            self.due = attempt.at + RETRY_AFTER[number]
        else:
            self.give_up()

    def give_up(self) -> None:
        """Make no further attempt."""
        self.state, self.due = "failed", None

    def shown(self) -> dict[str, Any]:
        """As the delivery log has it."""
        return {
            "number": self.number,
            "delivery_id": self.id,
            "webhook_id": self.webhook_id,
            "event_type": self.event_type,
            "calendar_event_uuid": self.subject,
            "created_at": text_of(self.created_at),
            "state": self.state,
            "next_attempt_at": text_of(self.due) if self.due else None,
            "attempts": [
                {
                    "at": text_of(attempt.at),
                    "status": attempt.status,
                    "note": attempt.note,
                    "milliseconds": attempt.milliseconds,
                    "fault": attempt.fault,
                }
                for attempt in self.attempts
            ],
        }
