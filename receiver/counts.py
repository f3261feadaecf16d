"""What the service counts while it works, as plain numbers that cost next to nothing to add to.

`metrics.py` turns them into what Prometheus reads, when it asks. The rule easiest to break: nothing that
came from outside may become a key here, or a stranger could fill the memory: an event type is one that we
know or `unknown`, a handler is one that is loaded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from receiver.errors import Rejected
from receiver.events import EVENT_TYPES
from storage.tally import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storage.work import NewRun

ANSWER_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8, 10)
"""The vendor waits 10 s (https://docs.klen.ai/api-reference/webhooks/overview), and we 8 s for the log."""
HANDLER_SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)

OUTCOMES: Final = (
    "accepted",
    "duplicate",
    *(kind.code for kind in Rejected.__subclasses__()),
    *("not_found", "method_not_allowed", "bad_request", "server_error"),
)
"""Of a request."""
RUN_STATES: Final = ("done", "retrying", "postponed", "discarded", "dead", "skipped")
"""Of an attempt; `skipped` are events that were older than what is known."""
MESSAGE_STATES: Final = ("done", "retrying", "dead")
UNKNOWN: Final = "unknown"


def known_type(event_type: str | None) -> str:
    """The event type if it is one of the vendor's; else `unknown`, since a name we do not know is content."""
    return event_type if event_type is not None and event_type in EVENT_TYPES else UNKNOWN


@dataclass(slots=True)
class Counts:
    """One of them for each running service, shared by its parts."""

    deliveries: Counter[str] = field(default_factory=Counter)
    """Requests to the public listener, by outcome: `accepted`, `duplicate`, or an error's code."""
    answer_seconds: Histogram = field(default_factory=lambda: Histogram(ANSWER_SECONDS))
    """From the head of a webhook's request to its answer."""
    events: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Routed events, by type and verdict."""
    unfinished: Counter[str] = field(default_factory=Counter)
    """Runs that wait or are under way now, by handler; filled from the log at the start."""
    runs: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Attempts that ended, by handler and the state that the run went to."""
    handler_seconds: dict[str, Histogram] = field(default_factory=dict)
    """What attempts took, by handler."""
    messages: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Attempts to send what is in the outbox, by handler and the state that the message went to."""
    reconciled: Counter[str] = field(default_factory=Counter)
    """What reconciling has found missing, by event type."""
    overdue: Counter[str] = field(default_factory=Counter)
    """Expected events that did not come in time, by event type."""
    reloads: Counter[str] = field(default_factory=Counter)
    """`done` or `refused`."""

    examinations: Counter[str] = field(default_factory=Counter)
    """Of the log's structure: `sound`, `damaged` or `failed`."""
    examined_at_ms: int | None = None
    """When the latest ended."""

    def examined(self, result: str, now_ms: int) -> None:
        """The log was examined."""
        self.examinations[result] += 1
        self.examined_at_ms = now_ms

    def routed(
        self, event_type: str | None, verdict: str | None, runs: Iterable[NewRun], events: int
    ) -> None:
        """So many events have their routing, each with these runs."""
        self.events[known_type(event_type), verdict or "none"] += events
        self.made(runs, events)

    def made(self, runs: Iterable[NewRun], events: int = 1) -> None:
        """These runs of so many events wait now, but for those that are skipped."""
        for run in runs:
            if run.skipped:
                self.runs[run.handler, "skipped"] += events
            else:
                self.unfinished[run.handler] += events

    def start_at_zero(self, handlers: Iterable[str]) -> None:
        """Name what can happen, before it does: whoever watches a number grow has to have seen it at 0."""
        for name in OUTCOMES:
            self.deliveries[name] += 0
        for name in (*EVENT_TYPES, UNKNOWN):
            self.reconciled[name] += 0
            self.overdue[name] += 0
        for result in ("done", "refused"):
            self.reloads[result] += 0
        for result in ("sound", "damaged", "failed"):
            self.examinations[result] += 0
        for handler in handlers:
            self.unfinished[handler] += 0
            for state in RUN_STATES:
                self.runs[handler, state] += 0
            for state in MESSAGE_STATES:
                self.messages[handler, state] += 0

    def attempted(self, handler: str, state: str, seconds: float, *, finished: bool) -> None:
        """An attempt of a run ended; `finished` if there will be no other."""
        self.runs[handler, state] += 1
        self.unfinished[handler] -= finished
        if handler not in self.handler_seconds:
            self.handler_seconds[handler] = Histogram(HANDLER_SECONDS)
        self.handler_seconds[handler].observe(seconds)
