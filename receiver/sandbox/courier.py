"""Sends what happened to every webhook that has subscribed to it, and tries again by the vendor's schedule.

First attempts about one appointment go to a webhook one after the other, those about several side by side; a
retry comes when it is due, whatever has been sent since. The rule easiest to break: nothing that an endpoint
does, or does not do, ends the courier.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from receiver.samples import to_body
from receiver.sandbox.appointment import text_of
from receiver.sandbox.delivery import Attempt, Delivery
from receiver.sandbox.drawn import drawn_uuid, draws
from receiver.sandbox.faults import HELD_FOR, Faults
from receiver.sandbox.post import Post

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from datetime import datetime

    from receiver.sandbox.clock import SandboxClock
    from receiver.sandbox.webhooks import Webhook, Webhooks
    from receiver.sandbox.world import Happening

MOST_AT_ONCE: Final = 32
UNKNOWN: Final = "lead.scored"
"""A kind of webhook that the vendor does not have."""

Lane = tuple[int, str]
"""A webhook and an appointment."""


class Courier:
    """The vendor's outgoing side."""

    def __init__(
        self,
        webhooks: Webhooks,
        clock: SandboxClock,
        seed: int,
        faults: Faults,
        *,
        on_change: Callable[[Delivery], None],
    ) -> None:
        """`on_change` is told of every delivery that is new or has come further."""
        self.deliveries: list[Delivery] = []
        self.outage_until: datetime | None = None
        self.faults = faults
        self._webhooks = webhooks
        self._clock = clock
        self._seed = seed
        self._on_change = on_change
        self._lanes: dict[Lane, deque[tuple[float, Delivery]]] = {}
        self._held: dict[Lane, Delivery] = {}
        self._later: list[tuple[datetime, int]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._post = Post()

    async def start(self, deliveries: Iterable[Delivery] = ()) -> None:
        """Be ready to send; `deliveries` are those of an earlier run, all of them."""
        await self._post.open()
        for delivery in deliveries:
            self.deliveries.append(delivery)
            if delivery.state == "waiting":
                self._put_off(delivery, delivery.due or self._clock.now())

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._post.close()

    async def idle(self) -> None:
        """Wait until no request is under way; others may still be due later."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def publish(self, happening: Happening) -> None:
        """Send it to whoever has subscribed to it."""
        body = to_body(happening.payload())
        for webhook in self._webhooks:
            if happening.event_type in webhook.subscribed_events:
                number = len(self.deliveries) + 1
                self._send(webhook, happening.event_type, happening.appointment.uuid, body, happening.at)
                if self.faults.fate(self._seed, number).followed:
                    self._send_unknown(webhook, happening.at)

    def next_due(self) -> datetime | None:
        """When the next attempt is due that was put off."""
        while self._later and self.deliveries[self._later[0][1] - 1].due != self._later[0][0]:
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    def do_due(self, now: datetime) -> None:
        """Make the attempts that are due."""
        while (due := self.next_due()) is not None and due <= now:
            delivery = self.deliveries[heapq.heappop(self._later)[1] - 1]
            delivery.due = None
            lane = (delivery.webhook_id, delivery.subject)
            if self._held.get(lane) is delivery:
                del self._held[lane]
            self._spawn(self._attempt(delivery))

    def _send_unknown(self, webhook: Webhook, at: datetime) -> None:
        number = len(self.deliveries) + 1
        score = round(draws(self._seed, "score", number).random(), 2)
        payload = {
            "event_type": UNKNOWN,
            "lead": {"id": number, "score": score},
            "timestamp": text_of(at),
        }
        self._send(webhook, UNKNOWN, f"lead {number}", to_body(payload), at)

    def _send(self, webhook: Webhook, event_type: str, subject: str, body: bytes, at: datetime) -> None:
        number = len(self.deliveries) + 1
        delivery = Delivery(
            number=number,
            id=drawn_uuid(self._seed, "delivery", number),
            webhook_id=webhook.id,
            event_type=event_type,
            subject=subject,
            body=body,
            created_at=at,
        )
        self.deliveries.append(delivery)
        lane = (webhook.id, subject)
        fate = self.faults.fate(self._seed, number)
        if fate.dropped:
            delivery.state = "dropped"
            self._on_change(delivery)
        elif fate.held and lane not in self._held:
            self._held[lane] = delivery
            self._put_off(delivery, self._clock.now() + HELD_FOR)
        else:
            self._on_change(delivery)
            self._queue(lane, delivery)

    def _queue(self, lane: Lane, delivery: Delivery) -> None:
        waiting = self._lanes.setdefault(lane, deque())
        waiting.append((time.monotonic() + self.faults.delay.total_seconds(), delivery))
        if len(waiting) == 1:
            self._spawn(self._work_off(lane))

    async def _work_off(self, lane: Lane) -> None:
        waiting = self._lanes[lane]
        while waiting:
            ready, delivery = waiting[0]
            await asyncio.sleep(max(0.0, ready - time.monotonic()))
            await self._attempt(delivery)
            waiting.popleft()
            held = self._held.get(lane)
            if held is not None and held.number < delivery.number:
                del self._held[lane]
                held.due = None
                waiting.append((ready, held))
        del self._lanes[lane]

    async def _attempt(self, delivery: Delivery) -> None:
        fate = self.faults.fate(self._seed, delivery.number)
        again = fate.duplicated and not delivery.attempts
        async with self._slots:
            attempt, *more = await asyncio.gather(
                self._request(delivery), *([self._request(delivery)] if again else [])
            )
        if attempt is None:
            delivery.give_up()
        else:
            delivery.record(attempt)
        delivery.attempts += [replace(one, fault="duplicate") for one in more if one]
        if delivery.due:
            self._put_off(delivery, delivery.due)
        else:
            self._on_change(delivery)

    async def _request(self, delivery: Delivery) -> Attempt | None:
        """One request. None if nobody wants it any more."""
        webhook = self._webhooks.find(delivery.webhook_id)
        if webhook is None:
            return None
        at, started = self._clock.now(), time.monotonic()
        if self.outage_until and at < self.outage_until:
            return Attempt(at, None, "the network is out", 0, "outage")
        forged = self.faults.forges(self._seed, delivery.number, delivery.made)
        status, note = await self._post.send(webhook, delivery, forged=forged)
        milliseconds = round((time.monotonic() - started) * 1000)
        return Attempt(at, status, note, milliseconds, "bad signature" if forged else None)

    def _put_off(self, delivery: Delivery, due: datetime) -> None:
        delivery.due = due
        heapq.heappush(self._later, (due, delivery.number))
        self._on_change(delivery)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
