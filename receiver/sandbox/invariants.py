"""What must hold between what the sandbox sent and what a klenhook log has, whatever went wrong on the way.

The log is compared with the delivery log, body by body, and each calendar event's state with the newest
webhook that arrived. The rule easiest to break: what was never acknowledged may be in the log or not (an
answer can get lost), so acknowledged is a part of stored, and stored a part of sent, and no more is asked.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from receiver.sandbox.delivery import Delivery
    from receiver.sandbox.world import World
    from storage.reader import EventReader

COMPARED: Final = ("title", "status", "start_time", "end_time", "location")
"""Fields of a calendar event that must agree."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule, and where it does not hold."""

    rule: str
    checked: int
    violations: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Report:
    """All rules, and what the log could not know."""

    findings: list[Finding]
    lost: list[str]
    """UUIDs of the appointments whose last state never arrived: for reconcile to find."""

    @property
    def holds(self) -> bool:
        """Whether every rule does."""
        return not any(finding.violations for finding in self.findings)


async def compare(
    deliveries: Sequence[Delivery], world: World, log: EventReader, *, source: str, after_seq: int = 0
) -> Report:
    """Compare what was sent with what this source's log has from behind `after_seq` on."""
    behind = f"{_of(source)} AND seq > {after_seq:d}"
    stored = await _rows(log, f"SELECT event_id, body_sha256, deliveries, origin FROM events {behind}")  # noqa: S608 -- quoted
    known = await _rows(log, f"SELECT calendar_event_uuid, calendar_event FROM calendar_events {_of(source)}")  # noqa: S608 -- quoted
    states = {row["calendar_event_uuid"]: json.loads(row["calendar_event"] or "{}") for row in known}
    newest = _newest(deliveries, {row["body_sha256"] for row in stored})
    findings = [
        *_bodies(deliveries, [row for row in stored if row["origin"] == "webhook"]),
        _refused(deliveries),
        _agrees(
            "the state is what the newest webhook says",
            {} if any(row["origin"] != "webhook" for row in stored) else newest,
            states,
        ),
    ]
    truth = {one.uuid: one.in_webhook() for one in world}
    return Report(findings, [uuid for uuid in truth if _differs(truth[uuid], states.get(uuid))])


def _bodies(deliveries: Iterable[Delivery], stored: list[Mapping[str, Any]]) -> list[Finding]:
    sent: dict[str, str] = {}
    answered: Counter[str] = Counter()
    for delivery in deliveries:
        digest = hashlib.sha256(delivery.body).hexdigest()
        sent[digest] = f"delivery {delivery.number}"
        answered[digest] += sum(attempt.succeeded for attempt in delivery.attempts)
    acknowledged = [digest for digest, count in answered.items() if count]
    counted: Counter[str] = Counter(row["body_sha256"] for row in stored)
    seen = {row["body_sha256"]: row["deliveries"] for row in stored}
    return [
        Finding(
            "what was acknowledged is in the log",
            len(acknowledged),
            [sent[digest] for digest in acknowledged if digest not in counted],
        ),
        Finding(
            "what is in the log was sent",
            len(stored),
            [row["event_id"] for row in stored if row["body_sha256"] not in sent],
        ),
        Finding(
            "nothing is in the log twice",
            len(counted),
            [sent.get(digest, digest) for digest, count in counted.items() if count > 1],
        ),
        Finding(
            "each repeated delivery is counted with the first",
            sum(answered.values()),
            [sent[digest] for digest in acknowledged if seen.get(digest, 0) < answered[digest]],
        ),
    ]


def _refused(deliveries: Iterable[Delivery]) -> Finding:
    forged = [
        (delivery.number, attempt.status)
        for delivery in deliveries
        for attempt in delivery.attempts
        if attempt.fault == "bad signature" and attempt.status is not None
    ]
    accepted = [f"delivery {number}: {status}" for number, status in forged if status < 400]  # noqa: PLR2004 -- the class of refusals
    return Finding("what is signed wrongly is refused", len(forged), accepted)


def _newest(deliveries: Iterable[Delivery], stored: set[str]) -> dict[str, Mapping[str, Any]]:
    """Of each appointment, the newest content that is in the log."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for delivery in deliveries:
        if hashlib.sha256(delivery.body).hexdigest() not in stored:
            continue
        payload = json.loads(delivery.body)
        content, timestamp = payload.get("calendar_event"), payload["timestamp"]
        if content and timestamp > found.get(content["uuid"], ("",))[0]:
            found[content["uuid"]] = timestamp, content
    return {uuid: content for uuid, (_, content) in found.items()}


def _agrees(
    rule: str, expected: Mapping[str, Mapping[str, Any]], states: Mapping[str, Mapping[str, Any]]
) -> Finding:
    wrong = [uuid for uuid, content in expected.items() if _differs(content, states.get(uuid))]
    return Finding(rule, len(expected), wrong)


def _differs(expected: Mapping[str, Any], state: Mapping[str, Any] | None) -> bool:
    return state is None or any(state.get(name) != expected.get(name) for name in COMPARED)


async def _rows(log: EventReader, statement: str) -> list[dict[str, Any]]:
    names, rows = await log.sql(statement)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _of(source: str) -> str:
    quoted = source.replace("'", "''")
    return f"WHERE source = '{quoted}'"
