"""Send what handlers have put into their outbox: each message until it is answered with success.

Messages are rows, committed together with the run that posted them, so none is lost and none is sent for a
run that failed. The rule easiest to break: a message may have arrived although we never saw the answer, so
every attempt carries the same `Idempotency-Key`, and nothing else may make two attempts differ.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Final

from receiver import logs
from receiver.outbound import FailedAnswer, OutboundError
from receiver.sweep import SECONDS as SWEEP_SECONDS
from receiver.sweep import Sweep
from storage.errors import LogBroken, LogUnavailable
from storage.work import MessageOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.clock import Clock
    from receiver.counts import Counts
    from receiver.outbound import Outbound
    from receiver.retry import RetryPolicy
    from storage.log import EventLog
    from storage.work import ClaimedMessage

CONCURRENCY: Final = 16
"""Messages under way at once."""
PER_ORIGIN: Final = 4
"""Of them, to one place, so that one that hangs leaves room for the others."""
STOP_SECONDS: Final = 5.0
"""What messages under way get when the service stops; the others wait in the log."""


class Sender:
    """Sends due messages, as many at once as it may."""

    def __init__(
        self,
        log: EventLog,
        http: Outbound,
        clock: Clock,
        *,
        owner: str,
        policy_of: Callable[[str], RetryPolicy],
        counts: Counts,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        """`policy_of` gives a handler's retry policy, which is also that of its messages."""
        self._log = log
        self._http = http
        self._clock = clock
        self._owner = owner
        self._policy_of = policy_of
        self._counts = counts
        self._randomness = randomness
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: Counter[str] = Counter()
        self._sweep = Sweep("outbox", self._claim)
        self._logger = logs.get("outbox")

    def wake(self) -> None:
        """There may be something to send."""
        self._sweep.wake()

    async def run(self) -> None:
        """Send until cancelled, or until the log is broken."""
        await self._sweep.run()

    async def stop(self) -> None:
        """Let what is under way end for a moment; the rest is sent after the next start."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _claim(self) -> bool:
        """Fill the free places once; whether there was anything to send."""
        free = CONCURRENCY - len(self._tasks)
        if free <= 0:
            return False
        busy = [origin for origin, number in self._under_way.items() if number >= PER_ORIGIN]
        most = min(free, PER_ORIGIN)
        messages = await self._log.claim_messages(self._owner, most, now_ms=self._clock.now_ms(), avoid=busy)
        for message in messages:
            self._under_way[message.origin] += 1
            task = asyncio.create_task(self._deliver(message), name=f"message {message.message_id}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return bool(messages)

    async def _deliver(self, message: ClaimedMessage) -> None:
        """One attempt from claim to record."""
        try:
            outcome = await self._attempt(message)
            await self._record(outcome)
            self._counts.messages[message.handler, outcome.state] += 1
        finally:
            self._under_way[message.origin] -= 1
            if not self._under_way[message.origin]:
                del self._under_way[message.origin]
            self.wake()
        if outcome.state != "done":
            self._logger.warning(
                "message",
                handler=message.handler,
                message_id=message.message_id,
                attempt=message.attempt,
                outcome=outcome.state,
                status=outcome.status,
            )

    async def _attempt(self, message: ClaimedMessage) -> MessageOutcome:
        headers = {"Content-Type": "application/json"} | json.loads(message.headers)
        headers["Idempotency-Key"] = message.idempotency_key
        status: int | None = None
        least_wait = 0.0
        try:
            answer = await self._http.post(message.url, data=message.body, headers=headers)
            status = answer.status
            answer.raise_for_status()
        except OutboundError as error:
            if isinstance(error, FailedAnswer):
                least_wait = error.retry_after or 0.0
            return self._failed(message, f"{type(error).__name__}: {error}", status, least_wait)
        except Exception as error:  # noqa: BLE001 -- nothing a message holds may stop the others
            return self._failed(message, type(error).__name__, status, least_wait)
        now = self._clock.now_ms()
        return MessageOutcome(
            message_id=message.message_id,
            attempt=message.attempt,
            state="done",
            finished_at_ms=now,
            status=status,
        )

    def _failed(
        self, message: ClaimedMessage, error: str, status: int | None, least_wait: float
    ) -> MessageOutcome:
        wait = self._policy_of(message.handler).delay(message.attempt, self._randomness)
        now = self._clock.now_ms()
        return MessageOutcome(
            message_id=message.message_id,
            attempt=message.attempt,
            state="dead" if wait is None else "retrying",
            finished_at_ms=now,
            due_at_ms=None if wait is None else now + round(max(wait, least_wait) * 1000),
            status=status,
            error=error,
        )

    async def _record(self, outcome: MessageOutcome) -> None:
        while True:
            try:
                await self._log.finish_message(outcome)
            except LogUnavailable:
                await asyncio.sleep(SWEEP_SECONDS)
            except LogBroken:
                return  # the service stops; the message is sent again after the next start, with its key
            else:
                return
