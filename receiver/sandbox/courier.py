"""Sends what happened to every webhook that has subscribed to it, and tries again by the vendor's schedule.

Deliveries about one appointment go to a webhook one after the other, those about several side by side, as far
as first attempts go; a retry comes when it is due, whatever has been sent since. The rule easiest to break:
nothing an endpoint does, or does not do, ends the courier.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from typing import TYPE_CHECKING, Final
from uuid import UUID

import aiohttp

from receiver.samples import to_body
from receiver.sandbox.delivery import ANSWER_SECONDS, Attempt, Delivery
from receiver.signing import sign

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from receiver.sandbox.clock import SandboxClock
    from receiver.sandbox.webhooks import Webhook, Webhooks
    from receiver.sandbox.world import Happening

MOST_AT_ONCE: Final = 32
LONGEST_NOTE: Final = 200


class Courier:
    """The vendor's outgoing side."""

    def __init__(
        self, webhooks: Webhooks, clock: SandboxClock, rng: random.Random, *, on_retry: Callable[[], None]
    ) -> None:
        """`rng` gives the delivery ids; `on_retry` is told that `next_due` may be earlier than before."""
        self.deliveries: list[Delivery] = []
        self._webhooks = webhooks
        self._clock = clock
        self._rng = rng
        self._on_retry = on_retry
        self._lanes: dict[tuple[int, str], deque[Delivery]] = {}
        self._retries: list[tuple[datetime, int]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Be ready to send."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        self._session = aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": "klenhook-sandbox"}
        )

    async def stop(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session:
            await self._session.close()

    async def idle(self) -> None:
        """Wait until no request is under way; retries may still be due later."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def publish(self, happening: Happening) -> None:
        """Send it to whoever has subscribed to it."""
        body = to_body(happening.payload())
        for webhook in self._webhooks:
            if happening.event_type in webhook.subscribed_events:
                self._send(webhook, happening.event_type, happening.appointment.uuid, body)

    def next_due(self) -> datetime | None:
        """When the next retry is due."""
        return self._retries[0][0] if self._retries else None

    def do_due(self, now: datetime) -> None:
        """Make the retries that are due."""
        while self._retries and self._retries[0][0] <= now:
            _, number = heapq.heappop(self._retries)
            self._spawn(self._attempt(self.deliveries[number - 1]))

    def _send(self, webhook: Webhook, event_type: str, subject: str, body: bytes) -> None:
        delivery = Delivery(
            number=len(self.deliveries) + 1,
            id=str(UUID(int=self._rng.getrandbits(128), version=4)),
            webhook_id=webhook.id,
            event_type=event_type,
            subject=subject,
            body=body,
            created_at=self._clock.now(),
        )
        self.deliveries.append(delivery)
        lane = self._lanes.setdefault((webhook.id, subject), deque())
        lane.append(delivery)
        if len(lane) == 1:
            self._spawn(self._work_off((webhook.id, subject)))

    async def _work_off(self, key: tuple[int, str]) -> None:
        lane = self._lanes[key]
        while lane:
            await self._attempt(lane[0])
            lane.popleft()
        del self._lanes[key]

    async def _attempt(self, delivery: Delivery) -> None:
        webhook = self._webhooks.find(delivery.webhook_id)
        if webhook is None:
            delivery.state, delivery.due = "failed", None
            return
        async with self._slots:
            at, started = self._clock.now(), time.monotonic()
            status, note = await self._post(webhook, delivery)
            milliseconds = round((time.monotonic() - started) * 1000)
        delivery.record(Attempt(at, status, note, milliseconds))
        if delivery.due:
            heapq.heappush(self._retries, (delivery.due, delivery.number))
            self._on_retry()

    async def _post(self, webhook: Webhook, delivery: Delivery) -> tuple[int | None, str]:
        """Status and beginning of the answer, or why there is none."""
        headers = {
            "Content-Type": "application/json",
            "X-Klen-Event": delivery.event_type,
            "X-Klen-Delivery-ID": delivery.id,
            **sign("klen", webhook.secret, delivery.body, now=0),
        }
        assert self._session is not None  # noqa: S101 -- started before anything is published
        try:
            async with self._session.post(
                webhook.url, data=delivery.body, headers=headers, allow_redirects=False
            ) as answer:
                text = (await answer.content.read(LONGEST_NOTE)).decode("utf-8", "replace")
                return answer.status, text
        except TimeoutError:
            return None, f"no answer within {ANSWER_SECONDS:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, type(error).__name__

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
