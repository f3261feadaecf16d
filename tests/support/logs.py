"""Rows for tests of the log, made by hand, and the addresses of each backend."""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from storage.records import NewEvent, Refused
from storage.work import NewRun, Outcome, Routing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from storage.log import EventLog
    from storage.states import RunState
    from storage.work import Claimed, Unrouted

BACKENDS: Final[dict[str, Callable[[Path], str]]] = {"sqlite": lambda folder: f"sqlite:///{folder}/log.db"}
"""By name: the address of a log that lives in this folder."""

START: Final = 1_746_094_530_000
"""2025-05-01T10:15:30.000Z, when the first delivery of a test arrives."""
DAY: Final = 86_400_000
UUIDS: Final = [f"f47ac10b-58cc-4372-a567-0e02b2c3d47{n}" for n in range(10)]

_numbers = count(1)


def new_event(
    content: str | None = None, delivery_id: str | None = None, *, variant: str = "", **columns: Any
) -> NewEvent:
    """One delivery. Equal content and variant make equal bytes; the variant stands for a renewed timestamp."""
    number = next(_numbers)
    content = f"content {number}" if content is None else content
    body = f"{content}|{variant}".encode()
    usual: dict[str, Any] = {"source": "klen", "received_at_ms": START}
    return NewEvent(
        event_id=str(UUID(int=(START << 80) | 0x7000_8000_0000_0000_0000 | number)),
        body=body,
        body_sha256=sha256(body).digest(),
        delivery_id=delivery_id,
        content_digest=_half(content),
        delivery_digest=None if delivery_id is None else _half(delivery_id),
        **usual | columns,
    )


def _half(text: str) -> bytes:
    return sha256(text.encode()).digest()[:8]


def new_refused(body: bytes = b"{", **columns: Any) -> Refused:
    """One signed body that is no JSON."""
    usual: dict[str, Any] = {"source": "klen", "received_at_ms": START, "reason": "invalid_json"}
    return Refused(body=body, body_sha256=sha256(body).digest(), **usual | columns)


def routing(event: Unrouted, *runs: NewRun) -> Routing:
    """Give an event to these handlers' runs, about what its columns say."""
    return Routing(event.seq, event.source, event.subject, runs)


async def route_all(log: EventLog, *runs: NewRun, now_ms: int = START) -> None:
    """Give every event that waits to the same handlers; without any named, to `hello`."""
    events = await log.unrouted(500)
    await log.route([routing(event, *(runs or [NewRun("hello")])) for event in events], now_ms=now_ms)


async def claim(
    log: EventLog, handler: str = "hello", *, most: int = 10, now_ms: int = START
) -> list[Claimed]:
    """Take due runs of one handler."""
    return await log.claim("owner", {handler: most}, now_ms=now_ms)


def outcome(run: Claimed, state: RunState = "done", **more: Any) -> Outcome:
    """How an attempt of a claimed run ended."""
    usual: dict[str, Any] = {"started_at_ms": START, "finished_at_ms": START + 5}
    return Outcome(run_id=run.run_id, attempt=run.attempt, state=state, **usual | more)
