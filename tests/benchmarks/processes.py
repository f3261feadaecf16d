"""Servers as real processes: the service as people run it, and the yardsticks.

Each lives in a folder of its own and is stopped by its own process id.
"""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil  # type: ignore[import-untyped]  # its stubs are not installed

from tests.benchmarks.requests import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

KLENHOOK: Final = Path(sys.executable).with_name("klenhook")
START_SECONDS: Final = 20.0
DONE_SECONDS: Final = 120.0

CONFIG: Final = """\
[server]
listen = "127.0.0.1:{port}"
[ops]
listen = "127.0.0.1:{ops_port}"
[sources.klen]
secrets = ["{secret}"]
"""
NO_OP: Final = """\
from receiver import AnyEvent, on


@on(AnyEvent)
async def nothing(event: AnyEvent) -> None:
    pass
"""
_UNFINISHED: Final = """
    SELECT (SELECT max(seq) FROM event) - (SELECT coalesce(max(seq), 0) FROM routing),
        (SELECT count(*) FROM run
            WHERE subject_id IS NOT NULL AND state IN ('pending', 'running', 'retrying'))
"""


@dataclass(slots=True)
class Server:
    """A running server."""

    port: int
    process: subprocess.Popen[str]
    folder: Path
    sent: int = 0
    """How many requests it has had."""

    def load(self, count: int) -> dict[str, float]:
        """Send it `count` new requests; what `load` measured."""
        report = run_module("tests.benchmarks.load", str(self.port), str(self.sent), str(count))
        self.sent += count
        return report

    def resident_mb(self) -> float:
        """Memory of the process and its children now, with what they share counted once."""
        process = psutil.Process(self.process.pid)
        return float(sum(one.memory_full_info().pss for one in [process, *process.children()])) / 2**20

    def last_done(self, *, runs_per_event: int = 1) -> float:
        """Wait until every run is done; when the last one was, in seconds since 1970."""
        self.settle()
        with closing(self._log()) as connection:
            done, last = connection.execute(
                "SELECT count(*), max(finished_at) FROM attempt WHERE outcome = 'done'"
            ).fetchone()
        if done != self.sent * runs_per_event:
            sys.exit(f"Expected {self.sent * runs_per_event} runs that are done, found {done}.")
        return float(last) / 1000

    def settle(self) -> None:
        """Wait until every event is routed and every run is done.

        The question is asked of tables, not of views, and seldom: the service needs the processor.
        """
        deadline = time.monotonic() + DONE_SECONDS
        with closing(self._log()) as connection:
            while any(connection.execute(_UNFINISHED).fetchone()):
                if time.monotonic() > deadline:
                    sys.exit(f"Not every run was done within {DONE_SECONDS:g} s.")
                time.sleep(0.2)

    def _log(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.folder / 'klenhook.db'}?mode=ro", uri=True)


def run_module(module: str, *arguments: str) -> dict[str, Any]:
    """Run one of our modules to its end and read the JSON object that it prints."""
    command = [sys.executable, "-m", module, *arguments]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if finished.returncode:
        sys.exit(f"{module} failed.")
    report: dict[str, Any] = json.loads(finished.stdout)
    return report


@contextmanager
def yardstick(folder: Path, kind: str, *arguments: str) -> Iterator[Server]:
    """One of the servers of `yardsticks`."""
    command = [sys.executable, "-m", "tests.benchmarks.yardsticks", kind, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(int(process.stdout.readline()), process, folder)
        finally:
            process.terminate()


@contextmanager
def service(folder: Path, *, plugin: str = "") -> Iterator[Server]:
    """`klenhook serve` on a log of its own, with this plugin; ready when it is given out."""
    folder.mkdir()
    port = free_port()
    (folder / "config.toml").write_text(CONFIG.format(port=port, ops_port=free_port(), secret=SECRET))
    (folder / "plugins").mkdir()
    (folder / "plugins" / "plugin.py").write_text(plugin)
    with serving(folder, port) as server:
        yield server


@contextmanager
def serving(folder: Path, port: int) -> Iterator[Server]:
    """`klenhook serve` in a folder that is set up, with its default logging into a file."""
    command = [str(KLENHOOK), "serve", "--config", str(folder / "config.toml")]
    with (
        (folder / "service.log").open("w") as log,
        subprocess.Popen(command, stderr=log, text=True) as process,
    ):
        try:
            _wait_until_ready(port, process)
            yield Server(port, process, folder)
        finally:
            process.terminate()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_ready(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=1)) as connection:
            try:
                connection.request("GET", "/readyz")
                if connection.getresponse().status == http.client.OK:
                    return
            except OSError:
                time.sleep(0.005)
    sys.exit("The service did not get ready; run `klenhook serve` to see why.")
