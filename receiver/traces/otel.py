"""Traces by the OpenTelemetry SDK, which reads its usual variables and sends from a thread of its own.

The trace of an event has the event's id: it needs no place in the log, survives a restart, and whoever has an
event id from a log line has its trace. The first delivery is the root; attempts, and deliveries that repeat
it, hang below it. The rule easiest to break: spans leave this machine, so they carry ids, names of ours and
kinds of exceptions, and nothing of a body.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from receiver.threads import ThreadCall
from receiver.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storage.work import Claimed

STOP_SECONDS: Final = 3.0
"""What sending the last spans may take when the service stops."""

_LOW: Final = (1 << 64) - 1
_root: ContextVar[int | None] = ContextVar("root", default=None)
"""The event whose root span is being made."""


class OTelTraces(Traces):
    """See `Traces`."""

    def __init__(self) -> None:
        """Begin to send."""
        ours = {"service.name": "klenhook", "service.version": version("klenhook")}
        resource = Resource.create({**ours, **OTELResourceDetector().detect().attributes})
        # Ended by `aclose`: at exit it would wait for a collector that is gone.
        self._provider = TracerProvider(id_generator=_EventIds(), resource=resource, shutdown_on_exit=False)
        self._provider.sampler = _Spread(self._provider.sampler)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("klenhook", ours["service.version"])
        # What handlers trace themselves becomes part of it.
        trace.set_tracer_provider(self._provider)

    def received(self, event_id: str, seconds: float, *, source: str, event_type: str, outcome: str) -> None:
        """See `Traces.received`."""
        event = UUID(event_id).int
        now = time.time_ns()
        repeated = outcome == "duplicate"
        token = None if repeated else _root.set(event)
        try:
            span = self._tracer.start_span(
                f"receive {source}",
                context=self._below(event) if repeated else Context(),
                kind=SpanKind.SERVER,
                attributes={
                    "klenhook.event_id": event_id,
                    "klenhook.source": source,
                    "klenhook.event_type": event_type,
                    "klenhook.outcome": outcome,
                },
                start_time=now - round(seconds * 1e9),
            )
        finally:
            if token is not None:
                _root.reset(token)
        span.end(now)

    @contextmanager
    def attempt(self, run: Claimed) -> Iterator[Callable[[str], None]]:
        """See `Traces.attempt`."""
        attributes: dict[str, Any] = {
            "klenhook.event_id": run.event_id,
            "klenhook.handler": run.handler,
            "klenhook.attempt": run.attempt,
            "klenhook.replayed": run.replay_id is not None,
        }
        with self._tracer.start_as_current_span(
            f"handle {run.handler}",
            context=self._below(UUID(run.event_id).int),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            # Its text may quote a person's data.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:

            def ended(state: str) -> None:
                span.set_attribute("klenhook.outcome", state)
                if state in ("retrying", "dead"):
                    span.set_status(Status(StatusCode.ERROR))

            yield ended

    def _below(self, event: int) -> Context:
        """Where further spans of an event hang, sampled as its root is."""
        decision = self._provider.sampler.should_sample(None, event, "").decision
        flags = TraceFlags(TraceFlags.DEFAULT if decision is Decision.DROP else TraceFlags.SAMPLED)
        parent = SpanContext(event, event & _LOW, is_remote=True, trace_flags=flags)
        return trace.set_span_in_context(NonRecordingSpan(parent))

    async def aclose(self) -> None:
        """See `Traces.aclose`."""
        sending = ThreadCall(self._provider.shutdown, name="klenhook-traces")
        await asyncio.wait({sending.done}, timeout=STOP_SECONDS)


class _EventIds(RandomIdGenerator):
    """Random ids, but for the root of an event."""

    def generate_trace_id(self) -> int:
        event = _root.get()
        return super().generate_trace_id() if event is None else event

    def generate_span_id(self) -> int:
        event = _root.get()
        return super().generate_span_id() if event is None else event & _LOW


class _Spread(Sampler):
    """The sampler that was configured, with ids that are random from the first bit on.

    A sampler by ratio compares the lower 64 bits of a trace id with a bound. Those of a UUID begin with two
    bits that are always the same.
    """

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, *args: Any, **kwargs: Any
    ) -> SamplingResult:
        spread = trace_id & ~_LOW | trace_id << 2 & _LOW
        return self._inner.should_sample(parent_context, spread, name, *args, **kwargs)

    def get_description(self) -> str:
        return self._inner.get_description()
