"""Reconciling: what a log has missed is found at a local Klen, recorded, handled, and found once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from tenacity import wait_none

from receiver.clock import SystemClock
from receiver.config import load_config
from receiver.klen import Accounts, Klen, KlenError, transport
from receiver.klen.reconcile import Reconciliation, Window
from receiver.klen.recorder import Recorder, begin
from receiver.sandbox import APIKey, Sandbox
from receiver.service import Service
from storage import open_log
from storage.records import Selection
from tests.support.commands import Commands
from tests.support.klen import SECRET, post
from tests.support.service import klenhook, records, write_plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from receiver.klen import Made
    from storage.log import EventLog

KEY = "klen_sandbox_test"
PERMISSIONS = frozenset({"can_read_calendar", "can_write_calendar"})
PLUGIN = """
from pathlib import Path
from receiver import AnyEvent, on

@on(AnyEvent)
def note(event: AnyEvent) -> None:
    with (Path(__file__).parent / "seen").open("a") as file:
        print(event.event_type, event.origin, file=file)
"""


@asynccontextmanager
async def vendor(
    folder: Path, extra: str = "", *, per_minute: int = 100_000
) -> AsyncIterator[tuple[Sandbox, Klen]]:
    """A sandbox, a configuration for it, and a client that makes things happen there."""
    key = APIKey(KEY, PERMISSIONS, requests_per_minute=per_minute, creations_per_day=100_000)
    async with Sandbox(seed=1, keys=[key]) as sandbox:
        (folder / "config.toml").write_text(
            f'[server]\nlisten = "127.0.0.1:0"\n[ops]\nlisten = "127.0.0.1:0"\n'
            f'[sources.klen]\nsecrets = ["{SECRET}"]\napi_url = "{sandbox.api_url}"\napi_key = "{KEY}"\n'
            f"api_requests_per_minute = 60_000\n{extra}\n"
        )
        write_plugin(folder, PLUGIN)
        async with Accounts(load_config(folder / "config.toml").sources, SystemClock()) as accounts:
            yield sandbox, accounts.of("klen")


class Run(Protocol):
    """`klenhook reconcile --json`, in a thread of this process, beside what else runs in it."""

    async def __call__(self, *arguments: str, status: int = 0) -> list[dict[str, Any]]: ...


@pytest.fixture(name="run")
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    commands = Commands(tmp_path, monkeypatch, capsys)

    async def run(*arguments: str, status: int = 0) -> list[dict[str, Any]]:
        done = await asyncio.to_thread(commands, "reconcile", "--json", *arguments)
        assert done.status == status, done
        # A service in this process writes its log lines there, too.
        return [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]

    return run


async def apart(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """The same as a process of its own."""
    done = await asyncio.to_thread(klenhook, folder, "reconcile", "--json", *arguments)
    return [json.loads(line) for line in done.stdout.splitlines()]


async def book(klen: Klen, hours: float = 24, **more: Any) -> Made:
    start = datetime.now(UTC) + timedelta(hours=hours)
    usual: dict[str, Any] = {"title": "Meeting", "start_time": start, "end_time": start + timedelta(hours=1)}
    return await klen.create(**usual | more)


def told(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((one["event_type"], ",".join(one.get("changes", []))) for one in found)


async def eventually(condition: Any) -> Any:
    """What a condition gives as soon as it gives anything."""
    async with asyncio.timeout(20):
        while not (found := await condition()):
            await asyncio.sleep(0.05)
    return found


async def test_what_was_missed_is_found_once(tmp_path: Path, run: Run) -> None:
    """Bookings, changes of every kind and endings; a dry run changes nothing, a second run finds nothing."""
    async with vendor(tmp_path) as (_, klen):
        made = [await book(klen, hours) for hours in range(1, 8)]
        assert told(await run("--dry-run")) == [("calendar.created", "")] * 7
        assert not (tmp_path / "klenhook.db").exists()
        assert told(await run()) == [("calendar.created", "created")] * 7
        assert await run() == []

        await klen.update(made[0].uuid or "", title="New title")
        await klen.update(made[1].uuid or "", end_time=datetime.now(UTC) + timedelta(hours=9))
        await klen.cancel(made[2].uuid or "", "Fell ill")
        await klen.update(made[3].uuid or "", status="completed")
        await klen.update(made[4].uuid or "", status="no_show")
        start = datetime.now(UTC) + timedelta(days=300)
        await klen.update(made[5].uuid or "", start_time=start, end_time=start + timedelta(hours=1))
        gone = await book(klen, 5)
        await klen.cancel(gone.uuid or "")
        before = await asyncio.to_thread(records, tmp_path)
        assert len(await run("--dry-run")) == 8
        assert await asyncio.to_thread(records, tmp_path) == before
        found = await run()
        assert await run() == []

    changes = {name for one in found for name in one["changes"]}
    assert {"retitled", "rescheduled", "cancelled", "completed", "no_show", "created"} <= changes
    assert [one["event_type"] for one in found].count("calendar.cancelled") == 2
    assert {one["origin"] for one in found} == {"reconcile"}
    assert all(0 <= one["late_seconds"] < 60 for one in found)
    assert len(found) == 8


async def test_the_running_service_does_it(tmp_path: Path, run: Run) -> None:
    """Its handlers get what was found, as news; the command waits, and tells what it was."""
    async with vendor(tmp_path) as (_, klen), Service(load_config(tmp_path / "config.toml")) as service:
        await book(klen)
        [found] = await run()
        assert (found["event_type"], found["changes"]) == ("calendar.created", ["created"])
        assert service.counts.reconciled == {"calendar.created": 1}

        async def seen() -> str:
            file = tmp_path / "plugins" / "seen"
            return file.read_text() if file.exists() else ""

        assert await eventually(seen) == "calendar.created reconcile\n"
        assert await run() == []


async def test_a_webhook_that_comes_after_all_is_no_news(tmp_path: Path, run: Run) -> None:
    """It is recorded, its runs as skipped; a later one that happens to say the same is handed on."""
    async with vendor(tmp_path) as (_, klen), Service(load_config(tmp_path / "config.toml")) as service:
        made = await book(klen)
        await run()
        details = (await klen.event(made.uuid or "")).raw
        content = {key: details[key] for key in ("id", "uuid", "title", "status", "start_time", "end_time")}

        async def deliver(kind: str, seconds: int) -> None:
            moment = datetime.fromisoformat(details["created_at"]) + timedelta(seconds=seconds)
            body = {"event_type": kind, "calendar_event": content, "timestamp": moment.isoformat()}
            assert (await post(service.port, json.dumps(body).encode())).status == 200

        await deliver("calendar.created", 1)
        await deliver("calendar.updated", 2)
        await deliver("calendar.created", 86_400)

        async def states() -> Any:
            found = [
                one.runs.get("note") async for one in service.log.stream(Selection(after_seq=0, limit=0))
            ]
            return found if len(found) == 4 and not {None, "pending", "running"} & set(found) else None

        assert await eventually(states) == ["done", "skipped", "done", "done"]


async def test_it_runs_by_the_clock(tmp_path: Path) -> None:
    """What is missed while the service runs is found by itself; what was there before the log is none."""
    async with vendor(tmp_path, '[reconcile]\nevery = "1s"') as (_, klen):
        await book(klen, 1, title="Before")
        await asyncio.sleep(0.01)
        async with Service(load_config(tmp_path / "config.toml")) as service:
            await book(klen, 2, title="Missed")

            async def found() -> Any:
                return [one async for one in service.log.stream(Selection(limit=0))]

            assert [event.title for event in await eventually(found)] == ["Missed"]


async def test_it_catches_up_after_a_silence(tmp_path: Path) -> None:
    """A log that heard nothing for longer than the vendor retries is compared at the start."""

    class Later(SystemClock):
        def now_ms(self) -> int:
            return super().now_ms() + 40 * 60_000

    async with vendor(tmp_path) as (sandbox, klen):
        config = load_config(tmp_path / "config.toml")
        async with Service(config) as service:
            sandbox.register(f"http://127.0.0.1:{service.port}/webhooks/klen", secret=SECRET)
            await book(klen, 1)
            await sandbox.idle()
        for webhook_ in sandbox.webhooks:
            sandbox.webhooks.delete(webhook_)
        await book(klen, 2, title="Missed")
        for clock, expected in ((SystemClock(), 1), (Later(), 2)):
            async with Service(config, clock=clock) as service:
                await asyncio.sleep(0.3)

                async def enough(service: Service = service, expected: int = expected) -> bool:
                    return await service.log.count(Selection()) == expected

                await eventually(enough)


async def recorder(log: EventLog, klen: Klen, **options: Any) -> tuple[Recorder, Reconciliation]:
    clock = SystemClock()
    comparison = Reconciliation(log, klen, "klen", Window.around(clock.now_ms()), clock, **options)

    async def nothing(_kinds: Any) -> None:
        pass

    number = await begin(log, comparison)
    return Recorder(log, comparison, number, requests=lambda: 0, on_events=nothing), comparison


async def test_an_interrupted_one_goes_on(tmp_path: Path, run: Run) -> None:
    """What was found is kept, with the place to go on from; the next one asks for the rest and ends it."""

    class Broken(Klen):
        asked = 0

        async def event(self, event_id: str | int) -> Any:
            Broken.asked += 1
            if Broken.asked > 15:
                raise KlenError("gone away")
            return await super().event(event_id)

    async with vendor(tmp_path) as (_, klen):
        for hours in range(1, 31):
            await book(klen, hours)
        log = await open_log(f"sqlite:///{tmp_path}/klenhook.db")
        try:
            first, _ = await recorder(log, Broken(klen._transport))
            with pytest.raises(KlenError, match="gone away"):
                await first.record()
            [record] = await log.reconciliations()
            assert (record.finished_at, record.error, record.found) == (None, "KlenError", 10)
        finally:
            await log.aclose()
        assert len(await run()) == 30  # the whole loss, also what the first part has found
        asked = klenhook(tmp_path, "log", "sql", "--json", "SELECT * FROM reconciliations")
        ended = json.loads(asked.stdout)
        assert (ended["reconciliation_id"], ended["found"], ended["error"]) == (1, 30, None)
        assert ended["compared"] == 30
        assert ended["finished_at"] is not None


async def test_a_webhook_that_comes_in_between_is_not_overwritten(tmp_path: Path) -> None:
    """What was compared before it came is refused by the log, compared again, and is nothing missed then."""

    class Slow(Klen):
        port = 0

        async def event(self, event_id: str | int) -> Any:
            details = await super().event(event_id)
            body = {"event_type": "calendar.created", "calendar_event": details.raw}
            body["timestamp"] = details.raw["updated_at"]
            assert (await post(self.port, json.dumps(body).encode())).status == 200
            return details

    async with vendor(tmp_path) as (_, klen):
        await book(klen)
        async with Service(load_config(tmp_path / "config.toml")) as service:
            slow = Slow(klen._transport)
            slow.port = service.port
            late, _ = await recorder(service.log, slow)
            await late.record()
            [event] = [one async for one in service.log.stream(Selection(limit=0))]
            assert (event.origin, event.deliveries) == ("webhook", 2)


async def test_the_vendors_limit_is_kept(tmp_path: Path) -> None:
    """Too many requests are waited for, as long as the vendor says, and nothing is missed by that."""
    async with vendor(tmp_path, per_minute=12) as (_, klen):
        for hours in range(1, 5):
            await book(klen, hours)
        log = await open_log(f"sqlite:///{tmp_path}/klenhook.db")
        try:
            limited, _ = await recorder(log, klen)
            with pytest.raises(KlenError, match="rate_limit_exceeded"):
                await limited.record()
            [record] = await log.reconciliations()
            assert (record.error, record.finished_at) == ("RateLimited", None)
        finally:
            await log.aclose()


async def test_a_vendor_that_cannot_be_asked_is_said(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1 with the reason; 2 without a key, and for dates that are none."""
    monkeypatch.setattr(transport, "_backoff", wait_none())
    async with vendor(tmp_path) as (sandbox, _):
        pass
    assert sandbox.port
    await run(status=1)
    for wrong in (["--from", "soon"], ["--from", "2025-05-02", "--to", "2025-05-01"], ["--source", "x"]):
        await run(*wrong, status=2)
    text = (tmp_path / "config.toml").read_text().replace(KEY, "")
    (tmp_path / "config.toml").write_text(text)
    await run(status=2)


async def test_two_at_once_are_one(tmp_path: Path) -> None:
    """Commands beside each other, while the service has the log, find each event once."""
    async with vendor(tmp_path) as (_, klen), Service(load_config(tmp_path / "config.toml")) as service:
        for hours in range(1, 4):
            await book(klen, hours)
        await asyncio.gather(apart(tmp_path), apart(tmp_path))
        assert await service.log.count(Selection()) == 3


async def test_what_was_forgotten_stays_forgotten(tmp_path: Path, run: Run) -> None:
    """A person's appointment that the log has emptied is not filled again from the vendor."""
    email = "quentin@xavier.example"
    async with vendor(tmp_path) as (_, klen):
        await book(klen, customer_email=email, customer_name="Quentin Xavier")
        assert len(await run()) == 1
        await asyncio.to_thread(klenhook, tmp_path, "log", "forget", "--customer", email, "--yes")
        assert await run() == []
        assert email not in (tmp_path / "klenhook.db").read_bytes().decode("latin-1")


async def test_killed_in_the_middle(tmp_path: Path) -> None:
    """The next run goes on, and each event is there once, whatever the first one has left."""
    async with vendor(tmp_path) as (_, klen):
        for hours in range(1, 41):
            await book(klen, hours)
        config = tmp_path / "config.toml"
        text = config.read_text()
        config.write_text(text.replace("60_000", "1_200"))
        command = [sys.executable, "-m", "receiver", "reconcile", "--config", str(config)]
        first = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        async def half_way() -> bool:
            if not (tmp_path / "klenhook.db").exists():
                return False
            asked = await asyncio.to_thread(klenhook, tmp_path, "log", "list", "--count")
            return int(asked.stdout) >= 10

        await eventually(half_way)
        first.kill()
        await first.wait()
        config.write_text(text)
        found = await apart(tmp_path)
        assert len(found) == len({one["calendar_event_uuid"] for one in found}) == 40
        assert await apart(tmp_path) == []
    assert len(records(tmp_path)) == 40


async def test_an_interrupted_one_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    """What the clock began does not become a search for everything, nor the other way round."""
    async with vendor(tmp_path) as (_, klen):
        await book(klen)
        log = await open_log(f"sqlite:///{tmp_path}/klenhook.db")
        try:
            later = SystemClock().now_ms() + 60_000
            by_clock, comparison = await recorder(log, klen, since_ms=later)
            await by_clock._commit()
            again, _ = await recorder(log, klen, since_ms=later)
            by_hand, _ = await recorder(log, klen)
            assert (again.number, by_hand.number) == (by_clock.number, by_clock.number + 1)
            await by_clock.record()
            await by_hand.record()
            assert (comparison.progress.found, by_hand.progress.found) == (0, 1)
        finally:
            await log.aclose()
