"""One folder with a service, its senders and their book: what every test of a fault begins and ends with.

The service is the real `klenhook serve`, started and stopped as often as a test likes; senders are processes
of their own and outlive it. At the end of a trial the ledger rule decides.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp.test_utils import unused_port

from tests.faults import ledger
from tests.faults.book import Book, read_book
from tests.support.service import Process, write_config, write_plugin

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.ledger import Findings

ROOT: Final = Path(__file__).resolve().parents[2]
QUIET: Final = "[ops]\nlisten = '127.0.0.1:0'\n[logging]\nlevel = 'warning'\n"
SETTLE_SECONDS: Final = 60.0


class Trial:
    """Everything in one folder."""

    def __init__(self, folder: Path, extra: str = "", *, plugin: str = ledger.PLUGIN) -> None:
        """`extra` is more configuration; `plugin` is the source of the handlers, `PLUGIN` and perhaps others."""
        self.folder = folder
        self.port = unused_port()
        self.log = folder / "klenhook.db"
        self.effects = folder / "plugins" / "effects"
        write_config(folder, QUIET + extra, port=self.port)
        write_plugin(folder, plugin, "ledger")

    def service(self, *, env: dict[str, str] | None = None, command: Sequence[str] | None = None) -> Process:
        """`klenhook serve`, perhaps under a fault; see `Process`."""
        return Process(self.folder, port=self.port, env=env, command=command)

    @contextmanager
    def sending(self, name: str = "book", *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """A sender at work; its requests under way are finished before this returns."""
        command = [
            sys.executable,
            "-m",
            "tests.faults.sender",
            str(self.port),
            str(self.folder / name),
            *options,
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"sending\n", "the sender does not start"
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0, "the sender failed"

    def book(self, name: str = "book") -> Book:
        """What the sender has written down so far."""
        return read_book(self.folder / name)

    def check(self, *, ended: bool = False) -> None:
        """Apply the ledger rule; nobody may be writing the log."""
        findings = self.findings(ended=ended)
        assert not findings, f"{findings}\n{(self.folder / 'serve.log').read_text()[-2000:]}"

    def findings(self, *, ended: bool = False) -> Findings:
        """What breaks the ledger rule."""
        return ledger.check(self.book(), self.log, self.effects, ended=ended)

    def settle(self, seconds: float = SETTLE_SECONDS) -> None:
        """Start the service without any fault, let it end its work, stop it, and apply the rule to all."""
        self.work_off(seconds)
        self.check(ended=True)

    def work_off(self, seconds: float = SETTLE_SECONDS) -> None:
        """Start the service without any fault, let it end its work, and stop it."""
        with self.service() as process:
            process.wait_ready()
            deadline = time.monotonic() + seconds
            while ledger.left(self.log):
                assert process.alive, "the service ended by itself"
                assert time.monotonic() < deadline, "work is left"
                time.sleep(0.1)
            assert process.terminate() == 0
