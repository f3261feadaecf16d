"""The life of a run: its states, and which may follow which. Nothing else decides that.

                   ┌────────────── lost (the process died) ─────────────┐
                   ▼                                                    │
    pending ──► running ──► done                                        │
       ▲           │  ├────► discarded   the handler said never         │
       │           │  ├────► dead        its tries are used up          │
       │           │  └────► retrying ──► running ──────────────────────┘
       └ replay makes a new run; a finished one never changes again

    skipped: made so by routing, for a handler that does not want events that come too late

A run is claimed (`running`) only in the transaction that counts its attempt.
"""

from __future__ import annotations

from typing import Final, Literal

RunState = Literal["pending", "running", "retrying", "done", "skipped", "discarded", "dead"]

WAITING: Final[tuple[RunState, ...]] = ("pending", "retrying")
UNFINISHED: Final[tuple[RunState, ...]] = ("pending", "retrying", "running")
FINISHED: Final[tuple[RunState, ...]] = ("done", "skipped", "discarded", "dead")
ALL: Final[tuple[RunState, ...]] = UNFINISHED + FINISHED

FOLLOWS: Final[dict[RunState, tuple[RunState, ...]]] = {
    "pending": ("running",),
    "retrying": ("running",),
    "running": ("done", "retrying", "discarded", "dead"),
    "done": (),
    "skipped": (),
    "discarded": (),
    "dead": (),
}
