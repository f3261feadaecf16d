"""The process that writes a log for the service that started it; see `beside.py` for the other end.

    python -m storage.sqlite.writing DESCRIPTOR [MODULE ...]

The modules are those of functions that it will be given to call.

The rule easiest to break: it ends with the service. When the socket ends, it leaves everything as a killed
service would, and the next start recovers; it never tidies up on its own.
"""

from __future__ import annotations

import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from storage.errors import StorageError
from storage.sqlite.commit import MOST_ROWS, PROBE_SECONDS, Committer
from storage.sqlite.frames import Frames, frame
from storage.sqlite.opening import open_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from storage.sqlite.opening import Opened

RECEIVE_BYTES: Final = 1024 * 1024
YOUNG_OBJECTS: Final = 10_000
"""New objects after which the collector looks through them: those of many rows, not of a few."""
LOCK_SECONDS: Final = 10.0
"""How long a lock of somebody else is waited for; no sender waits longer."""


def main(descriptor: str, *modules: str) -> None:
    """Open the log that is named first, say so, and write until told to close it."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)  # systemd sends them to all; the service decides
    end = socket.socket(fileno=int(descriptor))
    frames = Frames()
    while not (named := list(frames.read(data := end.recv(RECEIVE_BYTES)))):
        if not data:
            return
    [(path, service)] = named
    try:
        opened = open_file(path, service)
    except StorageError as error:
        end.sendall(frame(error))
        return
    end.sendall(frame((opened.migrated, opened.recovered)))
    for module in modules:
        importlib.import_module(module)
    # What is there now stays; the collector need not look at it again, nor after every few rows.
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    Writing(end, frames, opened, service).run()


class Sent(NamedTuple):
    """A task as it was sent."""

    operation: Callable[[Any, list[Any]], list[Any]] | None
    item: Any


class Writing:
    """The work of the process."""

    def __init__(self, end: socket.socket, frames: Frames, opened: Opened, service: int) -> None:
        self._socket = end
        self._service = service
        self._opened = opened
        self._committer = Committer(opened.connection, opened.path)
        self._frames = frames
        self._batches: deque[list[Sent]] = deque()
        """As they were sent: each within the bounds of a batch, an action alone."""
        self._closing = False
        self._began = 0.0
        """When the batch under way began."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(end, selectors.EVENT_READ)

    def run(self) -> None:
        """Write until told to close the log."""
        state = self._committer.state
        while not self._closing:
            self._receive(PROBE_SECONDS)
            while self._batches:
                self._work_off()
                self._receive(0)  # what has come meanwhile goes into the next batch
            if not state.healthy and state.broken is None:
                self._committer.probe()
                self._tell([])
        self._opened.close()

    def _receive(self, seconds: float) -> None:
        """Take in what has come; wait for something, at most so long."""
        if not self._selector.select(seconds):
            # A process that a handler forked may hold the other end beyond the service's own end.
            if os.getppid() != self._service:
                _end()
            return
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except ConnectionError:  # it died before it had read all that it was told
            _end()
        if not data:
            _end()
        for content in self._frames.read(data):
            if content is None:
                self._closing = True
            else:
                self._batches.append([Sent(*task) for task in content])

    def _work_off(self) -> None:
        """Run what has come, several batches as one while they are small."""
        batch = self._batches.popleft()
        while self._batches and not _is_action(batch) and not _is_action(self._batches[0]):
            if len(batch) + len(self._batches[0]) > MOST_ROWS:
                break
            batch += self._batches.popleft()
        self._began = time.monotonic()
        self._tell(self._committer.work_off(batch, self._is_wanted))

    def _is_wanted(self) -> bool:
        self._tell([])
        return time.monotonic() - self._began < LOCK_SECONDS

    def _tell(self, results: list[Any]) -> None:
        try:
            content = frame((results, self._committer.state))
        except Exception:  # noqa: BLE001 -- an exception of a foreign kind need not be picklable
            content = frame(([_plain(result) for result in results], self._committer.state))
        try:
            self._socket.sendall(content)
        except OSError:
            _end()


def _end() -> NoReturn:
    """The service has died. To close the connection would be to tidy up after it."""
    os._exit(1)


def _is_action(batch: list[Sent]) -> bool:
    return batch[0].operation is None


def _plain(result: Any) -> Any:
    return RuntimeError(f"{type(result).__name__}: {result}") if isinstance(result, Exception) else result


if __name__ == "__main__":
    main(*sys.argv[1:])
