"""A temporary folder with a configuration, a secret and a plugin, and the real service running in it.

The rule easiest to break: whatever ends the demo, an error or a signal, the process is stopped and the folder
removed; only a demo that ran through may leave them to its user.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import ReceiverError
from receiver.sender import NoAnswerError, exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS: Final = 8.0
STOP_SECONDS: Final = 5.0
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
[dispatch]
shutdown_grace_seconds = 2
"""

PLUGIN: Final = '''\
"""The handlers of the demo: one plain function, which runs in a thread, and one that is async."""

from pathlib import Path

from receiver import (
    CalendarCancelled,
    CalendarCompleted,
    CalendarCreated,
    CalendarReminder,
    CalendarUpdated,
    Context,
    on,
)

DIARY = Path(__file__).parent.parent / "diary.txt"


@on(CalendarCreated, CalendarUpdated, CalendarCancelled)
def diary(event: CalendarCreated | CalendarUpdated | CalendarCancelled) -> None:
    meeting = event.calendar_event
    with DIARY.open("a") as file:
        print(meeting.start_time, meeting.title, meeting.status, sep="  ", file=file)


@on(CalendarReminder, CalendarCompleted)
async def follow_up(event: CalendarReminder | CalendarCompleted, ctx: Context) -> None:
    ctx.log.info("following up", about=event.event_type)
'''


class DemoError(ReceiverError):
    """The demo cannot be shown here."""


class Stage:
    """The folder and the service in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = secrets.token_hex(32)
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
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
    def pid(self) -> int:
        """The service's process."""
        return self._process.pid if self._process else 0

    def furnish(self) -> None:
        """Write everything but the configuration."""
        (self.folder / "secret").write_text(self.secret, encoding="ascii")
        (self.folder / "plugins").mkdir()
        (self.folder / "plugins" / "diary.py").write_text(PLUGIN, encoding="utf-8")

    def start(self) -> None:
        """Start the service on a free port; returns when it is ready.

        Raises:
            DemoError: it does not start; with its own words.
        """
        for _ in range(PORTS_TRIED):
            self._port = _free_port()
            self.config.write_text(CONFIG.format(port=self._port, path=SOURCE_PATH), encoding="utf-8")
            with (self.folder / "service.log").open("wb") as output:
                self._process = subprocess.Popen(  # noqa: S603 -- this very program
                    self._command("serve"),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment,
                    start_new_session=True,  # Ctrl-C is for the demo, which then stops the service
                )
            if self._is_ready():
                return
            self.stop()
        raise DemoError("The service did not start. It said:\n" + self._last_words())

    def stop(self) -> int:
        """Stop the service, gracefully if it can. Its exit status."""
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

    def ask(self, *arguments: str) -> str:
        """What a command of this program prints about the service here.

        Raises:
            DemoError: the command fails; with its own words.
        """
        done = subprocess.run(  # noqa: S603 -- this very program
            self._command(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            env=self._environment | {"PYTHONIOENCODING": "utf-8"},
            check=False,
        )
        if done.returncode:
            raise DemoError(f"`klenhook {' '.join(arguments)}` failed. It said:\n{done.stderr.strip()}")
        return done.stdout

    def show(self, *arguments: str) -> None:
        """Let a command write to our own standard output, fitted to the terminal if it is one.

        Raises:
            DemoError: the command fails; it has said why.
        """
        sys.stdout.flush()
        done = subprocess.run(  # noqa: S603 -- this very program
            self._command(*arguments), stdin=subprocess.DEVNULL, env=self._environment, check=False
        )
        if done.returncode:
            raise DemoError(f"`klenhook {' '.join(arguments)}` failed.")

    def records(self) -> list[dict[str, Any]]:
        """The events in the log, oldest first."""
        lines = self.ask("log", "list", "--json", "--after", "0", "--limit", "0").splitlines()
        return [json.loads(line) for line in lines]

    def diary(self) -> str:
        """What the handler `diary` has written."""
        file = self.folder / "diary.txt"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def _command(self, *arguments: str) -> list[str]:
        # -P: nothing in the working directory may take the place of our modules.
        return [sys.executable, "-P", "-m", "receiver", *arguments, "--config", str(self.config)]

    def _is_ready(self) -> bool:
        address = f"http://127.0.0.1:{self._port}/readyz"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            try:
                if exchange("GET", address, seconds=1).is_success:
                    return True
            except NoAnswerError:
                pass
            time.sleep(0.05)
        return False

    def _last_words(self) -> str:
        lines = (self.folder / "service.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-10:])


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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
