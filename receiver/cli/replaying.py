"""A replay at work: in the running service, asked over its private listener, or in this process.

The rule easiest to break: the log's lock decides who does it, never a guess.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

from receiver.cli.common import fail
from storage.states import UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rich.progress import Progress

    from receiver.config import Config
    from storage.reader import EventReader
    from storage.records import Selection

UNDONE: Final = "Nothing was replayed."
POLL_SECONDS: Final = 0.2


class Watch:
    """How far a replay is, for the person at the terminal."""

    def __init__(self) -> None:
        self.replay_id: int | None = None
        self.by_service = False
        self.messages = 0
        """Those that wait in the outbox for a service."""
        self._bar: Progress | None = None

    def interrupted(self) -> str:
        """What to say after Ctrl-C."""
        if self.replay_id is None:
            return "Stopped. Nothing was replayed."
        where = "goes on in the service" if self.by_service else "goes on when the service starts"
        return f"Replay {self.replay_id} is not finished; it {where}. `klenhook replay --list` shows it."

    @staticmethod
    def made(report: dict[str, Any]) -> str:
        """How much was done."""
        runs = sum(number for states in report["runs"].values() for number in states.values())
        return f"{report['covered']} events, {runs} runs."

    @staticmethod
    def left(report: dict[str, Any]) -> str:
        """What was not finished, in words; nothing if all was."""
        number = _unfinished(report, ())
        if not number:
            return ""
        return (
            f" {number} of them wait: their handler is paused, "
            "or an earlier event of the same calendar event is unfinished."
        )

    async def until_end(
        self,
        log: EventReader,
        replay_id: int,
        paused: Collection[str],
        broken: asyncio.Future[Any] | None = None,
    ) -> dict[str, Any]:
        """Wait for the last run; how the replay stands then.

        Raises:
            LogBroken: the log must not be written any more.
        """
        from receiver.replay import report

        self.replay_id = replay_id
        try:
            while True:
                found = await report(log, (await log.replays(replay_id))[0])
                self._tell(found)
                if found["filled_at"] and not _unfinished(found, paused, held=not self.by_service):
                    return found
                if broken is not None and broken.done() and (error := broken.result()):
                    raise error
                await asyncio.sleep(POLL_SECONDS)
        finally:
            if self._bar is not None:
                self._bar.stop()

    def _tell(self, report: dict[str, Any]) -> None:
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import Progress

        if self._bar is None:
            self._bar = Progress(console=Console(stderr=True), transient=True)
            self._bar.add_task(f"replay {report['replay_id']}", total=None)
            self._bar.start()
        made = sum(number for states in report["runs"].values() for number in states.values())
        total = made if report["filled_at"] else None
        self._bar.update(self._bar.task_ids[0], total=total, completed=made - _unfinished(report, ()))


def _unfinished(report: dict[str, Any], paused: Collection[str], *, held: bool = False) -> int:
    """Runs without an end, but for those of paused handlers; with `held`, also but for those held back."""
    return sum(
        sum(states.get(state, 0) for state in UNFINISHED) - (report["held"].get(name, 0) if held else 0)
        for name, states in report["runs"].items()
        if name not in paused
    )


async def replay_here(
    config: Config, selection: Selection, target: str | None, watch: Watch, *, paused: Collection[str]
) -> dict[str, Any]:
    """Do it in this process, to the end.

    Raises:
        LogLocked: a service has the log.
    """
    from receiver import logs
    from receiver.service import Service

    logs.configure("warning", config.logging.format)
    async with Service(config, replays_only=True) as service:
        replay_id = await service.replayer.start(selection, target)
        broken = asyncio.create_task(service.log.stopped())
        try:
            found = await watch.until_end(service.log, replay_id, paused, broken)
        finally:
            broken.cancel()
        _, rows = await service.log.sql(
            "SELECT count(*) FROM messages JOIN runs USING (run_id) "  # noqa: S608 -- a number
            f"WHERE runs.replay_id = {replay_id:d} AND messages.state IN ('pending', 'retrying')"
        )
        watch.messages = int(rows[0][0])
        return found


async def replay_there(
    config: Config, request: Mapping[str, Any], watch: Watch, *, paused: Collection[str], wait: bool
) -> dict[str, Any]:
    """Have the running service do it.

    Raises:
        click.ClickException: it cannot be reached, or refuses.
    """
    from receiver.cli.running import post
    from storage import open_reader

    watch.by_service = True
    replay_id = (await post(config, "/replays", request, undone=UNDONE)).get("replay_id")
    if not isinstance(replay_id, int):
        raise fail(f"what answers at the service's private address is not klenhook. {UNDONE}")
    log = await open_reader(config.storage_url)
    try:
        if wait:
            return await watch.until_end(log, replay_id, paused)
        from receiver.replay import report

        return await report(log, (await log.replays(replay_id))[0])
    finally:
        await log.aclose()
