"""What the demo does to the service, what must come of it, and what differs.

An account at a local Klen, with an outage; and three deliveries that nobody should have sent. Nothing here
knows how the service works: it compares what was done with what the service answered and with what its log
shows, as somebody from outside would.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from receiver.samples import to_body
from receiver.sender import Answer, delivery_headers, exchange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from receiver.demo.account import Account

UNFINISHED: Final = {"pending", "running", "retrying"}
DIARY: Final = {"calendar.created", "calendar.updated", "calendar.cancelled"}
"""What the handler `diary` wants."""
ARRIVAL_SECONDS: Final = 8.0
POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Step:
    """One delivery to the service, or an event that it found by itself, and what must come of it."""

    label: str
    event_type: str
    delivery_id: str | None
    answer: str
    """Status and word; nothing for what nobody has delivered."""
    expected: str
    changes: tuple[str, ...] = ()
    verdict: str = "fresh"

    @property
    def is_event(self) -> bool:
        """Whether it makes an event of its own."""
        return not self.expected.startswith(("401", "200 duplicate"))

    @property
    def runs(self) -> dict[str, str]:
        """What the log must show of its event's runs."""
        return {"diary": "done"} if self.event_type in DIARY else {}


@dataclass(slots=True)
class Story:
    """The story as it goes on: `begin`, `go_wrong`, `fall_silent`; then `see` what became of it."""

    account: Account
    url: str
    """Where webhooks go."""
    secret: str
    steps: list[Step] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)

    def begin(self) -> None:
        """Two are booked, and one is moved."""
        meeting = self.account.book("Client Meeting", days=1, customer="Jane Doe")
        self._arrived("booked", "calendar.created", changes=("created",))
        self.account.book("Product Demo", days=2, customer="Ada Example")
        self._arrived("another one booked", "calendar.created", changes=("created",))
        self.account.move(meeting, days=3)
        self._arrived("the first one moved", "calendar.updated", changes=("rescheduled",))

    def go_wrong(self, records: Sequence[Mapping[str, Any]], body_of_first: bytes) -> None:
        """What networks and strangers do: a repetition, a late one, a forged one, one of an unknown kind."""
        first = records[0]
        self._deliver("the first webhook again", first["event_type"], body_of_first, first["delivery_id"])
        late = json.loads(body_of_first)
        late["event_type"] = "calendar.updated"
        late["calendar_event"]["location"] = "Room 1, before it was moved"
        late["timestamp"] = _later(late["timestamp"], milliseconds=1)
        self._deliver("an update that comes late", "calendar.updated", to_body(late), verdict="stale")
        forged = body_of_first.replace(b"Client Meeting", b"Not from Klen.")
        self._deliver("a forged one", "calendar.created", forged, forged=True)
        unknown = {"event_type": "lead.scored", "lead": {"id": 7, "score": 0.93}, "timestamp": _now()}
        self._deliver("one of an unknown kind", "lead.scored", to_body(unknown), verdict="")

    def fall_silent(self) -> None:
        """An outage that is longer than Klen tries again, and what happens meanwhile."""
        meeting, demo = self.account.booked[:2]
        self.account.outage("40m")
        self.account.move(meeting, days=5)
        self.account.cancel(demo)
        self.account.book("Urgent Call", days=4, customer="Bob Sample")
        self.account.jump("45m")
        for label, event_type, changes in (
            ("moved in the outage", "calendar.updated", ("rescheduled",)),
            ("cancelled in the outage", "calendar.cancelled", ("cancelled",)),
            ("booked in the outage", "calendar.created", ("created",)),
        ):
            self.steps.append(Step(label, event_type, None, "", "found by reconcile", changes))

    def _deliver(
        self,
        label: str,
        event_type: str,
        body: bytes,
        delivery_id: str | None = None,
        *,
        forged: bool = False,
        verdict: str = "fresh",
    ) -> None:
        """Post one webhook ourselves."""
        expected = "401 invalid_signature" if forged else "200 duplicate" if delivery_id else "200 accepted"
        name = delivery_id or str(uuid4())
        headers = delivery_headers(
            "klen",
            self.secret,
            body,
            now=time.time(),
            event_type=event_type,
            delivery_id=name,
            forged=forged,
        )
        answer = exchange("POST", self.url, body, headers)
        said = f"{answer.status} {_word(answer)}"
        self.steps.append(Step(label, event_type, name, said, expected, verdict=verdict))

    def _arrived(self, label: str, event_type: str, changes: tuple[str, ...]) -> None:
        """Wait until Klen has delivered what just happened there."""
        deadline = time.monotonic() + ARRIVAL_SECONDS
        sent = self.account.last_delivery()
        while not sent["attempts"] and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
            sent = self.account.last_delivery()
        status = sent["attempts"][-1]["status"] if sent["attempts"] else "no answer"
        answer = f"{status} accepted" if status == 200 else f"{status}"  # noqa: PLR2004 -- HTTP's OK
        self.steps.append(Step(label, event_type, sent["delivery_id"], answer, "200 accepted", changes))

    def see(self, records: Sequence[Mapping[str, Any]]) -> bool:
        """Take in the log, oldest first; whether everything has come and every run has ended."""
        self.log = [dict(record) for record in records]
        arrived = sum(step.is_event for step in self.steps if step.delivery_id)
        states = {state for record in self.log for state in record["runs"].values()}
        routed = all(record["verdict"] or record["event_type"] == "lead.scored" for record in self.log)
        return len(self.log) >= arrived and routed and not states & UNFINISHED

    def rows(self) -> list[tuple[str, str, str]]:
        """A table: what came, the answer, what became of it."""
        return [(step.label, step.answer, self._fate(step)) for step in self.steps if step.delivery_id]

    def differences(self, diary: str) -> list[str]:
        """What is not as it must be, a sentence each. `diary` is what that handler wrote."""
        found = []
        for step in self.steps:
            if step.delivery_id and step.answer != step.expected:
                found.append(f"{step.label}: expected the answer {step.expected}, found {step.answer}.")
            elif step.is_event:
                found += self._differences(step)
        entries = sum("done" in record["runs"].values() for record in self.log)
        if len(diary.splitlines()) != entries:
            found.append(f"The diary: expected {entries} lines, found {len(diary.splitlines())}.")
        events = sum(step.is_event for step in self.steps)
        if len(self.log) != events:
            found.append(f"The log: expected {events} events, found {len(self.log)}.")
        return found

    def _differences(self, step: Step) -> list[str]:
        record = self._record(step)
        if record is None:
            return [f"{step.label}: expected an event in the log, found none."]
        pairs = {
            # How a handler takes what comes late is its own affair.
            "the runs": (record["runs"] if step.verdict == "stale" else step.runs, record["runs"]),
            "the changes": ([*step.changes], record["changes"]),
            "the verdict": (step.verdict or None, record["verdict"]),
        }
        return [
            f"{step.label}: expected {what} {expected}, found {came}."
            for what, (expected, came) in pairs.items()
            if expected != came
        ]

    def _record(self, step: Step) -> dict[str, Any] | None:
        """The event of a step: by its delivery, or by what was found of this kind."""
        if step.delivery_id is not None:
            return next((one for one in self.log if one["delivery_id"] == step.delivery_id), None)
        found = [one for one in self.log if one["origin"] == "reconcile"]
        return next((one for one in found if one["event_type"] == step.event_type), None)

    def _fate(self, step: Step) -> str:
        record = self._record(step)
        if step.answer.startswith("401"):
            return "refused, nothing stored"
        if record is None:
            return "not in the log"
        if step.answer.endswith("duplicate"):
            return f"no new event; deliveries of the first: {record['deliveries']}"
        what = ", ".join(record["changes"]) or record["verdict"] or "no handler wants it"
        runs = "".join(f"; {handler} {state}" for handler, state in record["runs"].items())
        return f"stored: {what}{runs}"


def _word(answer: Answer) -> str:
    try:
        said = json.loads(answer.body)
    except ValueError:
        said = {}
    return str(said.get("status") or said.get("error") or "with no word for it")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _later(timestamp: str, *, milliseconds: int) -> str:
    moment = datetime.fromisoformat(timestamp) + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
