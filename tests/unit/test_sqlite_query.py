"""A person's own SQL, and what people are told they can ask."""

from __future__ import annotations

import ast
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage import open_log
from storage.errors import QueryError
from storage.sqlite import query
from storage.sqlite.connection import connect_reader, limit_time
from storage.sqlite.views import VIEWS
from storage.work import NewRun
from tests.support.logs import DAY, START, UUIDS, claim, new_event, new_refused, outcome, route_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from storage.log import EventLog

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "storage" / "README.md").read_text("utf-8")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the log of a test is."""
    return tmp_path / "log.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[EventLog]:
    """A log in which something happened."""
    log = await open_log(f"sqlite:///{path}")
    for n in range(3):
        event = new_event(
            event_type="calendar.updated",
            calendar_event_uuid=UUIDS[0],
            title="Client Meeting",
            start_ms=START + n * DAY,
            occurred_at_ms=START - 2_000,
        )
        await log.append(event)
        await log.append(event)
    await log.quarantine(new_refused())
    await route_all(log, NewRun("hello", ordered=False))
    for run in await claim(log):
        await log.finish(outcome(run, "dead", error="ValueError: no"))
    yield log
    await log.aclose()


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH '{folder}/other.db' AS other",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO '{folder}/copy.db'",
        "PRAGMA journal_mode = delete",
        "PRAGMA writable_schema = 1",
        "PRAGMA query_only = 0",
        "PRAGMA user_version = 9",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA optimize",
        "PRAGMA temp_store_directory = '/'",
        "SELECT * FROM pragma_wal_checkpoint",
        "INSERT INTO source (name) VALUES ('x')",
        "REPLACE INTO source (name) VALUES ('x')",
        "WITH x AS (SELECT 'x') INSERT INTO source (name) SELECT * FROM x",
        "WITH x AS (SELECT 1) DELETE FROM event WHERE seq IN x",
        "/* SELECT */ DELETE FROM event",
        "SELECT 1 /*",
        "-- SELECT 1\nDELETE FROM event",
        "EXPLAIN DELETE FROM event",
        "SELECT 1; DELETE FROM event",
        "SELECT 1;;SELECT 2",
        "DELETE FROM event RETURNING *",
        "UPDATE sqlite_schema SET sql = ''",
        "CREATE TEMP TABLE mine (x)",
        "CREATE TEMP VIEW mine AS SELECT 1",
        "CREATE VIRTUAL TABLE mine USING fts5(x)",
        "DROP TABLE event",
        "ALTER TABLE event RENAME TO mine",
        "REINDEX",
        "ANALYZE",
        "BEGIN",
        "BEGIN IMMEDIATE",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT mine",
        "SELECT load_extension('{folder}/x.so')",
        "SELECT writefile('{folder}/x', 'x')",
        "SELECT edit('x')",
        "SELECT zeroblob(4000000000)",
        "SELECT CAST(x'ff' AS TEXT)",
    ],
)
async def test_only_reading_is_allowed(log: EventLog, path: Path, statement: str) -> None:
    """Whatever would change, attach, set, load or write something is refused, and leaves no trace."""
    for _ in range(2):
        with pytest.raises(QueryError):
            await log.sql(statement.format(folder=path.parent))

    assert (await log.sql("SELECT count(*) FROM events"))[1] == [(3,)]
    await log.append(new_event())
    names = {found.name for found in path.parent.iterdir()}
    assert names == {"log.db", "log.db-wal", "log.db-shm", "log.db.lock"}


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("SELECT 1", [(1,)]),
        ("  select 1 ;  -- one", [(1,)]),
        ("VALUES (1), (2)", [(1,), (2,)]),
        ("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT * FROM n", [(1,), (2,), (3,)]),
        ("SELECT 'DROP TABLE event; ATTACH'", [("DROP TABLE event; ATTACH",)]),
        ("SELECT name FROM sqlite_schema WHERE name = 'deliveries'", [("deliveries",)]),
        ("SELECT x'00ff'", [(b"\x00\xff",)]),
        ("SELECT json_extract(runs, '$.hello') FROM events LIMIT 1", [("dead",)]),
    ],
)  # fmt: skip
async def test_reading_in_every_way(log: EventLog, statement: str, rows: list[tuple[object, ...]]) -> None:
    """Anything that reads may be asked, with whatever SQLite has for it."""
    assert (await log.sql(statement))[1] == rows


def test_a_long_query_is_ended(path: Path) -> None:
    """A query that takes longer than it may is ended, whether it searches or answers without end."""
    with closing(connect_reader(path_of_new_log(path))) as connection:
        endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT"
        for statement in (f"{endless} count(*) FROM n", f"{endless} i FROM n"):
            started = time.monotonic()
            with pytest.raises(QueryError, match=r"took longer than 0\.2 s\. Narrow it"):
                query.sql(connection, statement, 0.2)
            assert time.monotonic() - started < 2
        assert query.sql(connection, "SELECT 1", 0.2) == (["1"], [(1,)])


def path_of_new_log(path: Path) -> Path:
    import asyncio  # noqa: PLC0415 -- for this one

    async def make() -> None:
        await (await open_log(f"sqlite:///{path}")).aclose()

    asyncio.run(make())
    return path


async def test_each_view_is_documented(log: EventLog) -> None:
    """The README has each view with each of its columns, and no other."""
    documented: dict[str, list[str]] = {}
    for view, text in re.findall(r"^### `(\w+)`$(.*?)(?=^##)", README, re.MULTILINE | re.DOTALL):
        first_cells = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
        documented[view] = [name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)]

    assert sorted(documented) == sorted(VIEWS)
    for view, columns in documented.items():
        found, _ = await log.sql(f"SELECT * FROM {view} LIMIT 0")  # noqa: S608 -- a name of the README
        assert sorted(columns) == sorted(found), view


def test_the_readme_offers_queries() -> None:
    """There are some to begin with; tests/e2e/test_recipes.py runs each of them."""
    assert README.count("```sql") >= 5


def test_what_writes_takes_the_lock_first() -> None:
    """Transactions that write begin `IMMEDIATE`, or SQLite may refuse them half-way without waiting.

    Plain ones are those of readers, and of making a file that nobody else has yet.
    """
    begun = [
        (file.name, node.value)
        for file in sorted((ROOT / "storage").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("BEGIN")
    ]

    assert {found for found in begun if found[1] != "BEGIN IMMEDIATE"} == {
        ("reader.py", "BEGIN"),
        ("copy.py", "BEGIN"),
        ("migrations.py", "BEGIN"),
    }
    assert ("commit.py", "BEGIN IMMEDIATE") in begun
    assert [name for name, _ in begun].count("reader.py") == 1


def test_a_question_without_a_limit_is_not_held_to_the_last_one() -> None:
    """A connection that was given a limit of time is used again for what may take longer."""
    long = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT count(*) FROM n"
    )
    with closing(sqlite3.connect(":memory:")) as connection:
        limit_time(connection, -1)
        with pytest.raises(sqlite3.OperationalError, match="interrupted"):
            connection.execute(long)

        limit_time(connection, None)
        assert connection.execute(long).fetchone() == (100_000,)
