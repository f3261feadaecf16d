"""The watchdog: a real loop that is really blocked."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
from structlog.testing import capture_logs

from receiver.config import Dispatch
from receiver.plugins.search import Search
from receiver.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from pathlib import Path

PLUGIN = """
import time
from receiver import CalendarCreated, on
@on(CalendarCreated, name="blocker")
async def it(seconds):
    secret = "tell-nobody"
    deeper(seconds)
def deeper(seconds):
    time.sleep(seconds)
"""


@contextmanager
def watched(names: dict[str, list[str]]) -> Iterator[list[MutableMapping[str, Any]]]:
    """The lines that are logged while a watchdog watches."""
    with capture_logs() as lines:
        watchdog = Watchdog(asyncio.get_running_loop(), names, structlog.get_logger())
        watchdog.start()
        try:
            yield lines
        finally:
            watchdog.stop()


async def test_a_handler_that_blocks_the_loop_is_named(tmp_path: Path) -> None:
    """Once per blockage with the stack of the handler, and again with the seconds when it is over."""
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN)
    search = Search(Dispatch())
    search.add("plugins", tmp_path, [file])
    with watched({str(file): ["blocker"]}) as lines:
        for _ in range(2):
            await search.handlers["blocker"].function(1.6)
            await asyncio.sleep(0.4)

    blocked, over, again, _ = lines
    assert (blocked["event"], over["event"]) == ("event loop is blocked", "event loop turns again")
    assert blocked["handlers"] == again["handlers"] == ["blocker"]
    assert blocked["stack"][:2] == [f"{file}:9 deeper", f"{file}:7 it"]
    assert 1.5 < over["blocked_s"] < 3
    assert "tell-nobody" not in str(lines)


async def test_a_loop_that_turns_is_not_mentioned() -> None:
    """Waiting, working in pieces and blocking for a moment are fine."""
    with watched({}) as lines:
        await asyncio.sleep(0.6)
        time.sleep(0.6)  # noqa: ASYNC251 -- it blocks on purpose
        await asyncio.sleep(0.6)

    assert lines == []


async def test_a_blockage_outside_of_plugins_names_no_handler() -> None:
    """The stack is told all the same."""
    with watched({"/elsewhere.py": ["innocent"]}) as lines:
        time.sleep(1.6)  # noqa: ASYNC251 -- it blocks on purpose
        await asyncio.sleep(0.4)

    assert lines[0]["handlers"] == []
    assert "test_a_blockage_outside" in lines[0]["stack"][0]


async def test_it_stops_at_once() -> None:
    """Stopping waits for nothing, and leaves no thread and no timer."""
    started = time.monotonic()
    with watched({}):
        pass
    assert time.monotonic() - started < 0.2


def test_a_process_that_was_stopped_blames_nobody() -> None:
    """When the whole process stood still, there is no stack to show and no handler to name."""
    code = (
        "import asyncio, structlog\nfrom receiver.watchdog import Watchdog\n"
        "async def main():\n"
        "    watchdog = Watchdog(asyncio.get_running_loop(), {}, structlog.get_logger())\n"
        "    watchdog.start()\n    print('ready', flush=True)\n    await asyncio.sleep(3)\n    watchdog.stop()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.4)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.8)
        os.kill(process.pid, signal.SIGCONT)
        output = process.stdout.read()

    assert output.count("stood still") == 1
    assert "is blocked" not in output
