"""`/metrics` of the private listener: what it counts, what it costs, and what never gets into it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from receiver.metrics import METRICS
from storage import open_log
from tests.support.klen import exchange, headers, post, request, webhook
from tests.support.logs import new_event, route_all
from tests.support.ops import TOKEN, ask, listening
from tests.support.service import running

if TYPE_CHECKING:
    from receiver.service import Service

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = """
from receiver import CalendarCancelled, CalendarCreated, Discard, RetryPolicy, on

@on(CalendarCreated)
async def hello(event): pass

@on(CalendarCreated)
async def posts(event, ctx): ctx.outbox.post("http://127.0.0.1:9/", json={})

@on(CalendarCancelled, retry=RetryPolicy(tries=1))
async def fails(event): raise ValueError("of john.smith@example.com")

@on(CalendarCancelled)
def gives_up(event): raise Discard("why")
"""

Figures = dict[str, dict[tuple[str, ...], float]]


async def scrape(port: int) -> Figures:
    """Every sample: its name, then the values of its labels."""
    answer = await ask(port, "GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    figures: Figures = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            figures.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return figures


def counted(figures: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """Without what has not happened."""
    return {labels: value for labels, value in figures.items() if value}


async def settled(service: Service) -> None:
    """Until nothing is under way any more."""
    async with asyncio.timeout(10):
        while not service.counts.events or any(service.counts.unfinished.values()):
            await asyncio.sleep(0.02)


async def test_what_happened_is_counted(tmp_path: Path) -> None:
    """Deliveries by outcome, events by type, attempts by handler and state, messages, times and batches."""
    async with listening(tmp_path, plugin=PLUGIN) as (service, port):
        await post(service.port, webhook())
        await post(service.port, webhook())
        await post(service.port, webhook("calendar.cancelled"))
        await post(service.port, webhook("evil\n{}", title="Évil \u2028"))
        await exchange(service.port, request(b"{}", {"X-Klen-Signature": "0" * 64}))
        await exchange(service.port, request(b"x", headers(b"x")))
        await exchange(service.port, request(path="/elsewhere", method="GET"))
        await settled(service)
        async with asyncio.timeout(10):
            while not service.counts.messages:
                await asyncio.sleep(0.02)
        found = await scrape(port)
        wal = (tmp_path / "klenhook.db-wal").stat().st_size

    outcomes = {"accepted": 3, "duplicate": 1, "invalid_signature": 1, "invalid_json": 1, "not_found": 1}
    assert counted(found["klenhook_deliveries_total"]) == {
        (name,): number for name, number in outcomes.items()
    }
    events = {key[0]: value for key, value in found["klenhook_events_total"].items()}
    assert events == {"calendar.created": 1, "calendar.cancelled": 1, "unknown": 1}
    assert counted(found["klenhook_runs_total"]) == {
        ("hello", "done"): 1,
        ("posts", "done"): 1,
        ("fails", "dead"): 1,
        ("gives_up", "discarded"): 1,
    }
    assert found["klenhook_unfinished_runs"] == {(n,): 0 for n in ("hello", "posts", "fails", "gives_up")}
    assert counted(found["klenhook_messages_total"]) == {("posts", "retrying"): 1}
    assert found["klenhook_handler_seconds_count"] == dict.fromkeys(found["klenhook_unfinished_runs"], 1)
    assert found["klenhook_answer_seconds_count"] == {(): 6}
    assert found["klenhook_batch_rows_count"] == found["klenhook_sync_seconds_count"]
    assert found["klenhook_batch_rows_sum"][()] >= found["klenhook_batch_rows_count"][()] > 0
    assert (found["klenhook_log_writable"], found["klenhook_unrouted_events"]) == ({(): 1}, {(): 0})
    assert found["klenhook_wal_bytes"] == {(): wal}
    assert found["klenhook_disk_free_bytes"][()] > 0


async def test_what_can_happen_is_there_before_it_does(tmp_path: Path) -> None:
    """Counters begin at 0 with every label they can have, or the first dead run would be no increase."""
    async with listening(tmp_path, plugin=PLUGIN) as (service, port):
        before = await scrape(port)
        await post(service.port, webhook("calendar.cancelled"))
        await settled(service)
        after = await scrape(port)

    assert before["klenhook_runs_total"][("fails", "dead")] == 0
    for name in ("deliveries", "runs", "messages", "reloads", "reconciled", "overdue", "log_examinations"):
        assert set(after[f"klenhook_{name}_total"]) == set(before[f"klenhook_{name}_total"])


async def test_skipped_runs_are_not_unfinished(tmp_path: Path) -> None:
    """An event that is older than what is known is skipped by handlers that say nothing else, and counted so."""
    plugin = "from receiver import CalendarUpdated, on\n@on(CalendarUpdated)\nasync def hello(event): pass\n"
    async with listening(tmp_path, plugin=plugin) as (service, port):
        for minute in (30, 20):
            body = webhook("calendar.updated", timestamp=f"2025-05-01T10:{minute}:00.000Z", title=f"{minute}")
            await post(service.port, body)
        async with asyncio.timeout(10):
            while service.counts.events.total() < 2 or any(service.counts.unfinished.values()):
                await asyncio.sleep(0.02)
        found = await scrape(port)

    assert counted(found["klenhook_runs_total"]) == {("hello", "done"): 1, ("hello", "skipped"): 1}
    assert found["klenhook_unfinished_runs"] == {("hello",): 0}


async def test_nothing_of_a_request_gets_into_the_page(tmp_path: Path) -> None:
    """Types that we do not know, names, addresses, ids and exceptions are not in it."""
    async with listening(tmp_path, plugin=PLUGIN) as (service, port):
        answers = [await post(service.port, webhook("calendar.cancelled"), delivery_id="delivery-77")]
        answers.append(await post(service.port, webhook("made.up")))
        await settled(service)
        page = (await ask(port, "GET", "/metrics")).body.decode()

    for secret in ("made.up", "John", "example.com", "delivery-77", *(a.json["event_id"] for a in answers)):
        assert secret not in page


async def test_the_backlog_of_an_earlier_start_is_counted(tmp_path: Path) -> None:
    """Runs that wait in the log count from the start on, with the age of the oldest that is due."""
    log = await open_log(f"sqlite:///{tmp_path}/klenhook.db")
    try:
        for _ in range(3):
            await log.append(new_event())
        await route_all(log)
    finally:
        await log.aclose()
    async with listening(tmp_path, plugin="") as (_, port):
        found = await scrape(port)

    assert found["klenhook_unfinished_runs"] == {("hello",): 3}
    assert found["klenhook_backlog_age_seconds"][("hello",)] > 3600


async def test_a_log_that_cannot_be_asked_leaves_the_other_figures(tmp_path: Path) -> None:
    """What the service counts itself is told whatever has become of the log."""
    folder = tmp_path / "here"
    folder.mkdir()
    async with listening(folder, plugin="") as (service, port):
        await post(service.port, webhook())
        await settled(service)
        folder.rename(tmp_path / "there")
        found = await scrape(port)
        (tmp_path / "there").rename(folder)

    assert counted(found["klenhook_deliveries_total"]) == {("accepted",): 1}
    assert "klenhook_log_bytes" not in found


async def test_the_public_listener_has_no_metrics(tmp_path: Path) -> None:
    """They are for the operator."""
    async with running(tmp_path) as service:
        assert (await exchange(service.port, request(path="/metrics", method="GET"))).status == 404


async def test_metrics_need_the_token(tmp_path: Path) -> None:
    """As everything that is private."""
    async with listening(tmp_path, token=TOKEN) as (_, port):
        assert (await ask(port, "GET", "/metrics")).status == 401
        assert (await ask(port, "GET", "/metrics", token=f"Bearer {TOKEN}")).status == 200


async def test_the_page_has_what_is_declared(tmp_path: Path) -> None:
    """Every metric of the list is announced with its kind, and none that is not in it, but for the process's."""
    async with listening(tmp_path) as (_, port):
        page = (await ask(port, "GET", "/metrics")).body.decode()
    announced = dict(re.findall(r"^# TYPE (klenhook_\S+) (\S+)$", page, re.MULTILINE))

    assert announced == {metric.name: metric.kind for metric in METRICS}


def test_every_metric_is_documented() -> None:
    """The table in deploy/README.md has each with its labels, and no other."""
    text = (ROOT / "deploy" / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| (`klenhook_.*?) \| (.*?) ?\|", text, re.MULTILINE)
    documented = {
        name: tuple(re.findall(r"`(\w+)`", labels))
        for names, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }

    assert documented == {metric.name: metric.labels for metric in METRICS}
