"""What is going on: whether the service runs, whether its address is free, and what the log says.

The rule easiest to break: it only looks. The log is read beside the running service, and an address is bound
only when nothing answers there.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, Final

from receiver.clock import to_datetime
from receiver.doctor.finding import Finding, error, fine, warning
from receiver.sender import NoAnswerError, exchange
from receiver.times import parse_time
from storage import open_reader
from storage.errors import LogUnusable, StorageError
from storage.records import Selection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from receiver.config import Address, Config
    from storage.reader import EventReader

ANSWER_SECONDS: Final = 3.0
DAY_MS: Final = 86_400_000
SILENT_DAYS: Final = 7
CLOCK_SLACK_MS: Final = 60_000
UNSPECIFIED: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- where to ask who listens everywhere
MANY_WAITING: Final = 1_000


def check_addresses(config: Config) -> Iterator[Finding]:
    """Whether the service answers at its address, or could listen there."""
    listen = config.server.listen
    answer = _readiness(listen)
    if answer is None:
        problem = _not_bindable(listen)
        if problem:
            fix = "Stop the other program, or set server.listen to a free address of this machine."
            yield error(
                "address", f"Nothing of klenhook answers at {listen}, and it is not free: {problem}.", fix
            )
        else:
            yield fine("address", f"{listen} is free. The service does not run.")
        private = config.ops.listen
        if private.port and (problem := _not_bindable(private)):
            fix = "Stop the other program, or set ops.listen to a free address of this machine."
            yield warning("private address", f"{private} is not free: {problem}. Commands need it.", fix)
        return
    status = answer.get("status")
    if status == "ok":
        yield fine("address", f"The service runs at {listen} and is ready.")
    elif status == "degraded":
        yield warning(
            "address", f"The service runs at {listen}, degraded.", "`klenhook handlers check` says why."
        )
    else:
        fix = "Look into the service's own log lines: the disk may be full or the file replaced."
        yield error("address", f"The service at {listen} is not ready: the log cannot be written.", fix)


def _readiness(listen: Address) -> dict[str, Any] | None:
    """What `/readyz` says there; None if that is no klenhook."""
    host = UNSPECIFIED.get(listen.host, listen.host)
    name = f"[{host}]" if ":" in host else host
    try:
        answer = exchange("GET", f"http://{name}:{listen.port}/readyz", seconds=ANSWER_SECONDS)
        found = json.loads(answer.body)
    except (NoAnswerError, ValueError):
        return None
    return found if isinstance(found, dict) and "status" in found and "log" in found else None


def _not_bindable(listen: Address) -> str | None:
    """Why nothing can listen there; None if something can."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as problem:
            return problem.strerror or type(problem).__name__
    return None


async def check_log(config: Config, now_ms: int) -> list[Finding]:
    """The log: whether it can be read, what waits, what failed, and when the last webhook came."""
    try:
        log = await open_reader(config.storage_url)
    except LogUnusable as problem:
        if not config.storage_path.exists():
            return [fine("log", f"There is no {config.storage_path} yet; `klenhook serve` makes it.")]
        return [error("log", str(problem), "Name another file in storage.url, or restore a backup.")]
    try:
        return [finding async for finding in _state(log, now_ms)]
    except StorageError as problem:
        return [error("log", str(problem), "Stop the service and restore a backup if this stays.")]
    finally:
        await log.aclose()


async def _state(log: EventReader, now_ms: int) -> AsyncIterator[Finding]:
    status = await log.status()
    yield fine("log", f"{status.path} has {status.events} events, schema {status.version}.")
    waiting = sum(status.runs.get(state, 0) for state in ("pending", "retrying"))
    if status.unrouted + waiting > MANY_WAITING:
        message = f"{status.unrouted} events wait for their routing and {waiting} runs for their turn."
        yield warning("backlog", message, "`klenhook handlers list` shows which handler is slow or paused.")
    if dead := status.runs.get("dead", 0):
        fix = "`klenhook log list --status dead` shows them; after mending: `klenhook replay --status dead`."
        yield warning("dead runs", f"{dead} runs failed for good.", fix)
    if status.quarantined:
        fix = "`klenhook log quarantine` shows them."
        yield warning("quarantine", f"{status.quarantined} signed bodies were no JSON.", fix)
    newest = await log.page(Selection(limit=1))
    yield _last_event(newest[0].received_at if newest else None, now_ms)


def _last_event(received_at: str | None, now_ms: int) -> Finding:
    if received_at is None:
        fix = "Book an appointment at Klen and watch `klenhook log tail`, or try `klenhook send`."
        return warning("last event", "No event has arrived yet.", fix)
    age_ms = now_ms - parse_time(received_at, now_ms=now_ms)
    if age_ms < -CLOCK_SLACK_MS:
        message = (
            f"The last event arrived at {received_at}, and by this clock it is {to_datetime(now_ms):%FT%TZ}."
        )
        return error("clock", message, "The clock has gone back. Set it, and keep it right with NTP.")
    if age_ms > SILENT_DAYS * DAY_MS:
        message = f"The last event arrived at {received_at}, {age_ms // DAY_MS} days ago."
        fix = "If there were appointments since, see whether the webhook is still registered and points here."
        return warning("last event", message, fix)
    return fine("last event", f"It arrived at {received_at}.")
