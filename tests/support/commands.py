"""The command line in this process, and a log with a little of everything to ask."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from receiver.cli import main
from receiver.intake import Delivery, read_event
from storage import open_log
from storage.work import NewRun
from tests.support.klen import webhook
from tests.support.logs import START, claim, new_refused, outcome, route_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from storage.log import EventLog

HOUR = 3_600_000
OTHER_UUID = "0d5f1c6e-2f3b-4c57-9d1a-3c1f0e9b7a55"
DIGITS = b"9" * 5_000
HOSTILE = "\x1b[31m=evil\u202e\n  99  fake [bold]x[/y]"


@dataclass(frozen=True)
class Done:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Commands:
    """Runs `klenhook`, with everything that its entry point does, on the configuration in one folder."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Done:
        self.monkeypatch.chdir(self.folder)
        self.monkeypatch.setattr(sys, "argv", ["klenhook", *arguments])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *self.capture.readouterr())


def change(folder: Path, action: Callable[[EventLog], Awaitable[Any]]) -> Any:
    """Do something to the log of a folder, as a service would."""

    async def changing() -> Any:
        log = await open_log(f"sqlite:///{folder}/klenhook.db")
        try:
            return await action(log)
        finally:
            await log.aclose()

    return asyncio.run(changing())


async def receive(log: EventLog, body: bytes, hours: int, source: str = "klen", **more: Any) -> None:
    """Record a delivery, so many hours after `START`."""
    headers = (("Content-Type", "application/json"),)
    delivery = Delivery(source, body, START + hours * HOUR, "fingerprint", headers=headers, **more)
    await log.append(read_event(delivery))


async def fill(log: EventLog) -> None:
    """Four events an hour apart: a booking delivered twice, its failed update, a hostile one, an unknown one.

    Quarantine gets two bodies: one that is no JSON, and one that is after all.
    """
    await receive(log, webhook(), 0, delivery_id="d1")
    await receive(log, webhook(), 0, delivery_id="d2")
    await route_all(log, NewRun("hello"))
    [run] = await claim(log, now_ms=START)
    await log.finish(outcome(run))

    await receive(log, webhook("calendar.updated", title="Zoë, 会議"), 1, delivery_id="d3")
    await route_all(log, NewRun("hello"), NewRun("mail"))
    [run] = await claim(log, now_ms=START)
    await log.finish(outcome(run, "dead", error="RuntimeError: \x1b[31mred\n  second line"))
    [run] = await claim(log, "mail", now_ms=START)
    await log.finish(outcome(run))

    await receive(log, webhook(id=7, uuid=OTHER_UUID, title=HOSTILE), 2, source="second")
    await route_all(log, NewRun("mail"))
    await receive(
        log,
        b'{"event_type":"ping","n":1e999,"digits":' + DIGITS + b',"deep":' + b"[" * 400 + b"]" * 400 + b"}",
        3,
    )

    await log.quarantine(new_refused(b"not \x1b[31mJSON\xff"))
    await log.quarantine(new_refused(webhook(title="After all"), delivery_id="q2"))
