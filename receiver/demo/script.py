"""What the demo sends, what must come of each delivery, and what differs from that.

Nothing here knows how the service works: it compares what was sent with what the service answered and with
what its log shows, as somebody from outside would.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from receiver.samples import assign, sample_event, to_body
from receiver.sender import Answer, delivery_headers, exchange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HANDLED_BY: Final = {
    "calendar.created": "diary",
    "calendar.updated": "diary",
    "calendar.reminder": "follow_up",
    "calendar.completed": "follow_up",
    "calendar.cancelled": "diary",
}
UNFINISHED: Final = {"pending", "running", "retrying"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One request of the demo, and what must come of it."""

    label: str
    event_type: str
    body: bytes
    delivery_id: str
    forged: bool = False
    status: int = 200
    outcome: str = "accepted"
    """The word in the answer: its `status`, or its `error`."""

    @property
    def runs(self) -> dict[str, str]:
        """What the log must show of its event's runs."""
        handler = HANDLED_BY.get(self.event_type)
        return {handler: "done"} if handler else {}


@dataclass(slots=True)
class Performance:
    """The deliveries with their answers, and the log after all of them."""

    sent: list[tuple[Delivery, Answer]] = field(default_factory=list)
    log: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Records by event id."""

    def send(self, delivery: Delivery, *, url: str, secret: str) -> None:
        """Deliver it.

        Raises:
            NoAnswerError: the service is not there.
        """
        headers = delivery_headers(
            "klen",
            secret,
            delivery.body,
            now=time.time(),
            event_type=delivery.event_type,
            delivery_id=delivery.delivery_id,
            forged=delivery.forged,
        )
        self.sent.append((delivery, exchange("POST", url, delivery.body, headers)))

    def see(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Take in the log; whether every run has ended."""
        self.log = {record["event_id"]: dict(record) for record in records}
        routed = all(
            len(self._runs(answer)) >= len(delivery.runs)
            for delivery, answer in self.sent
            if not delivery.forged
        )
        states = {state for record in self.log.values() for state in record["runs"].values()}
        return routed and not states & UNFINISHED

    def rows(self) -> list[tuple[str, str, str]]:
        """A table: what was sent, the answer, what became of it."""
        return [
            (delivery.label, f"{answer.status} {_outcome(answer)}", self._fate(answer))
            for delivery, answer in self.sent
        ]

    def differences(self, diary: str) -> list[str]:
        """What is not as it must be, a sentence each. `diary` is what that handler wrote."""
        found = []
        for delivery, answer in self.sent:
            expected, came = f"{delivery.status} {delivery.outcome}", f"{answer.status} {_outcome(answer)}"
            if came != expected:
                found.append(f"{delivery.label}: expected the answer {expected}, found {came}.")
            elif delivery.status == 200 and self._runs(answer) != delivery.runs:  # noqa: PLR2004 -- HTTP's OK
                found.append(
                    f"{delivery.label}: expected the runs {delivery.runs}, found {self._runs(answer)}."
                )
        entries = sum(
            "diary" in delivery.runs and delivery.outcome == "accepted" for delivery, _ in self.sent
        )
        if len(diary.splitlines()) != entries:
            found.append(f"The diary: expected {entries} lines, found {len(diary.splitlines())}.")
        ids = [_event_id(answer) for _, answer in self.sent if _event_id(answer)]
        counted = {event_id: record["deliveries"] for event_id, record in self.log.items()}
        if counted != (expected_counts := {event_id: ids.count(event_id) for event_id in ids}):
            found.append(
                f"The log: expected {len(expected_counts)} events from {len(ids)} deliveries, "
                f"found {len(counted)} from {sum(counted.values())}."
            )
        return found

    def _runs(self, answer: Answer) -> dict[str, str]:
        runs: dict[str, str] = self._record(answer).get("runs", {})
        return runs

    def _record(self, answer: Answer) -> dict[str, Any]:
        return self.log.get(_event_id(answer), {})

    def _fate(self, answer: Answer) -> str:
        if not answer.is_success:
            return "refused, nothing stored"
        if _outcome(answer) == "duplicate":
            return f"no new event; deliveries of the first: {self._record(answer).get('deliveries', 0)}"
        runs = ", ".join(f"{handler} {state}" for handler, state in self._runs(answer).items())
        return f"stored; handler {runs}" if runs else "stored; no handler wants it"


def deliveries() -> list[Delivery]:
    """The script: all five calendar webhooks, one of them twice, a forged one and one of an unknown kind."""
    now = datetime.now(UTC)
    meeting = [
        _calendar(kind, now + timedelta(seconds=second))
        for second, kind in enumerate(("created", "updated", "reminder", "completed"))
    ]
    other = {"id": 124, "uuid": str(uuid4()), "title": "First Call", "customer.name": "Ada Example"}
    cancelled = _calendar("cancelled", now, **other)
    again = Delivery(
        label="the first one again",
        event_type=meeting[0].event_type,
        body=meeting[0].body,
        delivery_id=meeting[0].delivery_id,
        outcome="duplicate",
    )
    forged = Delivery(
        label="calendar.created, forged",
        event_type="calendar.created",
        body=_calendar("created", now, title="Not from Klen").body,
        delivery_id=str(uuid4()),
        forged=True,
        status=401,
        outcome="invalid_signature",
    )
    unknown = Delivery(
        label="lead.scored, an unknown kind",
        event_type="lead.scored",
        body=to_body(
            {"event_type": "lead.scored", "lead": {"id": 7, "score": 0.93}, "timestamp": now.isoformat()}
        ),
        delivery_id=str(uuid4()),
    )
    return [*meeting, cancelled, again, forged, unknown]


def _calendar(kind: str, timestamp: datetime, **changes: object) -> Delivery:
    event_type = f"calendar.{kind}"
    event = sample_event(event_type, timestamp=timestamp)
    for path, value in changes.items():
        assign(event, path, value)
    return Delivery(label=event_type, event_type=event_type, body=to_body(event), delivery_id=str(uuid4()))


def _said(answer: Answer) -> dict[str, Any]:
    try:
        said = json.loads(answer.body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _outcome(answer: Answer) -> str:
    said = _said(answer)
    return str(said.get("status") or said.get("error") or "with no word for it")


def _event_id(answer: Answer) -> str:
    return str(_said(answer).get("event_id", ""))
