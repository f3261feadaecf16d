"""The places of the dispatcher: how many runs may be under way at once, of all handlers and of each.

Runs of a handler that takes next to no time are claimed ahead, so that it need not wait for the log between
two of them, nor the log for it. The rule easiest to break: what is claimed ahead has no place yet; it gets
one when another run has really ended.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from receiver.counts import Counts
    from receiver.plugins import Handler
    from storage.work import Claimed

__all__ = ["Places"]

TURN: Final = 4
"""A handler with a backlog may take this part of all places at its turn. If each of many handlers were given
one place, asking for their runs would take longer than making them."""
QUICK_SECONDS: Final = 0.005
"""What a handler takes, on the average, whose runs are claimed ahead: one that hangs delays few of them."""
UNKNOWN_SECONDS: Final = 0.1
MEMORY: Final = 100
"""Of so many runs, about, is the average. Some 300 quick ones make a new handler a quick one."""


class Places:
    """Who has one, and who may have one."""

    def __init__(self, counts: Counts) -> None:
        """`counts` knows how many runs of a handler wait."""
        self._counts = counts
        self._concurrency = 0
        self._limits: dict[str, int | None] = {}
        self._claimed: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._replaying: Counter[str] = Counter()
        self._ahead: deque[tuple[Claimed, Handler]] = deque()
        """What is claimed and has no place, oldest first."""
        self._reserved: Counter[str] = Counter()
        """What may be claimed by what the log is doing just now."""
        self._ending: Counter[str] = Counter()
        """What has ended, and the log does not know yet."""
        self._seconds: dict[str, float] = {}
        """What runs take on the average."""

    def replace(self, handlers: Iterable[Handler], concurrency: int) -> None:
        """Go by the limits of these handlers from now on."""
        self._limits = {handler.name: handler.concurrency for handler in handlers}
        self._concurrency = concurrency

    @property
    def ahead(self) -> int:
        """How many runs are claimed and have no place, or may be."""
        return len(self._ahead) + self._reserved.total()

    @property
    def room(self) -> int:
        """How many runs of quick handlers may be claimed, those that are claimed ahead among them."""
        return max(0, 2 * self._concurrency - self._running.total() - self.ahead)

    def reserve(self, names: Sequence[str]) -> dict[str, int]:
        """Keep room, shared evenly, for runs that are about to be made.

        It is half of what quick handlers may have, so that some are made while those before are under way.
        """
        free = max(0, self._concurrency - self._running.total() - self.ahead)
        ahead = self.room - free
        reserved: dict[str, int] = {}
        for name in names:
            most = min(self._room(name, free, ahead), max(1, self._concurrency // len(names)))
            if most > 0:
                reserved[name] = most
                free, ahead = max(0, free - most), ahead - max(0, most - free)
        self.hold(reserved)
        return reserved

    def hold(self, reserved: Mapping[str, int]) -> None:
        """Keep this room."""
        self._reserved.update(reserved)

    def release(self, reserved: Mapping[str, int]) -> None:
        """Keep it no longer."""
        self._reserved -= Counter(reserved)

    def capacity(self, names: Iterable[str]) -> dict[str, int]:
        """How many runs to ask for, per handler: the free places shared evenly, or in turns if many wait."""
        free = max(0, self._concurrency - self._running.total() - self.ahead)
        ahead = self._concurrency if self.ahead <= self._concurrency // 2 else 0
        room = {name: self._room(name, free, ahead) for name in names}
        open_to_more = [name for name in room if room[name] > 0]
        even = max(1, free // max(1, len(open_to_more)))
        capacity: dict[str, int] = {}
        for name in open_to_more:
            share = max(even, min(self._concurrency // TURN, self.waiting(name)))
            if self.is_quick(name):
                share += min(ahead, self.waiting(name))
            most = min(share, self._room(name, free, ahead))
            if most > 0:
                capacity[name] = most
                free, ahead = max(0, free - most), ahead - max(0, most - free)
        return capacity

    def _room(self, name: str, free: int, ahead: int) -> int:
        factor = 1
        if self.is_quick(name):
            free, factor = free + ahead, 2
        limit = self._limits.get(name)
        return (
            free if limit is None else min(free, factor * limit - self._claimed[name] - self._reserved[name])
        )

    def waiting(self, name: str) -> int:
        """How many runs of the handler wait, due or not."""
        return self._counts.unfinished[name] - self._claimed[name] - self._ending[name]

    def is_quick(self, name: str) -> bool:
        """Whether runs of the handler are claimed ahead."""
        return self._seconds.get(name, UNKNOWN_SECONDS) <= QUICK_SECONDS

    def for_replays(self, capacity: Mapping[str, int]) -> dict[str, int]:
        """How many of those may be replays: half of the places, so that news always finds one free."""
        share = {name: max(1, (self._limits.get(name) or self._concurrency) // 2) for name in capacity}
        return {name: max(0, share[name] - self._replaying[name]) for name in capacity}

    def enter(self, run: Claimed, handler: Handler) -> None:
        """A run was claimed; it waits for a place."""
        self._claimed[run.handler] += 1
        self._replaying[run.handler] += run.replay_id is not None
        self._ahead.append((run, handler))

    def leave(self, run: Claimed) -> None:
        """A run has ended; its place is free."""
        self._claimed[run.handler] -= 1
        self._ending[run.handler] += 1
        self._running[run.handler] -= 1
        self._replaying[run.handler] -= run.replay_id is not None

    def ended(self, run: Claimed) -> None:
        """The log knows that it has ended."""
        self._ending[run.handler] -= 1

    def admit(self) -> Iterator[tuple[Claimed, Handler]]:
        """Give free places to those that wait, oldest first; over those of a handler at its limit."""
        index = 0
        while index < len(self._ahead) and self._running.total() < self._concurrency:
            run, handler = self._ahead[index]
            limit = self._limits.get(run.handler)
            if limit is not None and self._running[run.handler] >= limit:
                index += 1
                continue
            del self._ahead[index]
            self._running[run.handler] += 1
            yield run, handler

    def took(self, name: str, seconds: float) -> None:
        """A run of this handler took so long."""
        known = self._seconds.get(name, UNKNOWN_SECONDS)
        self._seconds[name] = known + (seconds - known) / MEMORY
