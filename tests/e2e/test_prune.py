"""`klenhook db prune` and `[retention]`: what is old goes, and the log goes on as before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from receiver import retention
from receiver.clock import SystemClock
from receiver.config import load_config
from receiver.retention import DAY_MS, limits_of
from storage.records import Selection
from tests.support.klen import post, webhook
from tests.support.ops import PLUGIN, ask, listening
from tests.support.service import klenhook, records, running, write_config, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from receiver.service import Service

U = [f"f47ac10b-58cc-4372-a567-0e02b2c3d40{n}" for n in range(5)]
LATER = {"start_time": "2199-05-01T14:00:00.000Z", "end_time": "2199-05-01T15:00:00.000Z"}
BODIES = [
    webhook(uuid=U[0], id=1, title="Over"),
    webhook("calendar.cancelled", uuid=U[0], id=1, title="Over", status="cancelled"),
    webhook(uuid=U[1], id=2, title="To come", **LATER),
    b'{"event_type":"call.ended","call":{"id":1}}',
    b'{"event_type":"ping"}',
]


async def fill(service: Service) -> None:
    for body in BODIES:
        await post(service.port, body)
    while await service.log.unrouted(1):
        await asyncio.sleep(0.01)
    while (await service.log.status()).runs.keys() & {"pending", "running"}:
        await asyncio.sleep(0.01)


async def filled(folder: Path) -> None:
    write_plugin(folder, PLUGIN)
    async with running(folder) as service:
        await fill(service)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_old_things_go(tmp_path: Path) -> None:
    """Without a service the command removes them; what is to come stays, and everything agrees."""
    asyncio.run(filled(tmp_path))
    assert "Nothing is old enough" in klenhook(tmp_path, "db", "prune").stderr
    went = {"events": 4, "calendar_events": 1, "calls": 1, "quarantined": 0}

    assert objects(klenhook(tmp_path, "db", "prune", "--older-than", "0s", "--dry-run", "--json").stdout) == [
        went
    ]
    assert len(records(tmp_path)) == 5
    assert objects(klenhook(tmp_path, "db", "prune", "--older-than", "0s", "--json").stdout) == [went]

    assert [record["seq"] for record in records(tmp_path)] == [3]
    words = "SELECT rowid FROM search WHERE search MATCH 'over OR smith'"
    with contextlib.closing(sqlite3.connect(tmp_path / "klenhook.db")) as log:
        assert log.execute(words).fetchall() == [(3,)]
    klenhook(tmp_path, "db", "check")
    klenhook(tmp_path, "db", "rebuild", "--check")
    assert klenhook(tmp_path, "log", "search", "--json", "over").stdout == ""
    assert [one["seq"] for one in objects(klenhook(tmp_path, "log", "search", "--json", "come").stdout)] == [
        3
    ]
    assert "Nothing is old enough" in klenhook(tmp_path, "db", "prune", "--older-than", "0s").stderr


async def test_the_running_service_prunes(tmp_path: Path) -> None:
    """While a service has the log, it does the work; what went is still recognised, and new events go on."""
    async with listening(tmp_path, plugin=PLUGIN) as (service, port):
        await fill(service)
        done = await asyncio.to_thread(klenhook, tmp_path, "db", "prune", "--older-than", "0s", "--json")
        assert objects(done.stdout)[0]["events"] == 4

        again = await post(service.port, BODIES[0])
        assert (again.status, json.loads(again.body)) == (200, {"status": "duplicate", "event_id": ""})
        new = webhook(
            "calendar.updated", uuid=U[0], id=1, title="Over again", timestamp="2026-05-01T10:15:30.000Z"
        )
        assert json.loads((await post(service.port, new)).body)["status"] == "accepted"
        while await service.log.unrouted(1):
            await asyncio.sleep(0.01)
        assert [event.seq for event in await service.log.page(Selection())] == [6, 3]
        wrong: list[Any] = [{"older_than_ms": -1}, {"older_than_ms": "x"}, {"x": 1}, []]
        for body in wrong:
            assert (await ask(port, "POST", "/prunings", body)).status == 400
        assert json.loads((await ask(port, "POST", "/prunings", {})).body)["events"] == 0


async def test_a_forgotten_event_is_pruned(tmp_path: Path) -> None:
    """Forgetting first does not keep anything from being removed later, nor spoil the index."""
    async with listening(tmp_path, plugin=PLUGIN) as (service, port):
        await fill(service)
        answer = await ask(port, "POST", "/erasures", {"customers": ["john.smith@example.com"]})
        assert json.loads(answer.body)["calendar_events"] == 2
        pruned = await ask(port, "POST", "/prunings", {"older_than_ms": 2**53})
        assert json.loads(pruned.body)["events"] == 4
        with contextlib.closing(sqlite3.connect(tmp_path / "klenhook.db")) as log:
            assert (
                log.execute("SELECT rowid FROM search WHERE search MATCH 'o* OR t* OR s*'").fetchall() == []
            )


async def test_a_clock_that_was_just_set_makes_nothing_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ages go by the time before, until the clock has been so for a day: somebody may still set it right."""
    monkeypatch.setattr(retention, "FIRST_SECONDS", 3600.0)
    monkeypatch.setattr(retention, "DAY_SECONDS", 0.05)

    class Set(SystemClock):
        days = 0

        def now_ms(self) -> int:
            return super().now_ms() + self.days * DAY_MS

    clock = Set()
    write_plugin(tmp_path, PLUGIN)
    async with running(tmp_path) as service:
        await fill(service)
        looking_after = retention.Retention(service.log, lambda: service.config, clock)
        clock.days = 3650
        assert not any((await looking_after.prune()).values())
        monkeypatch.setattr(retention, "FIRST_SECONDS", 0.0)
        days = asyncio.create_task(looking_after.run())
        async with asyncio.timeout(20):
            while await service.log.count(Selection()) > 1:
                await asyncio.sleep(0.01)
        days.cancel()
        clock.days = -3650
        assert not any((await looking_after.prune()).values())


def test_the_limits_come_from_the_configuration(tmp_path: Path) -> None:
    """Days count back from now; 0 is for ever; what is dead is never kept for a shorter time than the rest."""

    def limits(extra: str, **more: Any) -> tuple[int, int, int]:
        found = limits_of(
            load_config(write_config(tmp_path, f"[retention]\n{extra}")), 1_000 * DAY_MS, **more
        )
        days = [ms // DAY_MS for ms in (found.before_ms, found.dead_before_ms, found.quarantine_before_ms)]
        return days[0], days[1], days[2]

    assert limits("") == (600, 200, 910)
    assert limits("events_days = 0\ndead_days = 10\nquarantine_days = 0") == (0, 0, 0)
    assert limits("events_days = 30\ndead_days = 10") == (970, 970, 910)
    assert limits("dead_days = 0", older_than_ms=990 * DAY_MS) == (990, 0, 910)


def test_a_wrong_age_is_a_mistake(tmp_path: Path) -> None:
    """What is no time changes nothing."""
    asyncio.run(filled(tmp_path))

    klenhook(tmp_path, "db", "prune", "--older-than", "old", status=2)
    assert len(records(tmp_path)) == 5
