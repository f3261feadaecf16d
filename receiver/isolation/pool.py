"""Calls of isolated handlers: which child makes one, how long it may take, and how it ended.

A child serves one plugin file. It makes one call at a time and is used again, since a new one costs a third
of a second and more. How many there are at once is for the caller to limit, by the handler's concurrency.

The rule easiest to break: the handler's time begins when its child is ready. Starting the process and
loading the plugin have a limit of their own.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from receiver.isolation.messages import ProtocolError
from receiver.isolation.process import Child
from receiver.isolation.reply import Reply, read
from receiver.isolation.request import call_message, code_of, start_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from receiver.isolation.messages import Message
    from receiver.plugins import Handler
    from storage.work import Claimed

MEMORY_BYTES: Final = 512 * 2**20
"""Of address space. klenhook and its libraries take some 90 MiB of it."""
CALLS: Final = 1_000
"""A child is replaced after so many, so that what a handler leaks does not add up for ever."""
IDLE_SECONDS: Final = 60.0
START_SECONDS: Final = 30.0
"""For starting the process and loading the plugin."""
STOP_SECONDS: Final = 2.0
"""What idle children get for leaving when the service stops."""

Services: TypeAlias = "Callable[[str, dict[str, Any]], Awaitable[Any]]"
"""Answers what code in the child asks by `channel.remote(name, arguments)`, one question at a time: with a
JSON value, or with an exception, whose text the child sees. `ctx.store` asks `store.get` with `{"key": key}`
and expects the fields of a `StoredValue`, `{"value": ..., "version": ...}`."""


class Isolated:
    """The children of one service. Close it before the event loop ends."""

    def __init__(
        self,
        *,
        memory_bytes: int = MEMORY_BYTES,
        allow: Sequence[str] = (),
        log_level: str = "info",
        log_format: str = "console",
    ) -> None:
        """`allow` is `[outbound] allow` for `ctx.http`; the last two are as in `[logging]`, for `ctx.log`."""
        self._options = {
            "memory_bytes": memory_bytes,
            "allow": list(allow),
            "log_level": log_level,
            "log_format": log_format,
        }
        self._out_of_memory = f"killed: over its memory limit of {memory_bytes / 2**20:g} MiB"
        self._children: set[Child] = set()
        self._idle: defaultdict[str, list[tuple[Child, asyncio.TimerHandle]]] = defaultdict(list)
        self._outdated: set[Child] = set()
        self._closed = False

    async def call(self, handler: Handler, run: Claimed, *, services: Services | None = None) -> Reply:
        """Call the handler for this run. Cancelling kills the child, and what it has started.

        Raises:
            TimeoutError: it took longer than `handler.timeout`, and was killed.
        """
        try:
            request = call_message(handler, run)
        except Exception as error:  # noqa: BLE001 -- pickling runs code of the settings' own types
            return Reply(
                "failed",
                f"{type(error).__name__}: the settings of an isolated handler go to another process, so they "
                "have to be what pickle takes: numbers, texts, lists, models of its file's top level.",
            )
        child = self._idle_child(handler) or await self._new_child(handler)
        if isinstance(child, Reply):
            return child
        reusable = False
        try:
            async with asyncio.timeout(handler.timeout):
                reply, reusable = await self._converse(child, request, services or _no_services)
        except ProtocolError as error:
            reply = Reply("died", f"killed: it sent {error}")
        finally:
            if not reusable:
                child.kill()
        if reusable:
            self._keep(handler, child)
        return reply

    def renew(self) -> None:
        """After plugins were loaded again: no child that is there makes another call."""
        self._outdated |= self._children
        for child, timer in [pair for idle in self._idle.values() for pair in idle]:
            timer.cancel()
            child.leave()
        self._idle.clear()

    async def aclose(self) -> None:
        """End every child, idle ones by their exit functions, others at once."""
        self._closed = True
        idle = {child for pairs in self._idle.values() for child, _ in pairs}
        for child in self._children - idle:
            child.kill()
        self.renew()
        await self._all_ended(STOP_SECONDS)
        for child in self._children:
            child.kill()
        await self._all_ended(None)

    async def _all_ended(self, seconds: float | None) -> None:
        if self._children:
            await asyncio.wait([child.ended for child in self._children], timeout=seconds)

    def _idle_child(self, handler: Handler) -> Child | None:
        """The one used last, so that those used before grow old and leave."""
        idle = self._idle[code_of(handler)]
        while idle:
            child, timer = idle.pop()
            timer.cancel()
            if child.alive:
                return child
        return None

    async def _new_child(self, handler: Handler) -> Child | Reply:
        """A child that has loaded the handler's file; or why there is none."""
        if self._closed:
            return Reply("died", "not started: the service stops")
        try:
            child = await Child.spawn()
        except OSError as error:
            return Reply("died", f"not started: {error.strerror or error}")
        self._children.add(child)
        child.ended.add_done_callback(lambda _: self._forget(child))
        answer: Message | None = {}
        try:
            async with asyncio.timeout(START_SECONDS):
                child.send(start_message(handler) | self._options)
                answer = await child.receive()
        except TimeoutError:
            return Reply("died", f"killed: the plugin was not loaded within {START_SECONDS:g} s")
        finally:
            if answer is None or answer.get("kind") != "ready":
                child.kill()
        return child if child.alive else await self._why_not(child, answer)

    async def _why_not(self, child: Child, answer: Message | None) -> Reply:
        if answer and answer.get("kind") == "memory":
            return Reply("died", self._out_of_memory)
        if answer and answer.get("kind") == "broken":
            return Reply("failed", str(answer.get("error")))
        return Reply("died", await child.ended)

    def _forget(self, child: Child) -> None:
        self._children.discard(child)
        self._outdated.discard(child)

    async def _converse(self, child: Child, request: Message, services: Services) -> tuple[Reply, bool]:
        """From the request to the reply, and whether the child can be used again.

        Raises:
            ProtocolError: the reply means nothing.
        """
        child.calls += 1
        child.send(request)
        while (message := await child.receive()) is not None:
            if message.get("kind") == "ask":
                child.send(await _answer(message, services))
            elif message.get("kind") == "memory":
                return Reply("died", self._out_of_memory), False
            else:
                return read(message.get("reply")), True
        return Reply("died", await child.ended), False

    def _keep(self, handler: Handler, child: Child) -> None:
        """Let the child wait for its next call, if it is to have one."""
        if not child.alive:
            return
        if self._closed or child in self._outdated or child.calls >= CALLS:
            child.leave()
            return
        idle = self._idle[code_of(handler)]
        timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, _retire, idle, child)
        idle.append((child, timer))


def _retire(idle: list[tuple[Child, asyncio.TimerHandle]], child: Child) -> None:
    idle[:] = [pair for pair in idle if pair[0] is not child]
    child.leave()


async def _answer(ask: Message, services: Services) -> Message:
    answer = {"kind": "answer", "id": ask.get("id")}
    name, arguments = ask.get("name"), ask.get("arguments")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ProtocolError("a question that means nothing")
    try:
        return answer | {"value": await services(name, arguments)}
    except Exception as error:  # noqa: BLE001 -- the handler that asked gets to see it, and ends as it likes
        return answer | {"error": f"{type(error).__name__}: {error}"}


async def _no_services(name: str, _arguments: dict[str, Any]) -> Any:
    raise LookupError(f"the service has no answer for {name!r}")
