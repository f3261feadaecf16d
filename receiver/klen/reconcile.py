"""One comparison of the log with the vendor's API: what was missed is found. `recorder` records it.

The vendor stops retrying after 36 minutes, sends nothing again, and has no list of what changed since
(https://docs.klen.ai/api-reference/calendar/get-events). So every page of every status is read, whatever
differs is looked at whole, and what is missing becomes events with the origin `reconcile`, which go the way
of all events. The rule easiest to break: between the comparison and the record a webhook may come in; so each
finding carries the revision of the state it was found by, and may have to be compared again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from receiver.klen.client import STATUSES
from receiver.klen.compare import Missing, differs, missing
from receiver.klen.errors import NotFound
from receiver.state import State, recalled
from receiver.told import TERMINAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from receiver.clock import Clock
    from receiver.klen.client import Klen
    from receiver.klen.models import EventDetails, EventPage
    from storage.calendar import CalendarEventRecord
    from storage.reader import EventReader
    from storage.records import ReconciliationRecord

BACK: Final = timedelta(days=7)
AHEAD: Final = timedelta(days=60)
"""What is compared if nobody says otherwise: appointments of these days around today."""
CHUNK: Final = 10
"""Events that are recorded together. What is not recorded is looked up again after an interruption."""


@dataclass(frozen=True, slots=True)
class Window:
    """Appointments of which days."""

    first: date
    last: date

    @classmethod
    def around(cls, now_ms: int) -> Window:
        """The usual one."""
        today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
        return cls(today - BACK, today + AHEAD)


@dataclass(slots=True)
class Progress:
    """How far a comparison is."""

    everything: bool = True
    """Whether also what the log never knew counts as missed, however old."""
    status: int = 0
    """Which of the statuses is being read, from 0."""
    page: int = 1
    before_page: int = 0
    """What was compared before this page, which is read again after an interruption."""
    compared: int = 0
    found: int = 0
    gone: int = 0
    """Appointments of the log that the vendor does not have any more."""
    expected: int = 0
    """How many there are to compare, as far as the vendor has said."""

    def turn(self, *, last: bool) -> None:
        """Go to the next page, or behind the last one to the next status."""
        self.status, self.page = (self.status + 1, 1) if last else (self.status, self.page + 1)
        self.before_page = self.compared

    @property
    def cursor(self) -> str:
        """Where to go on after an interruption."""
        return json.dumps(
            {
                "everything": self.everything,
                "status": self.status,
                "page": self.page,
                "compared": self.before_page,
            }
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What was missed of one appointment."""

    uuid: str | None
    number: int | None
    revision: int | None
    """That of the state it was found by."""
    events: list[Missing]


class Reconciliation:
    """One comparison under way."""

    def __init__(
        self,
        log: EventReader,
        klen: Klen,
        source: str,
        window: Window,
        clock: Clock,
        *,
        since_ms: int | None = None,
        on_progress: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        """`since_ms`: what the log never knew and changed last before this was not missed."""
        self._log = log
        self._klen = klen
        self.source = source
        self.window = window
        self.clock = clock
        self._since_ms = since_ms
        self._tell = on_progress
        self._seen: set[str] = set()
        self._resumed = False
        self.requests_before = 0
        """What an interrupted one has needed that this one goes on with."""
        self.progress = Progress(everything=since_ms is None)

    async def findings(self) -> AsyncIterator[list[Finding]]:
        """What was missed, in chunks. An empty one says that the cursor has moved.

        Raises:
            KlenError: the vendor cannot be asked any more.
        """
        while self.progress.status < len(STATUSES):
            status = STATUSES[self.progress.status]
            page = await self._klen.page(
                self.window.first, self.window.last, status=status, page=self.progress.page
            )
            if self.progress.page == 1:
                self.progress.expected += page.count or len(page.events)
            new = self._new(page.events)
            async for chunk in self._chunks(new):
                yield chunk
            self.progress.turn(last=self._is_last(page, new))
            yield []
        if not self._resumed:  # one that goes on has not seen everything itself
            async for chunk in self._chunks(await self._unseen()):
                yield chunk

    def _is_last(self, page: EventPage, new: Sequence[object]) -> bool:
        """Whether there is no page behind this one; a vendor that repeats its pages for ever has none."""
        number = self.progress.page
        return page.pages is None or number >= page.pages or (not new and number > 1) or not page.events

    async def _chunks(
        self, names: Sequence[tuple[str | int, EventDetails | None]]
    ) -> AsyncIterator[list[Finding]]:
        chunk: list[Finding] = []
        for name, listed in names:
            finding = await self._compare(name, listed)
            self.progress.compared += listed is not None
            if finding is not None:
                chunk.append(finding)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
            self._tell(self.progress)
        if chunk:
            yield chunk

    def _new(self, events: Sequence[EventDetails]) -> list[tuple[str | int, EventDetails | None]]:
        """Those that were not seen on another page, by uuid or number."""
        found: list[tuple[str | int, EventDetails | None]] = []
        for event in events:
            name = event.uuid or event.id
            if name is not None and str(name) not in self._seen:
                self._seen |= {str(part) for part in (event.uuid, event.id) if part is not None}
                found.append((name, event))
        return found

    async def _unseen(self) -> list[tuple[str | int, EventDetails | None]]:
        """Appointments that should have been listed by what the log knows: moved to other days, or gone.

        The vendor's days may begin at another hour than ours, so the outermost are left out.
        """
        start, end = (_start_of(day) for day in (self.window.first + timedelta(days=1), self.window.last))
        names = await self._log.names_between(self.source, start, end)
        open_ones = [(uuid, number) for uuid, number, status in names if status not in TERMINAL]
        return [
            (uuid if uuid is not None else number or 0, None)
            for uuid, number in open_ones
            if not {str(uuid), str(number)} & self._seen
        ]

    async def _compare(self, name: str | int, listed: EventDetails | None) -> Finding | None:
        """Compare one appointment by its list entry, and if that differs, whole."""
        uuid, number = (listed.uuid, listed.id) if listed is not None else _names(name)
        if listed is not None:
            record = await self._log.known_as(self.source, uuid, number)
            if not differs(_state(record), listed.raw):
                return None
            if record is not None and await self._log.was_forgotten(record.subject):
                return None  # what was forgotten is not fetched again
        try:
            details = await self._klen.event(name)
        except NotFound:
            self.progress.gone += 1
            return None
        if uuid is not None and details.uuid not in {uuid, None}:
            return None  # another one than was asked for
        uuid, number = details.uuid or uuid, details.id or number
        record = await self._log.known_as(self.source, uuid, number)
        names = {"id": number, "uuid": uuid}
        whole = details.raw | {name: value for name, value in names.items() if details.raw.get(name) is None}
        events = missing(_state(record), whole, read_at_ms=self.clock.now_ms())
        if record is None and self._since_ms is not None and events[-1].happened_ms < self._since_ms:
            return None
        revision = None if record is None else record.revision
        return Finding(uuid, number, revision, events) if events else None

    async def again(self, finding: Finding) -> Finding | None:
        """Compare once more what has changed meanwhile."""
        return await self._compare(finding.uuid or finding.number or 0, None)

    def go_on_from(self, interrupted: ReconciliationRecord) -> None:
        """Go on where that one stopped."""
        cursor = json.loads(interrupted.cursor or "{}")
        self.progress.status, self.progress.page = cursor.get("status", 0), cursor.get("page", 1)
        self.progress.compared = self.progress.before_page = cursor.get("compared", 0)
        self.progress.found = interrupted.found
        self.requests_before = interrupted.requests
        self._resumed = bool(cursor)


def _state(record: CalendarEventRecord | None) -> State | None:
    if record is None:
        return None
    return recalled(record.calendar_event, record.memory)


def _names(name: str | int) -> tuple[str | None, int | None]:
    return (name, None) if isinstance(name, str) else (None, name)


def _start_of(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
