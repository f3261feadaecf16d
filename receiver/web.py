"""The public listener: webhooks and health, nothing else.

The order is what protects the service: what can be refused without reading is refused first, then the body
is read under a cap and a deadline, then its signature is checked, and only then is anything parsed. The rule
easiest to break: the answer 200 leaves after `log.append` has returned, never before.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import ClientError, web

from receiver import logs
from receiver.counts import Counts, known_type
from receiver.errors import (
    InvalidJSON,
    PayloadTooLarge,
    Rejected,
    RequestTimeout,
    Unavailable,
    UnsupportedEncoding,
)
from receiver.intake import DELIVERY_ID_HEADERS, KEPT_HEADERS, Delivery, read_event, refused
from receiver.listener import acknowledgement, json_response, rejection_response
from receiver.traces import Traces
from storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from receiver.clock import Clock
    from receiver.listener import Handler, Routes
    from receiver.signing import Verifier
    from storage.log import EventLog

T = TypeVar("T")

RETRY_AFTER_SECONDS: Final = 30
"""What a refused sender is told to wait; the vendor's own first retry comes after a minute."""


@dataclass(frozen=True, slots=True)
class Source:
    """One account that sends to us: where, and how its requests are verified."""

    name: str
    path: str
    style: str
    verifier: Verifier


@dataclass(slots=True)
class Intake:
    """Everything a request needs on its way into the log. A reload may change the three limits."""

    log: EventLog
    clock: Clock
    max_body_bytes: int
    body_timeout_seconds: float
    store_timeout_seconds: float
    on_event: Callable[[], None]
    """Called after something new is in the log."""
    readiness: Callable[[], tuple[bool, Mapping[str, Any]]]
    counts: Counts = field(default_factory=Counts)
    traces: Traces = field(default_factory=Traces)
    reading: set[asyncio.Timeout] = field(default_factory=set)
    """The deadlines of bodies that are still arriving."""

    def hurry(self) -> None:
        """Give up on bodies that are still arriving, because the service stops."""
        for timeout in self.reading:
            timeout.reschedule(0)


def routes(intake: Intake, sources: Mapping[str, Source]) -> Routes:
    """The table of the public listener: a path per source, and the two of health."""

    async def healthz(_request: web.BaseRequest) -> web.Response:
        return json_response(200, {"status": "ok"})

    async def readyz(_request: web.BaseRequest) -> web.Response:
        ready, report = intake.readiness()
        return json_response(200 if ready else 503, report)

    table: dict[str, dict[str, Handler]] = {
        source.path: {"POST": Receiver(intake, source).receive} for source in sources.values()
    }
    return table | {
        "/healthz": {"GET": healthz, "HEAD": healthz},
        "/readyz": {"GET": readyz, "HEAD": readyz},
    }


class Receiver:
    """The route of one source."""

    def __init__(self, intake: Intake, source: Source) -> None:
        self._intake = intake
        self._source = source
        self._delivery_id_header = DELIVERY_ID_HEADERS.get(source.style)
        self._logger = logs.get("intake").bind(source=source.name)
        self._refusals = logs.Sampler()
        self._storing = _Storing(intake)
        self._told: list[dict[str, Any]] = []
        """The deliveries of this turn of the loop, still to be logged."""

    async def receive(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take one webhook in, and answer as the contract of this service says."""
        started = time.monotonic()
        try:
            self._refuse_unread(request)
            body = await self._read(request)
            now_ms = self._intake.clock.now_ms()
            fingerprint = self._source.verifier.verify(request.headers, body, now=now_ms / 1000)
            report = await self._store(self._delivery(request.headers, body, fingerprint, now_ms), started)
            return acknowledgement(request, report)
        except Rejected as rejection:
            return self._reject(rejection, request)
        except Exception as error:  # noqa: BLE001 -- the last resort: the sender tries again, and we hear of it
            self._logger.error("intake failed", error=type(error).__name__)  # noqa: TRY400 -- a traceback quotes the body
            return self._reject(Unavailable("internal error"), request)
        finally:
            self._intake.counts.answer_seconds.observe(time.monotonic() - started)

    def _refuse_unread(self, request: web.BaseRequest) -> None:
        headers = request.headers
        if "Content-Encoding" in headers:
            raise UnsupportedEncoding
        length = request.content_length
        if length is not None and length > self._intake.max_body_bytes:
            raise PayloadTooLarge
        if "Expect" in headers and headers["Expect"].lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _read(self, request: web.BaseRequest) -> bytes:
        if request.content.is_eof():  # it came with the headers, as nearly every one does
            body = request.content.read_nowait()
            if len(body) > self._intake.max_body_bytes:
                raise PayloadTooLarge
            return body
        if request.client_max_size != self._intake.max_body_bytes:  # it was reloaded
            request = request.clone(client_max_size=self._intake.max_body_bytes)
        try:
            async with asyncio.timeout(self._intake.body_timeout_seconds) as timeout:
                self._intake.reading.add(timeout)
                try:
                    return await request.read()
                finally:
                    self._intake.reading.discard(timeout)
        except TimeoutError:
            raise RequestTimeout from None
        except web.HTTPRequestEntityTooLarge:
            raise PayloadTooLarge from None
        except (ClientError, web.RequestPayloadError, OSError) as error:
            raise InvalidJSON(f"body broken off: {type(error).__name__}") from None

    def _delivery(
        self, headers: Mapping[str, str], body: bytes, fingerprint: str, received_at_ms: int
    ) -> Delivery:
        # Empty counts as missing. Of two ids the first is taken.
        delivery_id = headers.get(self._delivery_id_header) if self._delivery_id_header else None
        return Delivery(
            self._source.name,
            body,
            received_at_ms,
            fingerprint,
            delivery_id or None,
            tuple([(name, value) for name in KEPT_HEADERS if (value := headers.get(name)) is not None]),
        )

    async def _store(self, delivery: Delivery, started: float) -> bytes:
        try:
            event = read_event(delivery)
        except InvalidJSON as error:
            await self._storing.wait_for(self._intake.log.quarantine(refused(delivery, error)))
            raise
        appended = await self._storing.wait_for(self._intake.log.append(event))
        outcome = "duplicate" if appended.duplicate else "accepted"
        self._intake.counts.deliveries[outcome] += 1
        if not appended.duplicate:
            self._intake.on_event()
        if appended.id_reused:
            self._logger.warning("delivery id came back with other content", event_id=appended.event_id)
        seconds = time.monotonic() - started
        event_type = known_type(event.event_type)
        self._intake.traces.received(
            appended.event_id, seconds, source=self._source.name, event_type=event_type, outcome=outcome
        )
        self._tell(
            outcome=outcome,
            event_id=appended.event_id,
            event_type=event_type,
            bytes=len(delivery.body),
            ms=round(seconds * 1000, 1),
            **({"flags": event.flags} if event.flags else {}),
        )
        return b'{"status": "%b", "event_id": "%b"}' % (outcome.encode(), appended.event_id.encode())

    def _tell(self, **line: Any) -> None:
        """Log a delivery with the others of this turn of the loop, since each write calls the system."""
        self._told.append(line)
        if len(self._told) == 1:
            asyncio.get_running_loop().call_soon(self._write)

    def _write(self) -> None:
        told, self._told = self._told, []
        with logs.together():
            for line in told:
                self._logger.info("delivery", **line)

    def _reject(self, rejection: Rejected, request: web.BaseRequest) -> web.Response:
        self._intake.counts.deliveries[rejection.code] += 1
        if (suppressed := self._refusals.admit()) is not None:
            self._logger.warning(
                "refused",
                code=rejection.code,
                status=rejection.status,
                reason=rejection.reason,
                bytes=request.content_length,
                suppressed=suppressed,
            )
        response = rejection_response(rejection)
        if isinstance(rejection, Unavailable):
            response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        if not request.content.is_eof():
            # The rest of the body would be read as the next request; nor is it worth waiting for.
            response.force_close()
        return response


class _Storing:
    """The deadline of storing; whoever it stops is answered 503, so that the sender tries again.

    One timer serves all requests, since they come to their ends in the order in which they began. A timer
    for each, as `asyncio.timeout` has it, takes a tenth of intake's time.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._began: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for(self, stored: Awaitable[T]) -> T:
        """What the log answers.

        Raises:
            Unavailable: it took too long, or the log cannot be written.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # noqa: S101 -- a coroutine runs in a task
        self._began[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._intake.store_timeout_seconds, self._expire)
        try:
            return await stored
        except asyncio.CancelledError:
            if task in self._late and task.uncancel() == 0:
                raise Unavailable("storing took too long") from None
            raise
        except StorageError as error:
            raise Unavailable(type(error).__name__) from error
        finally:
            del self._began[task]
            self._late.discard(task)

    def _expire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        for task, began in self._began.items():
            if (left := began + self._intake.store_timeout_seconds - loop.time()) > 0:
                self._timer = loop.call_later(left, self._expire)
                return
            if task not in self._late:
                self._late.add(task)
                task.cancel()
