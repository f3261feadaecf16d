"""Removing what is old, in steps that are short whatever there is to remove."""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.retention import prune
from storage import open_log
from storage.removal import Limits
from storage.sqlite import prune as pruning
from tests.support.logs import DAY, START, new_event, routing

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_what_there_was_no_time_for_goes_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that ends early leaves nothing behind: all that may go has gone in the end, and is counted once."""
    monkeypatch.setattr(pruning, "STEP_SECONDS", -1.0)  # time for one thing
    log = await open_log(f"sqlite:///{tmp_path}/log.db")
    for day in range(9):
        await log.append(new_event(received_at_ms=START + day * DAY))
    await log.route([routing(event) for event in await log.unrouted(10)], now_ms=START)
    before = START + 7 * DAY

    limits = Limits(now_ms=before, before_ms=before, dead_before_ms=before, quarantine_before_ms=0)
    report = await prune(log, limits)

    assert report == {"events": 7, "calendar_events": 0, "calls": 0, "quarantined": 0}
    assert (await log.status()).events == 2
    await log.aclose()
