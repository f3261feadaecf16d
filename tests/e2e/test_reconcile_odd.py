"""Reconciling with an API that answers oddly: it ends, says so, and never fills the log."""

from __future__ import annotations

import asyncio
import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tenacity import wait_random_exponential

import receiver.klen.reconcile
import receiver.klen.transport
from receiver.clock import SystemClock
from receiver.config import load_config
from receiver.counts import Counts
from receiver.klen import KlenError
from receiver.klen.reconcile import Reconciliation, Window
from receiver.klen.recorder import Recorder, begin
from receiver.route import Router
from receiver.service import Service
from storage import open_log
from storage.records import Selection
from tests.support.klen import SECRET, UUID, post, webhook
from tests.support.service import klenhook
from tests.support.vendor import API_KEY, Asked, Vendor, client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OTHER = "0d5f1c6e-2f3b-4c57-9d1a-3c1f0e9b7a55"
EVENT: dict[str, Any] = {
    "id": 7,
    "uuid": UUID,
    "title": "Meeting",
    "status": "scheduled",
    "start_time": "2025-05-10T14:00:00.000Z",
    "end_time": "2025-05-10T15:00:00.000Z",
}


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = wait_random_exponential(multiplier=0.001, max=0.01)
    monkeypatch.setattr(receiver.klen.transport, "_backoff", quick)


async def reconciled(
    folder: Path, answer: Callable[[Asked], Any], *, times: int = 2
) -> tuple[list[int], int]:
    """How many events each of several runs found, and how many requests there were in all."""
    vendor, found = Vendor([answer]), []
    log = await open_log(f"sqlite:///{folder}/klenhook.db")
    clock = SystemClock()
    router = Router(log, [], clock, counts=Counts())

    async def routed(_kinds: Any) -> None:
        await router.drain()

    try:
        async with client(vendor) as klen:
            for _ in range(times):
                window = Window(date(2025, 5, 1), date(2025, 5, 31))
                run = Reconciliation(log, klen, "klen", window, clock)
                number = await begin(log, run)
                await Recorder(log, run, number, requests=lambda: 0, on_events=routed).record()
                found.append(run.progress.found)
        assert await log.count(Selection()) == sum(found)
    finally:
        await log.aclose()
    return found, len(vendor.asked)


def api(details: Any, listed: Any = None, **page: Any) -> Callable[[Asked], Any]:
    """One appointment, in the list of every status, with these details."""

    def answer(asked: Asked) -> Any:
        if asked.line.endswith("/events"):
            return {"count": 1, "page": 1, "pages": 1, "events": [listed or EVENT]} | page
        return details

    return answer


@pytest.mark.parametrize(
    "details",
    [
        EVENT,
        {},
        {"title": "Else"},
        EVENT | {"uuid": None, "id": None},
        EVENT | {"uuid": UUID.upper(), "id": "7"},
        EVENT | {"status": 5, "customer": [], "start_time": "soon", "ai_agent": "x"},
        EVENT | {"created_at": "9999-12-31T23:59:59.999Z", "updated_at": "9999-12-31T23:59:59.999Z"},
        EVENT | {"status": "cancelled", "created_at": "9999-12-31T23:59:59.999Z", "updated_at": None},
        EVENT | {"created_at": "0001-01-01T00:00:00Z", "updated_at": "0001-01-01T00:00:00Z"},
        EVENT | {"title": "x" * 100_000, "id": 2**80},
        EVENT | {"new": deep(100), "text": "\u2028\x00"},
    ],
)
async def test_odd_details_are_recorded_once(tmp_path: Path, details: Any) -> None:
    """Whatever they hold, the appointment is recorded; once known, it is found no more."""
    found, requests = await reconciled(tmp_path, api(details), times=3)
    assert found[0] in {1, 2}
    assert found[2] == 0
    assert requests < 30


@pytest.mark.parametrize("details", [EVENT | {"uuid": OTHER}, EVENT | {"deep": deep(499)}])
async def test_what_cannot_be_recorded_is_left_out(tmp_path: Path, details: Any) -> None:
    """Another appointment than the one asked for, or one that is nested too deeply, ends nothing."""
    assert (await reconciled(tmp_path, api(details)))[0] == [0, 0]


async def test_pages_that_repeat_for_ever_end(tmp_path: Path) -> None:
    """A vendor that says there are a million pages, and has one, is asked a few times only."""
    found, requests = await reconciled(tmp_path, api(EVENT, pages=1_000_000), times=1)
    assert found == [1]
    assert requests < 20


@pytest.mark.parametrize(
    "answer",
    [
        lambda _asked: web.Response(body=b"<html>"),
        lambda _asked: {"events": {}},
        lambda _asked: (401, {"error": "invalid_key", "message": ""}),
        lambda _asked: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        lambda _asked: web.json_response({}, status=429, headers={"Retry-After": "99999"}),
        lambda _asked: web.Response(body=b"[" * 100_000),
    ],
)
async def test_what_is_no_answer_ends_it_with_its_kind(tmp_path: Path, answer: Any) -> None:
    """It is an error of ours, and the comparison is there as unfinished, with the kind of error."""
    with pytest.raises(KlenError):
        await reconciled(tmp_path, answer)
    log = await open_log(f"sqlite:///{tmp_path}/klenhook.db")
    try:
        [record] = await log.reconciliations()
    finally:
        await log.aclose()
    assert record.finished_at is None
    assert record.error is not None


async def test_entries_that_are_none_are_passed_over(tmp_path: Path) -> None:
    """A list with numbers, nulls and nameless things in it is read for the rest."""

    def answer(asked: Asked) -> Any:
        if asked.line.endswith("/events"):
            return {"count": "x", "pages": None, "events": [None, 5, {}, {"title": "nameless"}, EVENT]}
        return json.loads(json.dumps(EVENT))

    assert (await reconciled(tmp_path, answer))[0] == [1, 0]


async def test_a_failure_of_our_own_stops_no_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comparing ends in, the service goes on, and who waits for the comparison is told."""
    vendor = Vendor([api(EVENT)])

    def fails(*_arguments: Any, **_more: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(receiver.klen.reconcile, "missing", fails)
    async with vendor.running():
        (tmp_path / "config.toml").write_text(
            '[server]\nlisten = "127.0.0.1:0"\n[ops]\nlisten = "127.0.0.1:0"\n'
            f'[sources.klen]\nsecrets = ["{SECRET}"]\napi_url = "{vendor.url}"\napi_key = "{API_KEY}"\n'
        )
        async with Service(load_config(tmp_path / "config.toml")) as service:
            done = await asyncio.to_thread(klenhook, tmp_path, "reconcile", status=1)
            assert "broke off (ZeroDivisionError)" in done.stderr
            assert (await post(service.port, webhook())).status == 200
