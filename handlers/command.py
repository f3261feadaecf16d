"""Runs a program for each event: the event as JSON on its standard input, the exit status as the answer.

No shell has a part in it, and nothing of the event becomes an argument. The rule easiest to break: whatever
ends the call, the time limit and the stop of the service included, ends the program and all it has started.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from receiver import AnyEvent, Context, Discard, Retry, Settings, on

TRY_AGAIN: Final = 75
"""EX_TEMPFAIL of sysexits.h."""
NOT_FOR_ME: Final = 100
LAST_WORDS: Final = 2_048
"""Bytes of standard error that are kept: its end."""
LAST_WORDS_SECONDS: Final = 0.5
"""What is left to standard error after the program has ended; something it started may hold it open."""
INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError("an argument cannot hold a NUL character")
    return text


def _has_program(argv: list[str]) -> list[str]:
    if not argv[0]:
        raise ValueError("expected the program first, then its arguments")
    return argv


class Command(Settings):
    """The table `[handlers.command]`."""

    argv: Annotated[
        list[Annotated[str, AfterValidator(_argument)]], Field(min_length=1), AfterValidator(_has_program)
    ]
    """The program and its arguments, as they are: nothing in them is expanded."""
    pass_env: tuple[str, ...] = ()
    """Names of further environment variables of the service that the program gets, such as `CRM_TOKEN`."""
    events: tuple[str, ...] = ("*",)
    """Only events whose type one of these matches: `calendar.*`."""


class CommandFailed(Exception):  # noqa: N818 -- what happened, in words that the log shows
    """The program ended with a status that is neither done, later nor never."""


@on(AnyEvent)
async def command(event: AnyEvent, ctx: Context[Command]) -> None:
    """Run the program: 0 is done, 75 later, 100 never, anything else a failure."""
    settings = ctx.settings
    if not any(fnmatchcase(event.event_type or "", glob) for glob in settings.events):
        return
    body = json.dumps(event.raw, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
    status, words = await _run(settings.argv, _environment(event, ctx), body)
    if status == TRY_AGAIN:
        raise Retry(reason=words)
    if status == NOT_FOR_ME:
        raise Discard(words)
    if status != 0:
        ended = f"was killed by signal {-status}" if status < 0 else f"exited with {status}"
        raise CommandFailed(f"{settings.argv[0]} {ended}: {words or 'it said nothing on standard error'}")


def _environment(event: AnyEvent, ctx: Context[Command]) -> dict[str, str]:
    names = {*INHERITED, *ctx.settings.pass_env}
    return {name: os.environ[name] for name in names if name in os.environ} | {
        "KLENHOOK_EVENT_ID": ctx.event_id,
        "KLENHOOK_EVENT_TYPE": _type_name(event.event_type),
        "KLENHOOK_ATTEMPT": str(ctx.attempt),
        "KLENHOOK_IDEMPOTENCY_KEY": ctx.idempotency_key,
    }


def _type_name(event_type: str | None) -> str:
    """The type if it is safe in any script, quoted or not; anything else is on standard input only."""
    return event_type if event_type and re.fullmatch(r"[A-Za-z0-9._-]{1,100}", event_type) else "unknown"


class _Program(asyncio.SubprocessProtocol):
    """A running program. `Process.wait` is not used: on some versions of Python it waits for open pipes."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.silent = asyncio.Event()
        self.words = b""

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It has written to standard error."""
        del fd
        self.words = (self.words + data)[-LAST_WORDS:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """It has closed a pipe; to do so before everything is read is its right."""
        del exc
        if fd == 2:  # noqa: PLR2004 -- the number of standard error
            self.silent.set()

    def process_exited(self) -> None:
        """It has ended."""
        self.ended.set()


async def _run(argv: list[str], environment: dict[str, str], body: bytes) -> tuple[int, str]:
    """The exit status, negative for a signal, and the end of standard error.

    Raises:
        OSError: there is no such program, or it cannot be run.
    """
    transport, program = await asyncio.get_running_loop().subprocess_exec(
        _Program, *argv, stdout=asyncio.subprocess.DEVNULL, env=environment, start_new_session=True
    )
    try:
        pipe: Any = transport.get_pipe_transport(0)
        pipe.write(body)
        pipe.write_eof()
        await program.ended.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await program.silent.wait()
        return transport.get_returncode() or 0, program.words.decode("utf-8", "replace").strip()
    finally:
        if not program.ended.is_set():
            with suppress(ProcessLookupError, PermissionError):  # it has just ended; macOS says so with EPERM
                os.killpg(transport.get_pid(), signal.SIGKILL)
            await program.ended.wait()
        transport.close()
