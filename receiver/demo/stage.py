"""A temporary folder with a configuration, a secret and a plugin, the real service in it, and a local Klen.

The rule easiest to break: whatever ends the demo, an error or a signal, the processes are stopped and the
folder removed; only a demo that ran through may leave them to its user.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from receiver.cli import cli
from receiver.errors import ReceiverError
from receiver.sender import NoAnswerError, exchange
from storage import open_reader
from storage.errors import StorageError
from storage.records import Selection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from storage.reader import EventReader

T = TypeVar("T")

START_SECONDS: Final = 8.0
STOP_SECONDS: Final = 5.0
STARTS_AGO: Final = "2h"
"""The clock of the local Klen lags behind, so that what happens there was found late."""
PORTS_TRIED: Final = 3
"""Another program may take the free port before the service does."""

SOURCE_PATH: Final = "/webhooks/klen"

CONFIG: Final = """\
[server]
listen = "127.0.0.1:{port}"
[ops]
listen = "127.0.0.1:0"
[sources.klen]
path = "{path}"
secrets = ["file:secret"]
api_url = "{vendor}/api/v1"
api_key = "klen_sandbox_full"
[dispatch]
shutdown_grace_seconds = 2
"""

PLUGIN: Final = '''\
"""The handler of the demo: a plain function, which runs in a thread."""

from pathlib import Path

from receiver import CalendarCancelled, CalendarCreated, CalendarUpdated, on

DIARY = Path(__file__).parent.parent / "diary.txt"


@on(CalendarCreated, CalendarUpdated, CalendarCancelled)
def diary(event: CalendarCreated | CalendarUpdated | CalendarCancelled) -> None:
    meeting = event.calendar_event
    with DIARY.open("a") as file:
        print(event.event_type, meeting.title, meeting.status, event.origin, sep="  ", file=file)
'''


class DemoError(ReceiverError):
    """The demo cannot be shown here."""


class Stage:
    """The folder and the service in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = secrets.token_hex(32)
        self._port = self._vendor_port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._vendor: subprocess.Popen[bytes] | None = None
        # The demo is the same everywhere, whatever the user's own service is told by the environment.
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("KLENHOOK_")}
        self._environment["PYTHONUNBUFFERED"] = "1"

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "config.toml"

    @property
    def url(self) -> str:
        """Where webhooks go."""
        return f"http://127.0.0.1:{self._port}{SOURCE_PATH}"

    @property
    def vendor_url(self) -> str:
        """Where the local Klen is."""
        return f"http://127.0.0.1:{self._vendor_port}"

    @property
    def pids(self) -> list[int]:
        """The processes of the service and of the local Klen."""
        return [process.pid for process in (self._process, self._vendor) if process]

    def furnish(self) -> None:
        """Write everything but the configuration."""
        (self.folder / "secret").write_text(self.secret, encoding="ascii")
        (self.folder / "plugins").mkdir()
        (self.folder / "plugins" / "diary.py").write_text(PLUGIN, encoding="utf-8")

    def start(self) -> None:
        """Start both on free ports; returns when they are ready.

        Raises:
            DemoError: one does not start; with its own words.
        """
        for _ in range(PORTS_TRIED):
            self._port, self._vendor_port = _free_ports()
            toml = CONFIG.format(port=self._port, path=SOURCE_PATH, vendor=self.vendor_url)
            self.config.write_text(toml, encoding="utf-8")
            self._process = self._started("serve")
            listen = f"127.0.0.1:{self._vendor_port}"
            self._vendor = self._started("sandbox", "--connect", "--listen", listen, "--start", STARTS_AGO)
            if self._is_ready(f"{self.vendor_url}/sandbox/status", self._vendor) and self._is_ready(
                f"http://127.0.0.1:{self._port}/readyz", self._process
            ):
                return
            self.stop()
        raise DemoError("The service or the local Klen did not start. They said:\n" + self._last_words())

    def _started(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{command}.log").open("wb") as output:
            return subprocess.Popen(  # noqa: S603 -- this very program
                self._command(command, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops them
            )

    def stop(self) -> int:
        """Stop both, gracefully if they can. The exit status of the service."""
        if self._vendor is not None:
            self._vendor.kill()
            self._vendor.wait()
        process = self._process
        if process is None:
            return 0
        process.terminate()
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return -1
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def show(self, *arguments: str) -> None:
        """Let a command write to our own standard output, in this process, which has loaded most of it.

        Raises:
            DemoError: the command fails; with its own words.
        """
        with _only(self._environment), redirect_stderr(sys.stdout):
            try:
                status = cli.main([*arguments, "--config", str(self.config)], standalone_mode=False)
            except (click.ClickException, ReceiverError, StorageError) as error:
                raise DemoError(f"`klenhook {' '.join(arguments)}` failed: {error}") from error
        if status:
            raise DemoError(f"`klenhook {' '.join(arguments)}` failed.")

    def records(self) -> list[dict[str, Any]]:
        """The events in the log, oldest first."""
        return asyncio.run(self._read(_all))

    def body(self, event_id: str) -> bytes:
        """The body of an event as it came."""
        found = asyncio.run(self._read(lambda log: log.get(event_id)))
        return found.body if found else b""

    async def _read(self, question: Callable[[EventReader], Awaitable[T]]) -> T:
        """Ask the log, beside the service."""
        log = await open_reader(f"sqlite:///{self.folder}/klenhook.db")
        try:
            return await question(log)
        finally:
            await log.aclose()

    def diary(self) -> str:
        """What the handler `diary` has written."""
        file = self.folder / "diary.txt"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def _command(self, *arguments: str) -> list[str]:
        # -P: nothing in the working directory may take the place of our modules.
        return [sys.executable, "-P", "-m", "receiver", *arguments, "--config", str(self.config)]

    @staticmethod
    def _is_ready(address: str, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            try:
                if exchange("GET", address, seconds=1).is_success:
                    return True
            except NoAnswerError:
                pass
            time.sleep(0.05)
        return False

    def _last_words(self) -> str:
        logs = [self.folder / f"{command}.log" for command in ("serve", "sandbox")]
        texts = [file.read_text(encoding="utf-8", errors="replace") for file in logs if file.exists()]
        return "\n".join(f"  {line}" for text in texts for line in text.splitlines()[-10:])


@contextmanager
def _only(environment: dict[str, str]) -> Iterator[None]:
    """Without what the user's own service is told."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def _all(log: EventReader) -> list[dict[str, Any]]:
    return [asdict(record) async for record in log.stream(Selection(after_seq=0, limit=0))]


@contextmanager
def on_stage(*, keep: bool = False) -> Iterator[Stage]:
    """A stage with the service running. Afterwards it is gone, unless `keep` and nothing was raised.

    Raises:
        DemoError: the folder cannot be made, or the service does not start.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="klenhook-demo-"))
    except OSError as error:
        raise DemoError(f"Cannot make a temporary folder: {error.strerror}. Set TMPDIR to one.") from None
    stage = Stage(folder)
    kept = False
    try:
        stage.furnish()
        stage.start()
        yield stage
        kept = keep
    finally:
        if not kept:
            try:
                stage.stop()
            finally:
                shutil.rmtree(folder, ignore_errors=True)


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
