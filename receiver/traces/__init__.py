"""What each event went through, as traces for OpenTelemetry: from the request to the handlers, one trace.

They are on when an endpoint is named in the environment and the extra `klenhook[otel]` is installed. The rule
easiest to break: without that, this costs nothing and imports nothing, and with it, tracing never fails,
delays or fills anything.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from receiver import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from storage.work import Claimed

__all__ = ["Traces", "open_traces"]

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""https://opentelemetry.io/docs/languages/sdk-configuration/otlp-exporter/"""


class Traces:
    """Nothing is traced."""

    def received(self, event_id: str, seconds: float, *, source: str, event_type: str, outcome: str) -> None:
        """A delivery of this event was answered just now, so many seconds after its request came."""

    def attempt(self, run: Claimed) -> AbstractContextManager[Callable[[str], None]]:  # noqa: ARG002 -- there is nothing to do
        """Around a call of a handler; what it gives is told how the attempt ended."""
        return nullcontext(_ignore)

    async def aclose(self) -> None:
        """Send what is left."""


def _ignore(_state: str) -> None:
    pass


def open_traces(environ: Mapping[str, str] = os.environ) -> Traces:
    """What the environment asks for."""
    wanted = any(environ.get(name) for name in ENDPOINTS)
    if not wanted or environ.get("OTEL_TRACES_EXPORTER") == "none":
        return Traces()
    try:
        from receiver.traces.otel import OTelTraces  # noqa: PLC0415 -- an extra, imported when it is wanted
    except ImportError:
        logs.get("traces").warning(
            "no traces: OTEL_EXPORTER_OTLP_ENDPOINT is set, and klenhook[otel] is not installed"
        )
        return Traces()
    return OTelTraces()
