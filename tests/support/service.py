"""The real service for tests: in this process, or as a process of its own that can be killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import psutil  # type: ignore[import-untyped]  # its stubs are not installed

from receiver.config import load_config
from receiver.service import Service
from tests.support.klen import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from receiver.clock import Clock

MODULE = (sys.executable, "-m", "receiver")


def write_config(folder: Path, extra: str = "", *, port: int = 0) -> Path:
    """A configuration with one source; `extra` is more TOML."""
    path = folder / "config.toml"
    path.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\n{"" if extra.startswith("[") else extra}\n'
        f'[sources.klen]\nsecrets = ["{SECRET}"]\n{extra if extra.startswith("[") else ""}\n'
    )
    return path


def write_plugin(folder: Path, source: str, name: str = "plugin") -> None:
    """A file in the plugins folder."""
    (folder / "plugins").mkdir(exist_ok=True)
    (folder / "plugins" / f"{name}.py").write_text(source)


@asynccontextmanager
async def running(folder: Path, extra: str = "", *, clock: Clock | None = None) -> AsyncIterator[Service]:
    """The service in this process, on a free port."""
    config = load_config(write_config(folder, extra))
    async with Service(config, clock=clock) as service:
        yield service


class Process:
    """`klenhook serve` as a process."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int,
        env: dict[str, str] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        """`command` runs something else than the module `receiver`, with the same arguments."""
        self.folder = folder
        self.port = port
        self.output = folder / "serve.log"
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [*(command or MODULE), "serve", "--config", str(folder / "config.toml")],
                cwd=folder,
                stdout=output,
                stderr=output,
                env=os.environ | {"PYTHONFAULTHANDLER": "1"} | (env or {}),
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def writer_pid(self) -> int:
        """The process that writes its log."""
        children = psutil.Process(self.pid).children()
        [writer] = [child.pid for child in children if "storage.sqlite.writing" in child.cmdline()]
        return int(writer)

    def resident_bytes(self) -> int:
        """The memory of both, with what they share counted once."""
        pids = (self.pid, self.writer_pid)
        return sum(int(psutil.Process(pid).memory_full_info().pss) for pid in pids)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1):
                return True
        except OSError:
            return False

    def wait_ready(self, seconds: float = 60) -> None:
        """Until `/readyz` answers 200; a service that hangs is asked where."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.alive, self.output.read_text()
            if self.is_ready():
                return
            time.sleep(0.02)
        self._process.send_signal(signal.SIGABRT)
        self._process.wait()
        raise AssertionError(self.output.read_text())

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def send_signal(self, name: signal.Signals) -> None:
        self._process.send_signal(name)

    def terminate(self, seconds: float = 15) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def wait(self, seconds: float = 15) -> int:
        return self._process.wait(seconds)


def klenhook(
    folder: Path, *arguments: str, status: int = 0, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, and check its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "receiver", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        input=stdin,
    )
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def records(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What `klenhook log list --json` says."""
    output = klenhook(folder, "log", "list", "--json", "--limit", "0", *arguments).stdout
    return [json.loads(line) for line in output.splitlines()]
