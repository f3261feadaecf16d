"""The queries of storage/README.md, and the file that explains the log to Datasette."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from storage.sqlite.views import VIEWS
from tests.support import datasette
from tests.support.klen import post, webhook
from tests.support.service import klenhook, running, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

RECIPES = datasette.recipes()
UUIDS = [f"f47ac10b-58cc-4372-a567-0e02b2c3d4{n:02}" for n in range(20)]
AGENT = {"id": 42, "name": "Scheduler"}
SOON = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
PLUGIN = """
import receiver
@receiver.on(receiver.CalendarCreated, retry=receiver.RetryPolicy(tries=1))
async def fails(event):
    raise RuntimeError("no such room")
"""


def told(number: int, hour: int, event_type: str = "calendar.created", **fields: Any) -> bytes:
    timestamp = f"2025-04-30T{hour:02}:00:00.000Z"
    return webhook(
        event_type, uuid=UUIDS[number], id=number, timestamp=timestamp, **{"ai_agent": AGENT} | fields
    )


MOVED = {"start_time": "2025-05-02T14:00:00Z", "end_time": "2025-05-02T15:00:00Z"}
BODIES = [
    told(0, 2),
    told(0, 2),
    told(1, 2, start_time=SOON, title="Soon"),
    told(2, 2),
    told(2, 14, "calendar.cancelled", status="cancelled", reason="Fell ill"),
    told(3, 2),
    told(3, 4, "calendar.updated", **MOVED),
    told(3, 3, "calendar.updated", title="Late"),
    told(4, 2),
    told(4, 5, "calendar.updated", status="no_show"),
    told(5, 6, "calendar.completed", status="completed"),
]
EXPECTED = {
    "what-came-in-per-day-and-how-much-of-it-was-repeated": ("events", 10),
    "what-failed-for-good-and-why": ("handler", "fails"),
    "where-handlers-spend-their-time": ("calls", 5),
    "how-long-webhooks-took-to-get-here-by-the-vendor-s-own-clock": ("event_type", "calendar.cancelled"),
    "what-is-booked-in-the-next-seven-days": ("title", "Soon"),
    "who-does-not-show-up-by-the-agent-that-booked": ("percent", 50.0),
    "how-long-before-the-beginning-appointments-are-cancelled-by-month": ("hours_of_notice", 24.0),
    "why-they-are-cancelled": ("reason", "Fell ill"),
    "the-busiest-hours-of-the-week-in-utc": ("appointments", 3),
    "who-reschedules-most": ("customer", "john.smith@example.com"),
    "how-long-before-the-beginning-people-book-by-kind-of-appointment": ("appointments", 5),
    "what-came-too-late-to-matter-or-contradicts-itself": ("verdict", "stale"),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log that has something for each query."""
    folder = tmp_path_factory.mktemp("log")
    write_plugin(folder, PLUGIN)

    async def fill() -> None:
        async with running(folder) as service:
            for body in BODIES:
                assert (await post(service.port, body)).status == 200
            while await service.log.unrouted(1):
                await asyncio.sleep(0.01)
            while (await service.log.status()).runs.keys() & {"pending", "running", "retrying"}:
                await asyncio.sleep(0.01)

    asyncio.run(fill())
    return folder


def test_there_are_ten_and_more() -> None:
    """Each query of the README is tested here."""
    assert len(RECIPES) >= 10
    assert RECIPES.keys() == EXPECTED.keys()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_answers(log: Path, name: str) -> None:
    """Pasted as it stands, it answers what its title asks."""
    rows = [
        json.loads(line)
        for line in klenhook(log, "log", "sql", "--json", RECIPES[name][1]).stdout.splitlines()
    ]

    column, value = EXPECTED[name]
    assert rows, name
    assert rows[0][column] == value, rows


def test_datasette_is_told_what_the_readme_says() -> None:
    """The file for Datasette has the words of the README; the message says how to make it anew."""
    found = json.loads(datasette.FILE.read_text("utf-8"))

    assert found == datasette.metadata(), "run: python -m tests.support.datasette > deploy/datasette.json"


def test_every_view_and_column_is_explained(log: Path) -> None:
    """Datasette has a description for each of them, and for nothing else; tables behind views are hidden."""
    told = json.loads(datasette.FILE.read_text("utf-8"))["databases"]["klenhook"]["tables"]
    with closing(sqlite3.connect(log / "klenhook.db")) as opened:
        there = {name: {row[1] for row in opened.execute(f"PRAGMA table_info({name})")} for name in VIEWS}
        tables = {
            row[0] for row in opened.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        }

    assert {name: set(one["columns"]) for name, one in told.items() if "columns" in one} == there
    assert all(one["description"] for one in told.values() if "columns" in one)
    assert {name for name, one in told.items() if one.get("hidden")} == tables
