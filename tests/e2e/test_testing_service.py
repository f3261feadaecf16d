"""The testing kit's whole service: what a plugin's author sees of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from receiver import CalendarCreated, CalendarUpdated
from receiver.errors import ConfigError
from receiver.testing import Faults, Sandbox, local_service

EXAMPLES = Path(__file__).resolve().parents[2] / "handlers" / "examples"
PLUGIN = """
from receiver import AnyEvent, CalendarCreated, on

@on(AnyEvent)
async def takes(event: AnyEvent) -> None:
    pass

@on(CalendarCreated)
def fails(event: CalendarCreated) -> None:
    raise ValueError("no such thing")
"""
LATER = """
from receiver import CalendarCreated, Retry, on

@on(CalendarCreated)
async def later(event: CalendarCreated) -> None:
    raise Retry(after=3600)
"""
INNER = '''
import asyncio

HELLO = """
from receiver import CalendarCreated, on

@on(CalendarCreated)
async def hello(event: CalendarCreated) -> None: ...
"""


def test_it(klenhook_service):
    async def main():
        async with klenhook_service(plugins={"hello.py": HELLO}) as one, klenhook_service() as two:
            await one.send("calendar.created")
            assert [run.state for run in await one.settled()] == ["done"]
            await two.send("calendar.created")
            assert await two.settled() == []

    asyncio.run(main())
'''


async def test_events_run_through(tmp_path: Path) -> None:
    """What is sent is stored and handled, with retries in milliseconds; `settled` waits for the end of it."""
    async with local_service(tmp_path, plugins={"plugin.py": PLUGIN}) as service:
        created = await service.send(CalendarCreated, {"customer.email": "ada@example.com"}, title="Lunch")
        missed = await service.send("no_show")
        runs = await service.settled()

        assert {(run.event_id, run.handler): (run.state, run.attempts) for run in runs} == {
            (created, "takes"): ("done", 1),
            (created, "fails"): ("dead", 3),
            (missed, "takes"): ("done", 1),
        }
        (dead,) = [run for run in runs if run.state == "dead"]
        assert dead.event_type == "calendar.created"
        assert "ValueError: no such thing" in str(dead.error)
        assert await service.runs(missed) == [run for run in runs if run.event_id == missed]
        detail = await service.service.log.get(created)
        assert detail is not None
        assert b"ada@example.com" in detail.body
        assert service.vendor.url == f"{service.url}/webhooks/klen"


async def test_the_same_again_is_a_duplicate(tmp_path: Path) -> None:
    """A repeated delivery has the first one's id, and the log outlives the service."""
    async with local_service(tmp_path) as service:
        first = await service.send(CalendarUpdated, delivery_id="d-1")
        assert await service.send(CalendarUpdated, delivery_id="d-1") == first
    async with local_service(tmp_path) as service:
        assert await service.send(CalendarUpdated) == first


async def test_what_waits_is_told(tmp_path: Path) -> None:
    """`settled` gives up in time and says who waits for what."""
    async with local_service(tmp_path, plugins={"later.py": LATER}) as service:
        await service.send(CalendarCreated)
        with pytest.raises(AssertionError, match=r"later is retrying for calendar\.created attempt 1: None"):
            await service.settled(0.3)


async def test_an_example_in_a_whole_service(tmp_path: Path) -> None:
    """A copied example gets real webhooks, and its message arrives at a real server with a key of its own."""
    arrived: asyncio.Queue[tuple[str | None, bytes]] = asyncio.Queue()

    async def answer(request: web.BaseRequest) -> web.Response:
        arrived.put_nowait((request.headers.get("Idempotency-Key"), await request.read()))
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = {"handlers": {"daily_agenda": {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/hook"}}}
    source = (EXAMPLES / "daily_agenda.py").read_text("utf-8")
    try:
        async with local_service(tmp_path, plugins={"daily_agenda.py": source}, config=config) as service:
            await service.send("created")
            await service.send("cancelled")
            assert [run.state for run in await service.settled()] == ["done", "done"]
            async with asyncio.timeout(10):
                (first_key, first), (second_key, second) = await arrived.get(), await arrived.get()
    finally:
        await runner.cleanup()

    assert b"2025-05-01\\n14:00 Client Meeting" in first
    assert b"2025-05-01\\nnothing" in second
    assert first_key
    assert second_key
    assert first_key != second_key


async def test_a_folder_of_plugins_and_a_configuration(tmp_path: Path) -> None:
    """The author's own plugins run where they are, and `config` is what config.toml would say."""
    plugins = tmp_path / "mine"
    plugins.mkdir()
    (plugins / "plugin.py").write_text(PLUGIN)
    config = {"handlers": {"fails": {"enabled": False}}, "server": {"max_body_bytes": 100}}

    async with local_service(tmp_path / "data", plugins_dir=plugins, config=config) as service:
        assert [handler.name for handler in service.service.loaded.handlers] == ["takes"]
        with pytest.raises(AssertionError, match=r"The service answered 413: .*payload_too_large"):
            await service.send(CalendarCreated)


async def test_mistakes_stop_the_start(tmp_path: Path) -> None:
    """A plugin that does not load, or a wrong key, is an error with its reason; nothing runs without it."""
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        async with local_service(tmp_path, plugins={"bad.py": "1 / 0"}):
            pass
    with pytest.raises(ConfigError, match=r"dispatch.concurency"):
        async with local_service(tmp_path, config={"dispatch": {"concurency": 1}}):
            pass


def test_the_fixture(tmp_path: Path) -> None:
    """`klenhook_service` gives services with logs of their own, in any suite, with no other plugin of pytest."""
    (tmp_path / "test_it.py").write_text(INNER)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "receiver.testing.plugin", "-W", "error"]

    run = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


async def test_a_local_klen_beside_it(tmp_path: Path) -> None:
    """With a sandbox, what happens there reaches the handlers, and they can ask its API."""
    asks = """
from receiver import CalendarCreated, Context, on

@on(CalendarCreated)
async def asks(event: CalendarCreated, ctx: Context) -> None:
    found = await ctx.klen.event(event.calendar_event.uuid)
    ctx.store.set("notes", found.customer.notes)
"""
    meeting = {"title": "Visit", "start_time": "2030-05-01T14:00:00Z", "end_time": "2030-05-01T15:00:00Z"}
    async with (
        Sandbox(speed=0, faults=Faults(duplicate=1)) as klen,
        local_service(tmp_path, plugins={"asks.py": asks}, sandbox=klen) as service,
    ):
        klen.account.book(meeting | {"customer_notes": "Rings twice"})
        await klen.idle()
        [run] = await service.settled()
        kept = await service.service.log.stored("asks", "notes")

    assert (run.state, run.error) == ("done", None)
    assert kept.value == '"Rings twice"'
