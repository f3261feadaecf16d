"""`klenhook handlers test`: what a handler would do for recorded events, without doing it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.commands import change, receive
from tests.support.klen import webhook
from tests.support.service import klenhook, write_config, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

    from storage.log import EventLog

PLUGIN = """
from receiver import CalendarCreated, Context, Settings, on
class Mine(Settings):
    step: int = 1
@on(CalendarCreated, where=lambda event: event.calendar_event.title != 'unwanted')
async def count(event: CalendarCreated, ctx: Context[Mine]) -> None:
    print('noise')
    assert ctx.replayed
    if event.calendar_event.title == 'broken':
        raise ValueError('no')
    seen = await ctx.store.get('seen', 0)
    ctx.store.set('seen', seen + ctx.settings.step)
    ctx.outbox.post('https://user:pw@example.com/hook?token=canary', json={'title': event.calendar_event.title}, headers={'X-Key': 'canary'})
    answer = await ctx.http.put('https://api.example.com/x?key=canary', json={'n': seen})
    assert answer.ok and answer.json() == {}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four events and a handler whose settings are from its table."""
    write_config(tmp_path, "[handlers.count]\nstep = 10\n")
    write_plugin(tmp_path, PLUGIN)

    async def fill(log: EventLog) -> None:
        for number, title in enumerate(["a", "unwanted", "broken", "b"]):
            await receive(log, webhook(title=title), number)

    change(tmp_path, fill)
    return tmp_path


def lines(folder: Path, *options: str, status: int) -> list[dict[str, Any]]:
    done = klenhook(folder, "handlers", "test", "count", "--json", *options, status=status)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_it_tells_what_would_be_done(folder: Path) -> None:
    """Oldest first, the store evolving from event to event, and nothing in the log is changed."""
    before = hashlib.sha256((folder / "klenhook.db").read_bytes()).digest()
    found = lines(folder, status=1)
    assert [(one["seq"], one["outcome"]) for one in found] == [
        (1, "done"),
        (2, "ignored"),
        (3, "failed"),
        (4, "done"),
    ]
    assert [one["writes"] for one in found] == [{"seen": 10}, {}, {}, {"seen": 20}]
    assert found[3]["messages"] == [{"url": "https://example.com/hook", "json": {"title": "b"}}]
    assert found[3]["http"] == [{"method": "PUT", "url": "https://api.example.com/x", "json": {"n": 10}}]
    assert found[2]["error"] == "ValueError: no"
    assert hashlib.sha256((folder / "klenhook.db").read_bytes()).digest() == before


def test_filters_and_the_listing_for_people(folder: Path) -> None:
    """`--limit` takes the newest; what may be a token is not shown."""
    done = klenhook(folder, "handlers", "test", "count", "--limit", "1")
    assert "store seen = 10" in done.stdout
    assert 'outbox POST https://example.com/hook {"title": "b"}' in done.stdout
    assert "canary" not in done.stdout + done.stderr
    assert "noise" not in done.stdout
    assert "1 events: 1 done" in done.stderr


def test_it_starts_from_what_the_store_holds(folder: Path) -> None:
    """The copy begins with what real runs have left."""
    calm = PLUGIN[: PLUGIN.index("    ctx.outbox")]
    write_plugin(folder, calm)
    klenhook(folder, "replay", "--limit", "1", "--to", "count", "--yes")
    assert [one["writes"] for one in lines(folder, "--limit", "1", status=0)] == [{"seen": 20}]


def test_against_another_version(folder: Path) -> None:
    """Same, or what differs; each has its own store, and the same settings."""
    same, other = folder / "same.py", folder / "other.py"
    same.write_text(PLUGIN)
    other.write_text(PLUGIN.replace("key=canary", "key=another").replace("'broken'", "'b'"))
    assert all(one["differs"] == [] for one in lines(folder, "--against", str(same), status=1))
    assert [one["differs"] for one in lines(folder, "--against", str(other), status=1)] == [
        ["http"],
        [],
        ["outcome", "error", "writes", "messages", "http"],
        ["outcome", "error", "writes", "messages", "http"],
    ]


def test_what_cannot_be_tested(folder: Path) -> None:
    """An unknown name, a file without the handler, and one that does not load are told, without a traceback."""
    assert "did you mean count?" in klenhook(folder, "handlers", "test", "cuont", status=2).stderr
    (folder / "bad.py").write_text("def (")
    assert (
        "SyntaxError" in klenhook(folder, "handlers", "test", "count", "--against", "bad.py", status=1).stderr
    )
    (folder / "bad.py").write_text("x = 1")
    assert (
        "found none" in klenhook(folder, "handlers", "test", "count", "--against", "bad.py", status=1).stderr
    )
