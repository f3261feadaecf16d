"""Addresses the service listens at, and the report it gives there of how it is.

The rule easiest to break: everybody can ask whether the service is ready, so the report names files, lines
and kinds of errors, never what an error says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from receiver.errors import ReceiverError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from receiver.config import Address
    from receiver.listener import Listener
    from receiver.plugins import BrokenPlugin
    from receiver.reload import ReloadError

BACKLOG: Final = 128


class ListenError(ReceiverError):
    """The address of a listener cannot be used."""


async def listen(
    listener: Listener, address: Address, *, drain_seconds: float, backlog: int = BACKLOG
) -> web.ServerRunner:
    """Serve an address. What is in flight when the runner is cleaned up gets `drain_seconds`.

    Raises:
        ListenError: the address is taken, or not ours.
    """
    runner = web.ServerRunner(listener, handle_signals=False, shutdown_timeout=drain_seconds)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port, backlog=backlog).start()
    except OSError as error:
        await runner.cleanup()
        raise ListenError(f"Cannot listen on {address}: {error.strerror or error}.") from error
    return runner


def readiness(
    *, healthy: bool, refused: ReloadError | None, broken: Sequence[BrokenPlugin], warnings: Sequence[str]
) -> tuple[bool, Mapping[str, Any]]:
    """Whether senders are served, and why not or what else needs somebody."""
    if refused and refused.broken:
        broken = refused.broken
    status = "unavailable" if not healthy else "degraded" if broken or refused or warnings else "ok"
    report: dict[str, Any] = {"status": status, "log": "ok" if healthy else "cannot be written"}
    if refused:
        report["reload"] = "refused"
    if warnings:
        report["warnings"] = list(warnings)
    if broken:
        report["broken_plugins"] = [
            # What the error says is for `handlers check`.
            {"file": plugin.file.name, "line": plugin.line, "error": plugin.kind}
            for plugin in broken
        ]
    return healthy, report
