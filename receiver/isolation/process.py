"""One child process from the service's side: started, spoken to, killed with everything it has started.

The rule easiest to break: a child has ended when its process has, not when its pipe closes. Something it
started may keep the pipe open, and a handler may close the pipe and run on.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from receiver.isolation.messages import CHILD_LIMIT, Decoder, ProtocolError, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from receiver.isolation.messages import Message

LAST_WORDS_SECONDS: Final = 0.5
"""What is left to the pipe after the process has ended, and to the process after its pipe has closed."""
LEAVING_SECONDS: Final = 5.0
"""What a child that is told to leave gets for its exit functions and for writing out its buffers."""

NICE: Final = 10
"""How far behind the service children stand in line for the processor. They get all of it that is free, and a
tenth of one that others want too, so that they do not starve either."""

# With `-P` and the service's own sys.path, a folder named receiver in the working directory stays unseen.
_BOOT: Final = (
    f"import os, sys; os.nice({NICE}); sys.path[:] = sys.argv[1:]; del sys.argv[1:]; "
    "from receiver.isolation.child import main; sys.exit(main())"
)
_KEPT: Final = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "VIRTUAL_ENV"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    )
)
_KEPT_PREFIXES: Final = ("LC_", "PYTHON")


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """What a child sees of the service's environment, which may hold secrets.

    That is where programs, texts and certificates are, and the way out of the network. Whatever else a
    handler needs comes by its `Settings`.
    """
    kept = {
        name: value for name, value in own.items() if name.upper() in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    # glibc reserves 64 MiB of addresses for each thread that allocates, which the memory limit would count.
    return kept | {"MALLOC_ARENA_MAX": "1"}


class Child(asyncio.SubprocessProtocol):
    """A child process. `await Child.spawn()` starts one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(CHILD_LIMIT)
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._transport: asyncio.SubprocessTransport
        self._pipe_closed = False
        self._exited = False
        self._verdict: str | None = None
        self.ended: asyncio.Future[str] = self._loop.create_future()
        """How it ended, in words, once it has."""
        self.calls = 0

    @classmethod
    async def spawn(cls) -> Child:
        """A new child, in a process group of its own, with pipes to here and the service's standard error.

        Raises:
            OSError: the system has no process to give.
        """
        _, child = await asyncio.get_running_loop().subprocess_exec(
            cls,
            sys.executable,
            "-P",
            "-u",  # what a handler printed before it was killed is not lost
            "-c",
            _BOOT,
            *sys.path,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=None,
            env=environment(os.environ),
            process_group=0,  # in a session of its own, Linux would weigh it without regard to `NICE`
        )
        return child

    @property
    def pid(self) -> int:
        """Of the process, and of its group."""
        return self._transport.get_pid()

    @property
    def alive(self) -> bool:
        """As far as is known."""
        return not (self._exited or self._pipe_closed or self._verdict)

    def send(self, message: Message) -> None:
        """Say something; to a child that is gone, in vain.

        Raises:
            TypeError, ValueError: it has no JSON, or is too long.
        """
        data = encode(message)
        pipe: Any = self._transport.get_pipe_transport(0)
        if self.alive and not pipe.is_closing():
            pipe.write(data)

    async def receive(self) -> Message | None:
        """The next message; None when the child has ended."""
        message = await self._inbox.get()
        if message is None:
            self._inbox.put_nowait(None)
        return message

    def kill(self, verdict: str = "killed") -> None:
        """End it at once, with the processes it has started. `verdict`: what to call its end."""
        if not self._exited:
            self._verdict = self._verdict or verdict
            self._kill_group()

    def leave(self) -> None:
        """Let an idle child end by itself: its exit functions run, its buffers are written out."""
        self._verdict = self._verdict or "left"
        pipe: Any = self._transport.get_pipe_transport(0)
        pipe.close()
        self._loop.call_later(LEAVING_SECONDS, self.kill)

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):  # it is gone; macOS says so with EPERM
            os.killpg(self.pid, signal.SIGKILL)

    # What follows is called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is started."""
        assert isinstance(transport, asyncio.SubprocessTransport)  # noqa: S101 -- what subprocess_exec makes
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 -- asyncio's signature
        """It says something."""
        try:
            messages = self._decoder.feed(data)
        except ProtocolError as error:
            self.kill(f"killed: it sent {error}")
        else:
            for message in messages:
                self._inbox.put_nowait(message)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 -- as above
        """It cannot say anything more."""
        if fd == 1:
            self._pipe_closed = True
            self._end()

    def process_exited(self) -> None:
        """It has ended. What it started ends now."""
        self._exited = True
        self._kill_group()
        self._end()

    def _end(self) -> None:
        if self._exited and self._pipe_closed:
            self._finish()
        else:
            self._loop.call_later(LAST_WORDS_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self._exited:
            self._finish()
        else:
            self.kill("killed: it closed its connection to the service")

    def _finish(self) -> None:
        if not self.ended.done():
            self.ended.set_result(self._verdict or ending_in_words(self._transport.get_returncode()))
            self._inbox.put_nowait(None)
            self._transport.close()


def ending_in_words(status: int | None) -> str:
    """How a process ended, as `exit status 3` or `killed by SIGSEGV`."""
    if status is None or status >= 0:
        return f"exit status {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"killed by signal {-status}"
