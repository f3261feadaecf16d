"""The child process: loads one plugin file, then calls its handlers, one call at a time.

Whatever the handler does ends as a message, or as the end of the process, which the service sees. The rule
easiest to break: it also ends when the service has died and the handler hangs in C code that lets no other
thread run; for that case the kernel's own timer is set before each call.
"""

from __future__ import annotations

import asyncio
import atexit
import faulthandler
import os
import resource
import signal
from contextlib import AsyncExitStack, suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from receiver import logs
from receiver.config import Dispatch
from receiver.isolation.calling import make
from receiver.isolation.channel import Channel, end_group
from receiver.isolation.process import LEAVING_SECONDS
from receiver.isolation.reply import Reply, dump
from receiver.plugins.installed import GROUP
from receiver.plugins.search import Search

if TYPE_CHECKING:
    from receiver.isolation.messages import Message
    from receiver.outbound import Outbound
    from receiver.plugins import BrokenPlugin, Handler

GRACE_SECONDS: Final = 2.0
"""After the handler's time, when the service should have killed the process long ago."""


def main() -> int:
    """Serve until the service wants no more; the exit status."""
    return asyncio.run(_serve())


async def _serve() -> int:
    channel = Channel()
    start = await channel.request()
    if start is None:
        return 0
    _prepare(start)
    async with _Host(channel, start) as host:
        if not host.load():
            return 1
        while (request := await channel.request()) is not None:
            if not await host.answer(request):
                return 1
        signal.setitimer(signal.ITIMER_REAL, LEAVING_SECONDS)
    return 0


def _prepare(start: Message) -> None:
    """Set what holds for the whole life of the process, before any code of the plugin runs."""
    faulthandler.enable(all_threads=False)  # after a crash in C code: where the handler was
    # A supervisor that stops the service sends this to every process; the service decides when this one ends.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # under `stty tostop` a print would stop it for ever
    _limit(resource.RLIMIT_CORE, 0)  # a dump of the memory would hold personal data
    _limit(resource.RLIMIT_AS, start["memory_bytes"])
    logs.configure(start["log_level"], start["log_format"])
    atexit.register(_end_with_group, os.getpid(), os.getppid())  # registered first, so it runs last


def _limit(which: int, most: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    with suppress(OSError, ValueError):  # a system without this limit
        resource.setrlimit(which, (most, most))


def _end_with_group(own_pid: int, service_pid: int) -> None:
    """What the service does for a child that ends; without the service the child does it itself."""
    if os.getpid() == own_pid and os.getppid() != service_pid:  # the first fails in a copy that was forked
        end_group()


class _Host:
    """The plugin's handlers, and what is kept between calls."""

    def __init__(self, channel: Channel, start: Message) -> None:
        self._channel = channel
        self._start = start
        self._handlers: dict[str, Handler] = {}
        self._stack = AsyncExitStack()
        self._http: Outbound | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def load(self) -> bool:
        """Load the file, or import what is installed, and say how that went."""
        start, search = self._start, Search(Dispatch())
        if start["origin"] == "installed":
            name, value = start["entry"]
            search.add_installed(name, [EntryPoint(name, value, GROUP)])
        else:
            file = Path(start["file"])
            search.add(start["origin"], file.parent, [file], package=start["package"])
        self._handlers = search.handlers
        self._channel.reply(self._not_loaded(search.broken[0]) if search.broken else {"kind": "ready"})
        return not search.broken

    def _not_loaded(self, broken: BrokenPlugin) -> Message:
        if broken.kind == "MemoryError":
            return {"kind": "memory"}
        error = f"PluginError: {broken.file.name} does not load in a process of its own: {broken.error}"
        return {"kind": "broken", "error": f"{error}\n{broken.traceback}"}

    async def answer(self, request: Message) -> bool:
        """Make one call and say how it ended. False: this process makes no more."""
        signal.setitimer(signal.ITIMER_REAL, request["timeout"] + GRACE_SECONDS)
        call = asyncio.create_task(self._make(request))
        await asyncio.wait({call})  # and not the task itself, which the handler may have cancelled
        signal.setitimer(signal.ITIMER_REAL, 0)
        message = _end(_CANCELLED) if call.cancelled() else call.result()
        try:
            self._channel.reply(message)
        except ValueError as error:
            self._channel.reply(
                _end(Reply("failed", f"ValueError: what the handler staged is too much: {error}"))
            )
        return bool(message["kind"] == "end")

    async def _make(self, request: Message) -> Message:
        self._channel.enter_call()
        handler = self._handlers.get(request["handler"])
        if handler is None:
            return _end(
                Reply("failed", f"PluginError: the file has no handler {request['handler']!r} any more.")
            )
        try:
            return _end(await make(handler, request, self._outbound))
        except MemoryError:
            return {"kind": "memory"}

    async def _outbound(self) -> Outbound:
        """`ctx.http`, opened by the first handler that takes a context: the library is large."""
        if self._http is None:
            from receiver.outbound import Outbound  # noqa: PLC0415 -- as said above

            self._http = await self._stack.enter_async_context(Outbound(self._start["allow"]))
        return self._http


_CANCELLED: Final = Reply("failed", "CancelledError: the handler cancelled itself.")


def _end(reply: Reply) -> Message:
    return {"kind": "end", "reply": dump(reply)}
