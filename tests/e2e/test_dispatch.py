"""From a stored event to a handler's run: real plugins, a real log, real time."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from receiver import logs
from storage.records import Selection
from tests.support.klen import UUID, distinct, exchange, post, request, webhook
from tests.support.service import running, write_plugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from receiver.service import Service
    from storage.records import EventDetail

FAST = "[dispatch]\nretry = {tries = 3, base = 0.01, cap = 0.05}\ntimeout_seconds = 0.5\n"


async def settled(
    service: Service,
    event_id: str,
    done: Callable[[EventDetail], bool] | None = None,
    *,
    seconds: float = 10,
) -> EventDetail:
    """The event, once all its runs have come to an end."""
    finished = ("done", "discarded", "dead", "skipped")
    async with asyncio.timeout(seconds):
        while True:
            detail = await service.log.get(event_id)
            assert detail is not None
            if done(detail) if done else detail.runs and all(run.state in finished for run in detail.runs):
                return detail
            await asyncio.sleep(0.02)


async def sent(service: Service, body: bytes) -> str:
    answer = await post(service.port, body)
    assert answer.status == 200
    return str(answer.json["event_id"])


def plugin(body: str, decorator: str = "@on(CalendarCreated)") -> str:
    return (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from receiver import AnyEvent, CalendarCreated, CalendarUpdated, Context, Discard, Retry, UnknownEvent, on\n"
        "effects = Path(__file__).with_name('effects')\n"
        "def note(*words):\n"
        "    with effects.open('a') as file: print(*words, file=file)\n"
        f"{decorator}\n{body}"
    )


def effects(folder: Path) -> list[str]:
    path = folder / "plugins" / "effects"
    return path.read_text().splitlines() if path.exists() else []


async def test_the_first_plugin_of_the_manual_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three lines in a file of the plugins folder are a handler."""
    write_plugin(
        tmp_path,
        "from receiver import CalendarCreated, on\n"
        "@on(CalendarCreated)\n"
        "async def hello(event: CalendarCreated) -> None:\n"
        "    print('booked:', event.calendar_event.title)\n",
    )
    async with running(tmp_path) as service:
        detail = await settled(service, await sent(service, webhook()))

    assert detail.record.runs == {"hello": "done"}
    assert "booked: Client Meeting" in capsys.readouterr().out


async def test_only_interested_handlers_get_a_run(tmp_path: Path) -> None:
    """By class, by base class, and by `where`."""
    write_plugin(
        tmp_path,
        plugin(
            "async def created(event): pass\n"
            "@on(CalendarUpdated)\nasync def updated(event): pass\n"
            "@on(AnyEvent)\nasync def everything(event): pass\n"
            "@on(UnknownEvent)\nasync def unknown(event): pass\n"
            "@on(CalendarCreated, where=lambda event: event.calendar_event.title == 'Client Meeting')\n"
            "async def chosen(event): pass\n"
            "@on(CalendarCreated, where=lambda event: event.nothing.of.the.kind)\nasync def broken_where(event): pass\n"
        ),
    )
    async with running(tmp_path) as service:
        first = await settled(service, await sent(service, webhook()))
        second = await settled(service, await sent(service, webhook(title="Another")))
        odd = await settled(service, await sent(service, b'{"event_type": "calendar.created"}'))

    assert {"created", "everything", "chosen", "broken_where"} == set(first.record.runs)
    assert {"created", "everything", "broken_where"} == set(second.record.runs)
    assert {"everything", "unknown"} == set(odd.record.runs)


@pytest.mark.parametrize("places", [1, 3, 32])
async def test_many_handlers_share_the_places(tmp_path: Path, places: int) -> None:
    """Each has its turn, also if there are fewer places than handlers, and one of them is slow."""
    fast = "".join(f"@on(AnyEvent)\nasync def fast{number}(event): pass\n" for number in range(12))
    write_plugin(
        tmp_path, plugin(f"async def slow(event): await asyncio.sleep(0.1)\n{fast}", "@on(AnyEvent)")
    )
    async with running(tmp_path, f"[dispatch]\nconcurrency = {places}\n") as service:
        events = [await sent(service, distinct()) for _ in range(16)]
        details = [await settled(service, event, seconds=30) for event in events]

    assert [len(detail.runs) for detail in details] == [13] * 16


async def test_a_plain_function_runs_beside_the_service(tmp_path: Path) -> None:
    """A blocking handler does not hold up the next answer."""
    write_plugin(tmp_path, plugin("def slow(event):\n    time.sleep(0.4)\n    note('slow')\n"))
    async with running(tmp_path) as service:
        event_id = await sent(service, webhook())
        await asyncio.sleep(0.1)
        async with asyncio.timeout(0.25):
            await sent(service, distinct("calendar.updated"))
        await settled(service, event_id)

    assert effects(tmp_path) == ["slow"]


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.parametrize(
    "statement",
    [
        "raise ValueError('john.smith@example.com')",
        "sys.exit(3)",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "raise StopIteration",
        "raise MemoryError",
        "raise type('Mine', (BaseException,), {})",
        "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})",
        "raise asyncio.CancelledError",
        "raise TimeoutError",
        "(lambda f: f(f))(lambda f: f(f))",
    ],
)
async def test_whatever_a_handler_raises_is_a_failed_attempt(
    tmp_path: Path, kind: str, statement: str
) -> None:
    """It is tried again by policy and then dead; the service and the other handler go on."""
    write_plugin(
        tmp_path,
        plugin(
            f"{kind} bad(event):\n    {statement}\n@on(CalendarCreated)\nasync def good(event): note('good')\n"
        ),
    )
    async with running(tmp_path, FAST) as service:
        detail = await settled(service, await sent(service, webhook()))

    assert detail.record.runs == {"bad": "dead", "good": "done"}
    assert effects(tmp_path) == ["good"]
    [bad] = [run for run in detail.runs if run.handler == "bad"]
    assert [attempt.outcome for attempt in bad.attempts] == ["retrying", "retrying", "dead"]
    assert all(attempt.error for attempt in bad.attempts)


async def test_retry_and_discard_are_verbs(tmp_path: Path) -> None:
    """`Retry` comes again and spends no try; `Discard` never comes again."""
    write_plugin(
        tmp_path,
        plugin(
            "async def again(event, ctx: Context):\n"
            "    if ctx.attempt < 6: raise Retry(after=0.01, reason='not yet')\n"
            "    note(ctx.attempt, ctx.idempotency_key)\n"
            "@on(CalendarCreated)\nasync def never(event): raise Discard('not ours')\n"
        ),
    )
    async with running(tmp_path, FAST) as service:
        event_id = await sent(service, webhook())
        detail = await settled(service, event_id)

    assert detail.record.runs == {"again": "done", "never": "discarded"}
    assert [f"6 {event_id}:again"] == effects(tmp_path)


@pytest.mark.parametrize(
    "kind", ["async def slow(event):\n    await asyncio.sleep(30)", "def slow(event):\n    time.sleep(2)"]
)
async def test_a_handler_over_its_time_is_a_failed_attempt(tmp_path: Path, kind: str) -> None:
    """The timeout ends the attempt, for async and plain functions."""
    write_plugin(tmp_path, plugin(f"{kind}\n", "@on(CalendarCreated, timeout=0.1)"))
    async with running(tmp_path, FAST) as service:
        detail = await settled(service, await sent(service, webhook()))

    assert detail.record.runs["slow"] == "dead"
    assert detail.runs[0].attempts[0].error == "TimeoutError: it took longer than 0.1 s."


async def test_runs_of_one_calendar_event_keep_their_order(tmp_path: Path) -> None:
    """Also when earlier ones fail first; other calendar events do not wait."""
    write_plugin(
        tmp_path,
        plugin(
            "async def ordered(event, ctx: Context):\n"
            "    title = event.calendar_event.title\n"
            "    if title == 'n0' and ctx.attempt < 3: raise ValueError\n"
            "    note(title)\n",
        ),
    )
    async with running(tmp_path, "[dispatch]\nretry = {tries = 5, base = 0.3, cap = 0.3}\n") as service:
        for number in range(5):
            await sent(service, webhook(title=f"n{number}"))
        await sent(service, webhook(title="free", uuid="0b0bc1a1-58cc-4372-a567-0e02b2c3d479", id=7))
        [*_, last] = [
            record async for record in service.log.stream(Selection(calendar_event=UUID, after_seq=0))
        ]
        await settled(service, last.event_id)

    noted = effects(tmp_path)
    assert [f"n{number}" for number in range(5)] == [line for line in noted if line != "free"]
    assert "free" in noted


async def test_concurrency_is_limited_together_and_per_handler(tmp_path: Path) -> None:
    """No more calls at once than `[dispatch] concurrency`, nor than the handler's own."""
    write_plugin(
        tmp_path,
        plugin(
            "async def wide(event): await work('wide')\n"
            "@on(CalendarCreated, concurrency=2)\nasync def narrow(event): await work('narrow')\n"
            "running = {'wide': 0, 'narrow': 0}\n"
            "async def work(name):\n"
            "    running[name] += 1\n"
            "    note(name, running['wide'], running['narrow'])\n"
            "    await asyncio.sleep(0.05)\n"
            "    running[name] -= 1\n"
        ),
    )
    async with running(tmp_path, "[dispatch]\nconcurrency = 6\n") as service:
        ids = [await sent(service, distinct()) for _ in range(40)]
        for event_id in ids:
            await settled(service, event_id)

    seen = [tuple(map(int, re.findall(r"\d+", line))) for line in effects(tmp_path)]
    assert len(seen) == 80
    assert max(narrow for _, narrow in seen) == 2
    assert max(wide + narrow for wide, narrow in seen) == 6


async def test_paused_and_disabled_handlers(tmp_path: Path) -> None:
    """A paused handler's runs wait; a disabled one gets none."""
    write_plugin(
        tmp_path,
        plugin("async def paused(event): pass\n@on(CalendarCreated)\nasync def off(event): pass\n"),
    )
    tables = "[handlers.paused]\npaused = true\n[handlers.off]\nenabled = false\n"
    async with running(tmp_path, tables) as service:
        event_id = await sent(service, webhook())
        await settled(service, event_id, lambda detail: bool(detail.runs))
        await asyncio.sleep(0.2)
        detail = await service.log.get(event_id)

    assert detail is not None
    assert detail.record.runs == {"paused": "pending"}


async def test_settings_reach_the_handler(tmp_path: Path) -> None:
    """`[handlers.<name>]` fills the Settings class of the second parameter."""
    write_plugin(
        tmp_path,
        "from receiver import CalendarCreated, Context, Settings, on\n"
        "from pathlib import Path\n"
        "class Greeting(Settings):\n    word: str\n"
        "@on(CalendarCreated)\n"
        "async def greet(event: CalendarCreated, ctx: Context[Greeting]) -> None:\n"
        "    Path(__file__).with_name('effects').write_text(ctx.settings.word)\n",
    )
    async with running(tmp_path, '[handlers.greet]\nword = "Grüezi"\n') as service:
        await settled(service, await sent(service, webhook()))

    assert effects(tmp_path) == ["Grüezi"]


async def test_a_broken_plugin_is_named_and_intake_goes_on(tmp_path: Path) -> None:
    """`/readyz` stays 200 and says degraded; the other plugins run."""
    write_plugin(tmp_path, "import nothing_like_this\n", "broken")
    write_plugin(tmp_path, plugin("async def fine(event): pass\n"), "fine")
    async with running(tmp_path) as service:
        detail = await settled(service, await sent(service, webhook()))
        ready = await exchange(service.port, request(method="GET", path="/readyz"))

    assert detail.record.runs == {"fine": "done"}
    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert ready.json["broken_plugins"][0]["file"] == "broken.py"


async def test_an_unwanted_type_logs_its_handler_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines can be pasted; the second event of the type says nothing."""
    logs.configure("info", "console")
    async with running(tmp_path) as service:
        for _ in range(3):
            await sent(service, distinct("calendar.reminder"))
        async with asyncio.timeout(5):
            while (await service.log.status()).unrouted:
                await asyncio.sleep(0.02)

    told = capsys.readouterr().err
    assert told.count("@on(CalendarReminder)") == 1


async def test_stopping_gives_handlers_their_grace_and_then_their_runs_back(tmp_path: Path) -> None:
    """A short run ends; a long one waits in the log for the next start, no try spent."""
    write_plugin(
        tmp_path,
        plugin(
            "async def short(event): await asyncio.sleep(0.3); note('short')\n"
            "@on(CalendarCreated)\nasync def long(event): await asyncio.sleep(30)\n"
            "@on(CalendarCreated)\nasync def deaf(event):\n"
            "    while True:\n"
            "        try: await asyncio.sleep(30)\n"
            "        except asyncio.CancelledError: pass\n"
        ),
    )
    grace = "[dispatch]\nshutdown_grace_seconds = 0.6\ntimeout_seconds = 60\n"
    async with running(tmp_path, grace) as service:
        event_id = await sent(service, webhook())
        await settled(service, event_id, lambda detail: {run.state for run in detail.runs} == {"running"})
    for task in asyncio.all_tasks():
        if task.get_name().startswith("deaf"):
            task.get_coro().close()  # nothing else ends this one

    assert effects(tmp_path) == ["short"]
    async with running(
        tmp_path, "[handlers.long]\npaused = true\n[handlers.deaf]\npaused = true\n"
    ) as service:
        detail = await service.log.get(event_id)
    assert detail is not None
    assert detail.record.runs == {"short": "done", "long": "retrying", "deaf": "retrying"}
    assert {"stopped"} == {a.outcome for run in detail.runs if run.handler != "short" for a in run.attempts}


async def test_what_a_crash_left_running_is_taken_up_at_the_next_start(tmp_path: Path) -> None:
    """The attempt that died counts, and the next one is the second."""
    write_plugin(tmp_path, plugin("async def twice(event, ctx: Context): note(ctx.attempt)\n"))
    async with running(tmp_path, "[handlers.twice]\npaused = true\n") as service:
        event_id = await sent(service, webhook())
        await settled(service, event_id, lambda detail: bool(detail.runs))
        claimed = await service.log.claim("another process", {"twice": 1}, now_ms=2**42)
        assert len(claimed) == 1
    async with running(tmp_path) as service:
        detail = await settled(service, event_id)

    assert effects(tmp_path) == ["2"]
    assert [(a.attempt, a.outcome) for a in detail.runs[0].attempts] == [(1, "lost"), (2, "done")]


def states(detail: EventDetail) -> set[tuple[str, str]]:
    return {(run.handler, run.state) for run in detail.runs}


async def until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def test_runs_of_new_events_are_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler with nothing to do gets its run when that is made; the log is asked for what waits in line."""
    write_plugin(tmp_path, plugin("async def wanted(event):\n    note(event.calendar_event.title)\n"))
    async with running(tmp_path, FAST) as service:
        await settled(service, await sent(service, distinct()))
        found = []
        claim = service.log.claim

        async def watched(*arguments: Any, **more: Any) -> Any:
            claimed = await claim(*arguments, **more)
            found.extend(claimed)
            return claimed

        monkeypatch.setattr(service.log, "claim", watched)
        for _ in range(5):
            await settled(service, await sent(service, distinct()))
        assert found == []
        ids = [await sent(service, webhook(title=f"Title {number}")) for number in range(3)]
        details = [await settled(service, event_id) for event_id in ids]

    assert [detail.runs[0].attempts[0].outcome for detail in details] == ["done"] * 3
    assert effects(tmp_path)[-3:] == [f"Title {number}" for number in range(3)]


async def test_a_quick_handler_that_begins_to_hang_holds_up_no_other(tmp_path: Path) -> None:
    """Routing waits for those that were quick so far, but not long."""
    write_plugin(
        tmp_path,
        plugin(
            "async def hangs(event):\n"
            "    note('hangs')\n"
            "    if Path(__file__).with_name('hang').exists(): await asyncio.sleep(60)\n"
            "@on(CalendarCreated, name='other')\n"
            "async def other(event):\n    note('other')\n",
            "@on(CalendarCreated, concurrency=1, timeout=60)",
        ),
    )
    async with running(tmp_path, "[dispatch]\nshutdown_grace_seconds = 0\n") as service:
        for _ in range(20):
            await asyncio.gather(*(sent(service, distinct()) for _ in range(25)))
        await until(lambda: len(effects(tmp_path)) == 1_000, seconds=30)
        assert service._workers._dispatcher._places.is_quick("hangs")
        (tmp_path / "plugins" / "hang").touch()

        for _ in range(4):
            await asyncio.gather(*(sent(service, distinct()) for _ in range(25)))
        await until(lambda: effects(tmp_path).count("other") == 600)
        for _ in range(20):  # now little comes in
            event_id = await sent(service, distinct())
            await settled(service, event_id, lambda detail: ("other", "done") in states(detail))

    assert effects(tmp_path).count("hangs") == 501


async def test_what_was_made_ours_at_a_stop_waits_for_the_next_start(tmp_path: Path) -> None:
    """However far it had got: each event is handled in the end, and no try is spent."""
    write_plugin(tmp_path, plugin("async def wanted(event):\n    note(event.event_id)\n"))
    ids: list[str] = []
    for _ in range(3):
        async with running(tmp_path, FAST) as service:
            ids += await asyncio.gather(*(sent(service, distinct()) for _ in range(40)))
    async with running(tmp_path, FAST) as service:
        details = [await settled(service, event_id) for event_id in ids]
        assert (await service.log.status()).runs == {"done": 120}

    assert set(effects(tmp_path)) == set(ids)
    assert {attempt.outcome for detail in details for attempt in detail.runs[0].attempts} <= {
        "done",
        "stopped",
    }


async def test_a_retry_is_found_while_another_handler_has_much_to_do(tmp_path: Path) -> None:
    """What is due is looked for each second, also when something else wakes the dispatcher all the time."""
    write_plugin(
        tmp_path,
        plugin(
            "async def late(event, ctx):\n"
            "    if ctx.attempt == 1: raise Retry(after=1.5)\n"
            "    note('late')\n"
            "@on(CalendarUpdated, name='busy')\n"
            "async def busy(event):\n    note('busy')\n"
        ),
    )
    async with running(tmp_path) as service:
        event_id = await sent(service, webhook())
        while "late" not in effects(tmp_path):
            await sent(service, webhook("calendar.updated", title=f"{len(effects(tmp_path))}"))
            await asyncio.sleep(0.1)
            assert len(effects(tmp_path)) < 100
        await settled(service, event_id)


async def noted(folder: Path, count: int) -> None:
    await until(lambda: len(effects(folder)) == count)


@pytest.fixture
def no_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found is found by hints alone."""
    monkeypatch.setattr("receiver.sweep.SECONDS", 60.0)


@pytest.mark.usefixtures("no_sweep")
@pytest.mark.parametrize("where", ["", ", where=lambda event: True"])
async def test_room_that_is_kept_for_others_is_given_back(tmp_path: Path, where: str) -> None:
    """A run that was not ours at once is asked for, not left for a sweep."""
    write_plugin(
        tmp_path,
        plugin(
            "async def other(event):\n    pass\n"
            f"@on(CalendarCreated, name='wanted'{where})\n"
            "async def wanted(event):\n    note('wanted')\n",
            "@on(CalendarUpdated)",
        ),
    )
    async with running(tmp_path) as service:
        for number in range(5):
            await asyncio.gather(*(sent(service, distinct()) for _ in range(number + 1)))
            await settled(service, await sent(service, distinct()))


@pytest.mark.usefixtures("no_sweep")
async def test_a_place_that_gets_free_is_given_to_whoever_waits(tmp_path: Path) -> None:
    """Also if the one that had it wants no other."""
    write_plugin(
        tmp_path,
        plugin(
            "async def long(event):\n    note('began')\n    await asyncio.sleep(0.3)\n"
            "@on(CalendarCreated)\nasync def wanted(event):\n    pass\n",
            "@on(CalendarUpdated)",
        ),
    )
    async with running(tmp_path, "[dispatch]\nconcurrency = 2\n") as service:
        for number in range(3):
            for part in range(2):
                await sent(service, webhook("calendar.updated", id=10 * number + part + 500, uuid=None))
                await noted(tmp_path, 2 * number + part + 1)
            await settled(service, await sent(service, distinct()))
            await asyncio.sleep(0.4)  # now nothing is under way


@pytest.mark.usefixtures("no_sweep")
async def test_an_attempt_that_came_to_nothing_is_made_again(tmp_path: Path) -> None:
    """Two runs that read one key: the one that comes too late is due again, and is asked for."""
    write_plugin(
        tmp_path,
        plugin(
            "async def counts(event, ctx):\n"
            "    known = await ctx.store.get('n') or 0\n"
            "    await asyncio.sleep(0.1)\n"
            "    ctx.store.set('n', known + 1)\n",
            "@on(CalendarCreated, ordered=False)",
        ),
    )
    async with running(tmp_path) as service:
        ids = await asyncio.gather(*(sent(service, distinct()) for _ in range(3)))
        details = [await settled(service, event_id) for event_id in ids]
        assert (await service.log.stored("counts", "n")).value == "3"

    assert "conflict" in {attempt.outcome for detail in details for attempt in detail.runs[0].attempts}


async def test_what_is_due_comes_before_what_is_about_to_be_made(tmp_path: Path) -> None:
    """No room is kept for new runs while a handler that could begin has not been asked about."""
    write_plugin(
        tmp_path,
        plugin(
            "async def one(event):\n    pass\n@on(CalendarCreated)\nasync def other(event):\n    pass\n",
            "@on(CalendarUpdated)",
        ),
    )
    async with running(tmp_path) as service:
        dispatcher = service._workers._dispatcher
        await until(lambda: dispatcher._caught_up == {"one", "other"})
        before = dispatcher.reserve()
        dispatcher.take(before, [])

        dispatcher.wake({"other"})

        assert before.capacity == {"one": 16, "other": 16}
        assert dispatcher.reserve().capacity == {}
        await until(lambda: dispatcher._caught_up == {"one", "other"})
        assert sum(dispatcher.reserve().capacity.values()) == 32
