"""What became of an attempt is written down, counted and told.

The rule easiest to break: whatever happens to the log, a run that has ended is never forgotten. Its report
waits for the log as long as the service runs; without it, the run is taken back at the next start.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from receiver import logs
from receiver.sweep import SECONDS as SWEEP_SECONDS
from storage.errors import LogBroken, LogUnavailable
from storage.states import FINISHED
from storage.work import Finished, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.attempt import Ending
    from receiver.clock import Clock
    from receiver.counts import Counts
    from storage.log import EventLog
    from storage.work import Claimed

__all__ = ["Recorder"]


class Recorder:
    """Writes down how attempts ended."""

    def __init__(self, log: EventLog, clock: Clock, counts: Counts, on_messages: Callable[[], None]) -> None:
        """`on_messages` is called after a run has left messages in the outbox."""
        self._log = log
        self._clock = clock
        self._counts = counts
        self._on_messages = on_messages
        self._stopped = False
        self._logger = logs.get("dispatch")

    def stop(self) -> None:
        """Wait for the log no longer."""
        self._stopped = True

    async def record(self, run: Claimed, seconds: float, ending: Ending, code_version: str) -> Finished:
        """Write down how an attempt ended and how long it took; wait for the log as long as it takes."""
        now, took_ms = self._clock.now_ms(), round(seconds * 1000)
        outcome = Outcome(
            run_id=run.run_id,
            attempt=run.attempt,
            state="retrying" if ending.state == "postponed" else ending.state,
            started_at_ms=now - took_ms,
            finished_at_ms=now,
            due_at_ms=None if ending.wait is None else now + round(ending.wait * 1000),
            spends_try=ending.state != "postponed",
            error=ending.error,
            code_version=code_version,
            effects=ending.effects,
        )
        finished = await self._tell(outcome)
        if finished is not Finished.RECORDED:
            # Too late, or another run has changed what this one read and it is due again already.
            self._logger.debug(
                "run", handler=run.handler, event_id=run.event_id, outcome=finished.name.lower()
            )
            return finished
        if ending.effects is not None and ending.effects.messages:
            self._on_messages()
        self._counts.attempted(run.handler, ending.state, seconds, finished=outcome.state in FINISHED)
        say = self._logger.debug if ending.state == "done" else self._logger.warning
        say(
            "run",
            handler=run.handler,
            event_id=run.event_id,
            attempt=run.attempt,
            outcome=ending.state,
            # The kind of exception; its text may quote personal data.
            error=ending.error.partition(":")[0]
            if ending.error and ending.state in ("retrying", "dead")
            else None,
            ms=took_ms,
            retry_in_s=None if ending.wait is None else round(ending.wait, 1),
        )
        return finished

    async def _tell(self, outcome: Outcome) -> Finished:
        while True:
            try:
                return await self._log.finish(outcome)
            except LogUnavailable:
                if self._stopped:  # a handler that would not be cancelled has come to its end after all
                    return Finished.LATE
                await asyncio.sleep(SWEEP_SECONDS)
            except LogBroken:
                return Finished.LATE  # the service stops; the run is taken back at the next start
