"""From a whole request to its answer: verify, record, acknowledge.

No request has a task of its own here. `Taking.take` goes as far as handing the event to the log; when the log
answers, the sender is answered. The rule easiest to break: the answer 200 is made of what the log has
answered, never before.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from receiver import logs
from receiver.answers import acknowledgement, refusal
from receiver.counts import Counts, known_type
from receiver.errors import InvalidJSON, PayloadTooLarge, Rejected, Unavailable, UnsupportedEncoding
from receiver.intake import DELIVERY_ID_HEADERS, KEPT_HEADERS, Delivery, read_deliveries
from receiver.traces import Traces
from storage.errors import StorageError
from storage.records import Unreadable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from multidict import MultiMapping

    from receiver.answers import Answer
    from receiver.clock import Clock
    from receiver.signing import Verifier
    from storage.log import EventLog
    from storage.records import Taken

__all__ = ["Intake", "Source", "Taking"]

T = TypeVar("T")


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


class Taking:
    """What is done with the requests of one source."""

    def __init__(self, intake: Intake, source: Source) -> None:
        self.intake = intake
        self._source = source
        self._delivery_id_header = DELIVERY_ID_HEADERS.get(source.style)
        self._logger = logs.get("intake").bind(source=source.name)
        self._refusals = logs.Sampler()
        self._deadlines = _Deadlines(intake)
        self._told: list[dict[str, Any]] = []
        """The deliveries of this turn of the loop, still to be logged."""

    def refuse_unread(self, headers: MultiMapping[str], length: int | None) -> None:
        """Refuse what need not be read.

        Raises:
            UnsupportedEncoding, PayloadTooLarge: it is encoded, or longer than is allowed.
        """
        if "Content-Encoding" in headers:
            raise UnsupportedEncoding
        if length is not None and length > self.intake.max_body_bytes:
            raise PayloadTooLarge

    def take(self, headers: MultiMapping[str], body: bytes, answer: Callable[[Answer], None]) -> None:
        """Take in a request that is here whole. `answer` is called once, now or when the log has answered."""
        request = _Request(len(body), answer, time.monotonic())
        try:
            self.refuse_unread(headers, len(body))
            now_ms = self.intake.clock.now_ms()
            fingerprint = self._source.verifier.verify(headers, body, now=now_ms / 1000)
            self._record(request, self._delivery(headers, body, fingerprint, now_ms))
        except Exception as error:  # noqa: BLE001 -- the last resort: the sender tries again, and we hear of it
            self._refuse(request, error)

    def _delivery(
        self, headers: MultiMapping[str], body: bytes, fingerprint: str, received_at_ms: int
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

    def _record(self, request: _Request, delivery: Delivery) -> None:
        taken = self._deadlines.within(self.intake.log.take_in(delivery, read_deliveries, request.size))
        taken.add_done_callback(partial(self._taken, request))

    def _taken(self, request: _Request, taken: asyncio.Future[Taken | Unreadable]) -> None:
        try:
            outcome = self._deadlines.met(taken)
            if isinstance(outcome, Unreadable):
                self._refuse(request, InvalidJSON(outcome.reason.removeprefix(f"{InvalidJSON.code}: ")))
            else:
                self._acknowledge(request, outcome)
        except Exception as error:  # noqa: BLE001 -- as in `take`
            self._refuse(request, error)

    def _acknowledge(self, request: _Request, taken: Taken) -> None:
        appended = taken.appended
        outcome = "duplicate" if appended.duplicate else "accepted"
        if not appended.duplicate:
            self.intake.on_event()
        if appended.id_reused:
            self._logger.warning("delivery id came back with other content", event_id=appended.event_id)
        seconds = time.monotonic() - request.began
        event_type = known_type(taken.event_type)
        self.intake.traces.received(
            appended.event_id, seconds, source=self._source.name, event_type=event_type, outcome=outcome
        )
        self._tell(
            outcome=outcome,
            event_id=appended.event_id,
            event_type=event_type,
            bytes=request.size,
            ms=round(seconds * 1000, 1),
            **({"flags": taken.flags} if taken.flags else {}),
        )
        self.count(outcome, seconds)
        request.answer(acknowledgement(outcome, appended.event_id))

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

    def _refuse(self, request: _Request, error: Exception) -> None:
        if not isinstance(error, Rejected):
            # Its kind alone: a traceback would quote the body.
            self._logger.error("intake failed", error=type(error).__name__)
            error = Unavailable("internal error")
        self.count(error.code, time.monotonic() - request.began)
        request.answer(self.refusal(error, request.size))

    def refusal(self, rejection: Rejected, size: int | None) -> Answer:
        """The answer to what is refused, told in the log lines now and then."""
        if (suppressed := self._refusals.admit()) is not None:
            self._logger.warning(
                "refused",
                code=rejection.code,
                status=rejection.status,
                reason=rejection.reason,
                bytes=size,
                suppressed=suppressed,
            )
        return refusal(rejection)

    def count(self, outcome: str, seconds: float) -> None:
        """A request was answered after so many seconds."""
        self.intake.counts.deliveries[outcome] += 1
        self.intake.counts.answer_seconds.observe(seconds)


class _Request(NamedTuple):
    """A request under way."""

    size: int
    """Bytes of the body."""
    answer: Callable[[Answer], None]
    began: float
    """By the monotonic clock, in seconds."""


class _Deadlines:
    """The deadline of storing; whoever it stops is answered 503, so that the sender tries again.

    One timer serves all requests, since they come to their ends in the order in which they began. A timer
    for each, as `asyncio.timeout` has it, takes a tenth of intake's time.
    """

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self._began: dict[asyncio.Future[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def within(self, stored: Awaitable[T]) -> asyncio.Future[T]:
        """What the log will answer; it is cancelled when its time is over."""
        future = asyncio.ensure_future(stored)
        loop = future.get_loop()
        self._began[future] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self.intake.store_timeout_seconds, self._expire)
        return future

    def met(self, stored: asyncio.Future[T]) -> T:
        """What the log has answered.

        Raises:
            Unavailable: it took too long, or the log cannot be written.
        """
        del self._began[stored]
        if stored.cancelled():
            raise Unavailable("storing took too long")
        try:
            return stored.result()
        except StorageError as error:
            raise Unavailable(type(error).__name__) from error

    def _expire(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for future, began in self._began.items():
            if (left := began + self.intake.store_timeout_seconds - now) > 0:
                self._timer = future.get_loop().call_later(left, self._expire)
                return
            future.cancel()
