"""What should have been heard and was not: completions and reminders of appointments, and telling of them.

An appointment that has ended should have been completed, cancelled or missed; one that begins soon should
have been reminded of. The vendor tries for 36 minutes to deliver a webhook, so nothing is overdue before
that. The rule easiest to break: an expectation is what was known when it was due. An appointment that was
booked, or moved to where it is, after that time was never to be reminded of.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from receiver import logs, reading
from receiver.clock import to_iso
from receiver.events import Overdue
from receiver.intake import Delivery, read_event
from receiver.state import encode, recalled
from storage.calendar import NewOverdue
from storage.errors import LogUnavailable, QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from receiver.clock import Clock
    from receiver.config import OverdueSection
    from receiver.counts import Counts
    from receiver.plugins import Handler
    from receiver.state import State
    from storage.calendar import CalendarEventRecord
    from storage.log import EventLog
    from storage.reader import EventReader
    from storage.records import NewEvent

__all__ = ["Expectation", "Watch", "missing"]

MINUTE_MS: Final = 60_000
LOOK_BACK_MS: Final = 7 * 24 * 60 * MINUTE_MS
"""What was due longer ago is not looked for."""
LOOK_AHEAD_MS: Final = 2 * 24 * 60 * MINUTE_MS
"""How long before an appointment its reminder may be due."""
EARLY_MS: Final = 30 * MINUTE_MS
"""A reminder may come so much before it is due."""
LOOK_SECONDS: Final = 60.0
COMPLETED: Final = "calendar.completed"
REMINDER: Final = "calendar.reminder"


@dataclass(frozen=True, slots=True)
class Expectation:
    """A webhook that was due and has not come."""

    record: CalendarEventRecord
    expected: str
    due_ms: int

    @property
    def calendar_event(self) -> dict[str, Any]:
        """What is known of the appointment."""
        found: dict[str, Any] = json.loads(self.record.calendar_event)
        return found


async def missing(log: EventReader, settings: OverdueSection, now_ms: int) -> list[Expectation]:
    """Everything that is overdue now, the oldest first."""
    records = await log.calendar_events_between(now_ms - LOOK_BACK_MS, now_ms + LOOK_AHEAD_MS)
    found = [
        expectation
        for record in records
        for expectation in _expected(record, recalled(record.calendar_event, record.memory), settings)
        if now_ms - LOOK_BACK_MS < expectation.due_ms < now_ms - settings.grace_minutes * MINUTE_MS
    ]
    return sorted(found, key=lambda one: one.due_ms)


def _expected(record: CalendarEventRecord, state: State, settings: OverdueSection) -> Iterator[Expectation]:
    """What should have come for this appointment, whenever that is due, and has not."""
    if state.get("status") not in ("scheduled", "confirmed"):
        return
    provenance = state.provenance()
    end_ms = _moment(state, "end_time")
    if end_ms is not None and provenance["end_time"].at_ms <= end_ms:
        yield Expectation(record, COMPLETED, end_ms)
    start_ms, before = _moment(state, "start_time"), _reminder_minutes(state, settings)
    if start_ms is None or before is None:
        return
    due_ms = start_ms - before * MINUTE_MS
    reminded = state.reminded_ms is not None and state.reminded_ms >= due_ms - EARLY_MS
    if not reminded and provenance["start_time"].at_ms <= due_ms:
        yield Expectation(record, REMINDER, due_ms)


def _moment(state: State, name: str) -> int | None:
    moment = reading.instant(state.get(name))
    return None if moment is None else reading.milliseconds(moment)


def _reminder_minutes(state: State, settings: OverdueSection) -> int | None:
    """How long before the appointment. Webhooks do not say; the vendor's API does, by reconcile."""
    if state.get("is_reminder_enabled") is False:
        return None
    told = reading.integer(state.get("remind_before_minutes"))
    return told or settings.reminder_minutes or None


class Watch:
    """Looks for what is overdue while the service runs, and tells each once."""

    def __init__(
        self,
        log: EventLog,
        settings: OverdueSection,
        handlers: Sequence[Handler],
        clock: Clock,
        counts: Counts,
        *,
        on_events: Callable[[], None],
    ) -> None:
        """`on_events`: something waits for routing."""
        self._log = log
        self._clock = clock
        self._counts = counts
        self._on_events = on_events
        self._logger = logs.get("overdue")
        self.replace(settings, handlers)

    def replace(self, settings: OverdueSection, handlers: Sequence[Handler]) -> None:
        """Go on with these."""
        self._settings = settings
        self._is_wanted = any(
            handler.enabled and any(issubclass(event, Overdue) for event in handler.events)
            for handler in handlers
        )

    async def run(self) -> None:
        """Look each minute until cancelled.

        Raises:
            LogBroken: the log must not be written any more.
        """
        while True:
            try:
                await self.look()
            except (LogUnavailable, QueryError) as error:
                self._logger.warning("waiting for the log", error=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> int:
        """Tell what is overdue and was not told; how many. There is an event only if a handler wants it."""
        now_ms = self._clock.now_ms()
        told = 0
        for one in await missing(self._log, self._settings, now_ms):
            event = self._event(one, now_ms) if self._is_wanted else None
            new = NewOverdue(one.record.subject, one.expected, one.due_ms, event)
            if await self._log.tell_overdue(new):
                told += 1
                self._counts.overdue[one.expected] += 1
        if told and self._is_wanted:
            self._on_events()
        if told:
            self._logger.warning("expected events did not come", number=told)
        return told

    def _event(self, one: Expectation, now_ms: int) -> NewEvent:
        body = encode(
            {
                "event_type": Overdue.type_name,
                "calendar_event": one.calendar_event,
                "expected": one.expected,
                "due_at": to_iso(one.due_ms),
                "timestamp": to_iso(now_ms),
            }
        ).encode()
        event = read_event(Delivery(one.record.source, body, now_ms, secret_fingerprint=None))
        return event._replace(origin="watchdog")
