"""The index of words is kept in few parts, by small steps."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from storage.sqlite import search

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def index() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for statement in search.CREATE:
            connection.execute(statement)
        search.prepare(connection)
        yield connection


def parts(index: sqlite3.Connection) -> int:
    """How many pieces a search has to look into."""
    return int(index.execute("SELECT count(DISTINCT segid) FROM search_idx").fetchone()[0])


def test_many_small_changes_leave_few_parts(index: sqlite3.Connection) -> None:
    """What comes and goes one by one is merged on the way; the index does not do it by itself, all at once."""
    for seq in range(300):
        search.learn(index, [(seq, f"alpha{seq} beta")])
        if seq >= 100:
            search.unlearn(index, [(seq - 100, f"alpha{seq - 100} beta")])
        assert parts(index) <= 8

    assert index.execute("SELECT v FROM search_config WHERE k = 'automerge'").fetchone() == (0,)
    found = index.execute("SELECT rowid FROM search WHERE search MATCH 'beta'").fetchall()
    assert found == [(seq,) for seq in range(200, 300)]


def test_the_index_is_set_up_once(index: sqlite3.Connection) -> None:
    """To open a log again writes nothing into its index."""
    before = index.total_changes
    search.prepare(index)

    assert index.total_changes == before
