"""The loss report: what was missed, when it happened, and how late it was found; and how far a comparison is.

The rule easiest to break: titles are a stranger's text, so they reach a terminal as cells of a table only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from receiver.cli.common import say
from receiver.cli.durations import duration
from receiver.cli.log.records import calendar_event, short_time, to_record
from receiver.clock import to_datetime

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from receiver.klen.reconcile import Finding, Progress
    from storage.records import EventRecord


@dataclass(frozen=True, slots=True)
class Lost:
    """One event that was missed."""

    record: dict[str, Any]
    """As in `log list --json`, with `late_seconds`; without an `event_id` if it is not recorded."""
    row: tuple[str, str, str, str, str]
    late_seconds: int

    @property
    def late(self) -> str:
        """How long after it happened it was found, in words."""
        return duration(self.late_seconds * 1000)


def lost_by(event: EventRecord) -> Lost:
    """What a recorded event tells."""
    # Klen's clock, or a local Klen's, may be ahead of ours.
    late = max(_seconds(event.received_at) - _seconds(event.occurred_at or event.received_at), 0)
    record = to_record(event) | {"late_seconds": late}
    what = ", ".join(event.changes) or event.event_type or ""
    row = (
        short_time(event.occurred_at or ""),
        duration(late * 1000),
        what,
        calendar_event(event),
        event.title or "",
    )
    return Lost(record, row, late)


def would_be_lost(source: str, finding: Finding, now_ms: int) -> list[Lost]:
    """What events that are not recorded would tell."""
    lost = []
    for event in finding.events:
        late = max(now_ms - event.happened_ms, 0) // 1000
        happened = to_datetime(event.happened_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {
            "event_id": None,
            "source": source,
            "event_type": event.event_type,
            "calendar_event_uuid": finding.uuid,
            "calendar_event_id": finding.number,
            "occurred_at": happened,
            "origin": "reconcile",
            "late_seconds": late,
        }
        name = str(finding.number if finding.number is not None else finding.uuid)
        row = (short_time(happened), duration(late * 1000), event.event_type, name, "")
        lost.append(Lost(record, row, late))
    return lost


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def tell(source: str, progress: Progress, requests: int, missed: int) -> None:
    """Say what a comparison took."""
    gone = f" {progress.gone} in the log are not there any more." if progress.gone else ""
    nothing = "" if missed else " Nothing was missed."
    say(f"{source}: compared {progress.compared} appointments by {requests} requests.{nothing}{gone}")


class Bar:
    """The progress, on a terminal."""

    def __init__(self) -> None:
        self._bars: Bars | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as RichProgress

            self._bars = RichProgress(console=Console(stderr=True), transient=True)
            self._bars.add_task("comparing", total=None)
            self._bars.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def tell(self, progress: Progress) -> None:
        """How far it is."""
        if self._bars is not None:
            self._bars.update(
                self._bars.task_ids[0],
                total=progress.expected or None,
                completed=progress.compared,
                description=f"comparing, {progress.found} missing so far",
            )
