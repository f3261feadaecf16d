"""Removing what is old, in steps that are short whatever there is to remove."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from receiver.retention import prune
from storage import open_log
from storage.removal import Limits
from storage.sqlite import prune as pruning
from tests.support.logs import DAY, START, new_event, routing

if TYPE_CHECKING:
    from pathlib import Path


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


def test_room_that_cannot_be_given_back_leaves_no_transaction_open() -> None:
    """A step that fails takes back what it did, so that the next one, and all else, can be written."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("CREATE TABLE filling (data)")
        connection.executemany("INSERT INTO filling VALUES (?)", [(b"x" * 4_000,)] * 100)
        connection.execute("DELETE FROM filling")

        def refused(action: int, name: str | None, *_: object) -> int:
            is_step = (action, name) == (sqlite3.SQLITE_PRAGMA, "incremental_vacuum")
            return sqlite3.SQLITE_DENY if is_step else sqlite3.SQLITE_OK

        connection.set_authorizer(refused)
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            pruning.give_back(connection)
        connection.set_authorizer(None)

        assert not connection.in_transaction
        while pruning.give_back(connection):
            pass
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
