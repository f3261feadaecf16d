"""The writer in a process of its own, so that writing takes no time from whoever answers requests.

Two Python threads take turns; two processes do not. The batches of each turn of the loop go over a pair of
sockets to `writing.py`, and what became of them comes back in their order. The rule easiest to break: that
process has no life of its own. It ends when this one does, however this one dies, and if it dies first,
nothing more is acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self

from storage.errors import LogUnavailable, LogUnusable
from storage.sqlite.apart import apart
from storage.sqlite.frames import Frames, frame
from storage.sqlite.writer import Waiting, Writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from storage.sqlite.commit import State

PROGRAM: Final = [sys.executable, "-P", "-m", "storage.sqlite.writing"]
"""-P: a folder `storage` where the service is started must not get in the way."""
CLOSE: Final = None
"""What it is sent to close the log and end."""
TOGETHER: Final = 32
"""Tasks that are sent on before the turn of the loop ends, so that writing begins meanwhile."""


class WriterProcess:
    """The process, before it knows what to write."""

    def __init__(self, modules: Sequence[str] = ()) -> None:
        """Start it. It gets ready by itself, and ends when this object's socket is closed.

        It imports the modules when the log is open: what it is given to call is in there.
        """
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 -- our own module
                [*PROGRAM, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C in a terminal is for the service
            )


class ProcessWriter(Writer):
    """Writes in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """`open` is the way to make one."""
        super().__init__()
        self._process = process
        self._sent: deque[Waiting] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._opened: asyncio.Future[tuple[list[str], bool]] = self._loop.create_future()
        self.migrated: list[str] = []
        self.recovered = False

    @classmethod
    async def open(cls, path: Path, started: WriterProcess) -> Self:
        """Let the process open the log.

        Raises:
            LogLocked, LogUnusable, LogDamaged: as `opening.open_file` does.
        """
        writer = cls(started.process)
        transport, _ = await writer._loop.create_connection(lambda: _Pipe(writer), sock=started.socket)
        writer._transport = transport
        transport.write(frame((path, os.getpid())))
        try:
            writer.migrated, writer.recovered = await writer._opened
        except BaseException:
            transport.abort()
            await apart(writer._process.wait)
            raise
        return writer

    def _queued(self, operation: Any, item: Any, size: int) -> asyncio.Future[Any]:
        future = super()._queued(operation, item, size)
        if len(self._queue) >= TOGETHER:
            self.hand_on()
        return future

    def hand_on(self) -> None:
        """See `Writer.hand_on`."""
        assert self._transport is not None  # noqa: S101 -- `open` has set it
        while self._queue:
            batch = self._take()
            try:
                content = frame([waiting[:2] for waiting in batch])
            except Exception as error:  # noqa: BLE001 -- what cannot be sent is its caller's mistake
                self._answer(batch, [error] * len(batch))
                continue
            self._sent += batch
            self._transport.write(content)

    def received(self, content: Any) -> None:
        """Take what the process has sent: first whether the log is open, then results with its state."""
        if self._opened.done():
            results, state = content
            self._told(results, state)
        elif isinstance(content, Exception):
            self._opened.set_exception(content)
        else:
            self._opened.set_result(content)

    def _told(self, results: list[Any], state: State) -> None:
        self.state = state
        self._answer([self._sent.popleft() for _ in results], results)

    def lost(self) -> None:
        """The process is gone. Without being asked to, it must not."""
        if not self._opened.done():
            self._opened.set_exception(LogUnusable("The process that writes the log did not start."))
        if not self._closing and self.state.broken is None:
            self.state.healthy = False
            self.state.broken = (
                "The process that writes the log has died. Nothing was acknowledged since. "
                "Start the service again."
            )
        waiting = [*self._sent, *self._queue]
        self._sent.clear()
        self._queue.clear()
        self._answer(waiting, [self.broken or LogUnavailable("The log is closing.")] * len(waiting))
        self._announce()

    async def close(self) -> None:
        """See `Writer.close`."""
        assert self._transport is not None  # noqa: S101 -- `open` has set it
        self.hand_on()
        self._closing = True
        if self.state.broken is None:
            self._transport.write(frame(CLOSE))
            await self.stopped
        self._transport.abort()  # without `CLOSE` the process ends as it is, and nothing is folded
        await apart(self._process.wait)


class _Pipe(asyncio.Protocol):
    def __init__(self, writer: ProcessWriter) -> None:
        self._writer = writer
        self._frames = Frames()

    def data_received(self, data: bytes) -> None:
        for content in self._frames.read(data):
            self._writer.received(content)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- however it ended
        self._writer.lost()
