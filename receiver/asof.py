"""What was known of a calendar event when one of its events had come, for handlers that come to it later.

Runs of one handler go through the events of a calendar event in order, so each state is made from the one
before it. The rule easiest to break: a handler that is behind must not pay for the whole past each time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from receiver.history import continued

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.state import State
    from storage.calendar import HistoryRecord
    from storage.reader import EventReader
    from storage.work import Claimed

MOST: Final = 256
"""Handlers and calendar events whose latest state is remembered."""


class StatesAsOf:
    """States by handler and calendar event, each with the number of the last event that is in it."""

    def __init__(self, log: EventReader) -> None:
        self._log = log
        self._known: OrderedDict[tuple[str, int], tuple[int, State | None]] = OrderedDict()

    async def of(self, run: Claimed) -> dict[str, Any] | None:
        """What was known after the event of a run."""
        if run.verdict is None or run.number is None:
            return None
        seq, before = self._before(run)
        history = await self._log.history(run.number, after_seq=seq, upto_seq=run.seq)
        return self._after(run, before, history)

    def now(self, run: Claimed) -> dict[str, Any] | None:
        """The same; the calling thread waits for it."""
        if run.verdict is None or run.number is None:
            return None
        seq, before = self._before(run)
        history = self._log.history_now(run.number, after_seq=seq, upto_seq=run.seq)
        return self._after(run, before, history)

    def _before(self, run: Claimed) -> tuple[int, State | None]:
        seq, state = self._known.get((run.handler, run.number or 0), (0, None))
        return (seq, state) if seq <= run.seq else (0, None)

    def _after(
        self, run: Claimed, before: State | None, history: Sequence[HistoryRecord]
    ) -> dict[str, Any] | None:
        state = continued(before, history)
        key = (run.handler, run.number or 0)
        self._known[key] = run.seq, state
        self._known.move_to_end(key)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return None if state is None else state.calendar_event()
