"""The child's end of the pipes, and `remote`, by which code in the child asks the service for something.

A thread reads, so that the service's death is noticed while a handler blocks the loop: then the child ends
with everything it has started. The rule easiest to break: the handler shares the process, so the pipes lie
where no `print`, no close of low descriptors and no forked copy meets them.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import signal
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from receiver.isolation.messages import CHILD_LIMIT, Decoder, encode

if TYPE_CHECKING:
    from receiver.isolation.messages import Message

OUT_OF_REACH: Final = 100
"""The lowest descriptor for the pipes. What a handler opens gets lower ones."""
_CHUNK: Final = 65_536

_CURRENT: ContextVar[tuple[Channel, int]] = ContextVar("klenhook_isolated_call")
"""Where the call that is being made asks, and its number."""


class RemoteError(Exception):
    """The service could not do what it was asked. The text is that of its exception, type first."""


async def remote(name: str, arguments: dict[str, Any]) -> Any:
    """Ask the service for one of the `services` that it offers to this call. JSON both ways.

    Raises:
        RemoteError: its answer is an error, or the call is over.
        TypeError, ValueError: the arguments have no JSON, or are too long.
    """
    try:
        channel, call = _CURRENT.get()
    except LookupError:
        raise RemoteError("there is no call of an isolated handler here to ask for") from None
    return await asyncio.wrap_future(channel.ask(call, name, arguments))


class Channel:
    """The pipes that the process was started with as standard input and output. Made inside the loop."""

    def __init__(self) -> None:
        """Take them away from there; what is printed goes to standard error from now on."""
        self._in = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, OUT_OF_REACH)
        self._out = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, OUT_OF_REACH)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        try:
            os.dup2(2, 1)
        except OSError:  # the service itself runs without standard error
            os.dup2(nowhere, 1)
        os.close(nowhere)
        self._loop = asyncio.get_running_loop()
        self._requests: asyncio.Queue[Message | None] = asyncio.Queue()
        self._lock = threading.Lock()
        self._call = 0
        self._busy = True
        self._ids = itertools.count(1)
        self._answers: dict[int, Future[Any]] = {}
        os.register_at_fork(after_in_child=self._in_a_copy)
        threading.Thread(target=self._read, name="klenhook-channel", daemon=True).start()

    async def request(self) -> Message | None:
        """What the service wants next; None when it wants no more."""
        return await self._requests.get()

    def enter_call(self) -> None:
        """From now on, in this task, `remote` asks in the name of this call."""
        _CURRENT.set((self, self._call))

    def reply(self, message: Message) -> None:
        """Answer the request. What its handler left running can ask nothing more.

        Raises:
            ValueError: it is too long; nothing was sent.
        """
        data = encode(message, CHILD_LIMIT)
        with self._lock:
            self._call += 1
            self._busy = False
            self._write(data)

    def ask(self, call: int, name: str, arguments: dict[str, Any]) -> Future[Any]:
        """Ask for something during this call; see `remote`."""
        number, future = next(self._ids), Future[Any]()
        data = encode({"kind": "ask", "id": number, "name": name, "arguments": arguments}, CHILD_LIMIT)
        with self._lock:
            if call != self._call:
                raise RemoteError("the handler has returned, so nothing more is done in its name")
            self._answers[number] = future
            self._write(data)
        return future

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._out, view) :]

    def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := os.read(self._in, _CHUNK):
                for message in decoder.feed(data):
                    self._take(message)
        finally:
            if self._busy:  # the service has died, or a message does not fit into the memory
                end_group()
            self._loop.call_soon_threadsafe(self._requests.put_nowait, None)

    def _take(self, message: Message) -> None:
        if message["kind"] != "answer":
            self._busy = True
            self._loop.call_soon_threadsafe(self._requests.put_nowait, message)
            return
        future = self._answers.pop(message["id"])
        with suppress(InvalidStateError):  # who asked has been cancelled
            if "error" in message:
                future.set_exception(RemoteError(message["error"]))
            else:
                future.set_result(message["value"])

    def _in_a_copy(self) -> None:
        """A copy of the process ends by the usual signal, and keeps nobody waiting on the pipes."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for descriptor in (self._in, self._out):
            with suppress(OSError):
                os.close(descriptor)


def end_group() -> None:
    """End this process and what it has started, at once."""
    os.killpg(0, signal.SIGKILL)
