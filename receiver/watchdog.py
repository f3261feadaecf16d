"""Notices a handler that blocks the event loop, and names it: nothing else runs while it does.

A timer turns with the loop, and a thread looks whether it still turns. The rule easiest to break: what is
logged of the stack is files, lines and names of functions, never source or values.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence
    from types import FrameType

    from structlog.typing import FilteringBoundLogger

BLOCKED_SECONDS: Final = 1.0
"""The vendor gives a request 10 s; one that waits a second is noticed."""
BEAT_SECONDS: Final = 0.25
DEEPEST: Final = 30
"""Lines of a stack that are logged, the innermost ones."""


class Watchdog:
    """Watches one event loop: logs the stack once per blockage, and how long it was when it is over."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        names: Mapping[str, Sequence[str]],
        logger: FilteringBoundLogger,
    ) -> None:
        """`names`: for the file of a plugin, as in its code, its handlers. It may change at any time."""
        self._loop = loop
        self._names = names
        self._logger = logger
        self._lock = threading.Lock()
        self._beat = 0.0
        self._noticed = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin. To be called in the loop."""
        self._beat = time.monotonic()
        self._timer = self._loop.call_later(BEAT_SECONDS, self._turn)
        self._thread = threading.Thread(
            target=self._watch, args=(threading.get_ident(),), name="klenhook-watchdog", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End. To be called in the loop."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join()

    def _turn(self) -> None:
        now = time.monotonic()
        with self._lock:
            seconds, noticed = now - self._beat, self._noticed
            self._beat, self._noticed = now, False
        if noticed:
            self._logger.warning("event loop turns again", blocked_s=round(seconds, 1))
        elif seconds > BLOCKED_SECONDS + BEAT_SECONDS:
            # The watching thread could not run either, so nobody has seen where it was.
            self._logger.warning(
                "event loop stood still",
                blocked_s=round(seconds, 1),
                perhaps="the process was stopped, or code in C held the interpreter",
            )
        self._timer = self._loop.call_later(BEAT_SECONDS, self._turn)

    def _watch(self, loop_thread: int) -> None:
        looked = time.monotonic()
        while not self._stopped.wait(BEAT_SECONDS):
            now = time.monotonic()
            late, looked = now - looked > BLOCKED_SECONDS, now
            if not late and now - self._beat > BLOCKED_SECONDS and not self._noticed:
                self._notice(loop_thread, self._beat)

    def _notice(self, loop_thread: int, beat: float) -> None:
        stack = _stack(sys._current_frames().get(loop_thread))  # noqa: SLF001 -- the documented way to see it
        with self._lock:
            if self._beat != beat:  # it has just turned; the stack is of something else
                return
            self._noticed = True
        self._logger.error(
            "event loop is blocked",
            handlers=self._handlers(stack),
            stack=[f"{file}:{line} {function}" for file, line, function in stack],
        )

    def _handlers(self, stack: list[tuple[str, int, str]]) -> list[str]:
        """Of the innermost plugin on the stack."""
        return next((list(self._names[file]) for file, _, _ in stack if file in self._names), [])


def _stack(frame: FrameType | None) -> list[tuple[str, int, str]]:
    """File, line and function of each frame, the innermost first."""
    stack: list[tuple[str, int, str]] = []
    while frame is not None and len(stack) < DEEPEST:
        code = frame.f_code
        stack.append((code.co_filename, frame.f_lineno, code.co_qualname))
        frame = frame.f_back
    return stack
