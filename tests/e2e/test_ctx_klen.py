"""`ctx.klen` in handlers, in the service and in a process of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from receiver.config import load_config
from receiver.isolation.klen import answer_for
from receiver.klen import KlenError
from receiver.service import Service
from tests.support.klen import SECRET, UUID, post, webhook
from tests.support.service import write_config, write_plugin
from tests.support.vendor import API_KEY, Vendor, client

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = """
from pathlib import Path
from receiver import CalendarCreated, Context, KlenError, on

@on(CalendarCreated, isolate=ISOLATE)
async def look(event: CalendarCreated, ctx: Context) -> None:
    try:
        await ctx.klen.event("gone")
    except KlenError as error:
        missing = type(error).__name__
    found = await ctx.klen.event(event.calendar_event.uuid)
    (Path(__file__).parent / "seen").write_text(f"{missing} {found.description}")
"""
FORBIDDEN = """
from receiver import CalendarCreated, Context, on

@on(CalendarCreated, isolate=True)
async def look(event: CalendarCreated, ctx: Context) -> None:
    await ctx.klen.webhooks.list()
"""


async def state(service: Service) -> tuple[str, dict[str, Any]]:
    """How the only run stands once it has been called, and its latest error."""
    async with asyncio.timeout(20):
        while True:
            for stands in await service.log.backlog():
                if stands.runs and not {"pending", "running"} & set(stands.runs):
                    return stands.last_error or "", {f"{name}": count for name, count in stands.runs.items()}
            await asyncio.sleep(0.02)


async def handled(folder: Path, vendor: Vendor, plugin: str) -> tuple[str, dict[str, Any]]:
    write_plugin(folder, plugin)
    toml = f'[sources.klen]\nsecrets = ["{SECRET}"]\napi_url = "{vendor.url}"\napi_key = "{API_KEY}"\n'
    path = write_config(folder)
    path.write_text(f'[server]\nlisten = "127.0.0.1:0"\n[ops]\nlisten = "127.0.0.1:0"\n{toml}')
    async with Service(load_config(path)) as service:
        assert (await post(service.port, webhook())).status == 200
        return await state(service)


@pytest.mark.parametrize("isolate", ["False", "True"])
async def test_a_handler_asks_the_vendor(tmp_path: Path, isolate: str) -> None:
    """It gets what the API has, and its errors by name; an isolated one does so without having the key."""
    vendor = Vendor(
        [(404, {"error": "not_found", "message": ""}), {"uuid": UUID, "description": "All of it"}]
    )
    async with vendor.running():
        _, runs = await handled(tmp_path, vendor, PLUGIN.replace("ISOLATE", isolate))
    assert runs == {"done": 1}
    assert (tmp_path / "plugins" / "seen").read_text() == "NotFound All of it"
    assert [asked.headers["Authorization"] for asked in vendor.asked] == [f"Bearer {API_KEY}"] * 2


async def test_the_wait_that_the_vendor_asks_for_is_kept(tmp_path: Path) -> None:
    """A run that failed for too many requests is tried again when the vendor allows it, not before."""
    vendor = Vendor([lambda _asked: web.json_response({}, status=429, headers={"Retry-After": "3600"})])
    async with vendor.running():
        error, runs = await handled(tmp_path, vendor, PLUGIN.replace("ISOLATE", "False"))
    assert (runs, error.split(":")[0]) == ({"retrying": 1}, "RateLimited")
    assert API_KEY not in error


async def test_isolated_code_asks_the_calendar_only(tmp_path: Path) -> None:
    """It cannot see or change where webhooks go."""
    vendor = Vendor([[]])
    async with vendor.running():
        error, _ = await handled(tmp_path, vendor, FORBIDDEN)
    assert "may ask the calendar only" in error
    assert vendor.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks",
        "/calendar/../webhooks",
        "/calendar/%2e%2e/webhooks",
        "/calendar/%2E./webhooks",
        "@evil.example/calendar/",
        "",
        "calendar/",
    ],
)
async def test_no_spelling_of_a_path_leads_elsewhere(path: str) -> None:
    """What isolated code sends is judged as it would be requested."""
    vendor = Vendor()
    async with client(vendor) as klen:
        with pytest.raises(LookupError):
            await answer_for(klen, {"method": "GET", "path": path})
        for event_id in ("..", ".", ""):
            with pytest.raises(KlenError, match="found none"):
                await klen.event(event_id)
    assert vendor.asked == []
