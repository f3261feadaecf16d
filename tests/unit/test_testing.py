"""The testing kit: sample events, one call of a handler, and the proof that it may be called again."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from receiver import (
    AnyChange,
    AnyEvent,
    CalendarCreated,
    CalendarUpdated,
    CallEnded,
    Changed,
    Confirmed,
    Context,
    CustomerChanged,
    Discard,
    Moved,
    NoShow,
    Rescheduled,
    Retry,
    Settings,
    UnknownEvent,
    on,
)
from receiver.errors import ConfigError, PluginError
from receiver.events import EVENT_TYPES
from receiver.outbound import FailedAnswer, Outbound, Refused
from receiver.testing import (
    ABSENT,
    CHANGES,
    deliver,
    deliver_twice_shuffled,
    load_handler,
    sample,
    samples,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOOK = "https://chat.example.com/hook"


def test_samples_have_every_webhook() -> None:
    """One typed event of every webhook and one of an unknown one, each with an id of its own."""
    assert [type(event) for event in samples()] == [*EVENT_TYPES.values(), UnknownEvent]
    assert len({event.event_id for event in samples()}) == len(samples())


def test_the_same_sample_is_the_same_event() -> None:
    """Ids and times are fixed; another content is another event."""
    assert sample(CalendarCreated) == sample("calendar.created") == sample("created")
    assert sample(CalendarCreated).event_id != sample(CalendarCreated, title="Other").event_id


def test_changes_are_merged() -> None:
    """Paths, nested dicts, times, `kind`, missing keys and the envelope all can be changed; the rest stays."""
    start = datetime(2025, 6, 1, 9, tzinfo=UTC)
    event = sample(
        CalendarCreated,
        {"customer.email": "ada@example.com"},
        customer={"phone": None},
        start_time=start,
        kind="video_call",
        location=ABSENT,
        ai_agent={"name": ABSENT},
        timestamp=start,
        event_id="mine",
    )

    found = event.calendar_event
    assert (found.customer.name, found.customer.email, found.customer.phone) == (
        "John Smith",
        "ada@example.com",
        None,
    )
    assert (found.start_time, found.kind, event.timestamp, event.event_id) == (
        start,
        "video_call",
        start,
        "mine",
    )
    assert event.received_at == start + timedelta(seconds=1)
    assert "location" not in event.raw["calendar_event"]
    assert event.raw["calendar_event"]["ai_agent"] == {"id": 42, "assistant_id": "asst_01234567890"}
    assert sample(CalendarCreated, customer={}).calendar_event.customer.name is None
    assert sample(CallEnded, contact=ABSENT).call.contact is None


def test_every_change_differs_from_what_was_booked() -> None:
    """Each named change is a webhook of its type that says so, and only `rescheduled` has another time."""
    booked = sample("created").raw["calendar_event"]
    for name, (event_type, _) in CHANGES.items():
        event = sample(name)
        assert event.event_type == event_type
        assert (event.calendar_event.time_changed is True) == (name == "rescheduled")
        if event_type == "calendar.updated" and name != "confirmed":
            assert event.raw["calendar_event"] != booked, name
    assert sample("no_show").calendar_event.status == "no_show"
    assert sample("cancelled").calendar_event.reason == "Client requested to reschedule"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("calendar.create", "did you mean calendar.created?"),
        ("zzz", "there are calendar.created"),
        (AnyEvent, "AnyEvent stands for several webhooks"),
    ],
)
def test_what_there_is_no_sample_of(kind: Any, message: str) -> None:
    """A kind that is none is told with the nearest one."""
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        sample(kind)


class Greeting(Settings):
    """Settings of the handler below."""

    text: str
    times: int = 1


@on(CalendarCreated, where=lambda event: event.calendar_event.title != "Private")
async def greet(event: CalendarCreated, ctx: Context[Greeting]) -> None:
    """Counts, and posts a greeting."""
    count = await ctx.store.get("count", 0) + 1
    ctx.store.set("count", count)
    ctx.store.delete("old")
    ctx.outbox.post(
        HOOK, json={"text": ctx.settings.text * ctx.settings.times}, headers={"X-Try": str(ctx.attempt)}
    )
    if event.calendar_event.title == "Later":
        raise Retry(after=60)
    if event.calendar_event.title == "Never":
        raise Discard("not mine")
    if event.calendar_event.title == "Broken":
        sys.exit(3)


async def test_what_is_done_counts() -> None:
    """The store afterwards, what was written, and each message with a key that every delivery of it has."""
    event = sample(CalendarCreated)

    delivered = await deliver(greet, event, settings={"text": "Hi"}, store={"count": 4, "old": 1}, attempt=2)
    again = await deliver(greet, event, settings=Greeting(text="Hi"))

    assert (delivered.outcome, delivered.error) == ("done", None)
    assert delivered.store == {"count": 5}
    assert delivered.writes == {"count": 5, "old": None}
    (message,) = delivered.messages
    assert (message.url, message.json, message.headers) == (HOOK, {"text": "Hi"}, {"X-Try": "2"})
    assert message.key == again.messages[0].key
    assert event.event_id in message.key


@pytest.mark.parametrize(
    ("title", "outcome", "error", "retry_after"),
    [
        ("Later", "retry", Retry, 60.0),
        ("Never", "discarded", Discard, None),
        ("Broken", "failed", SystemExit, None),
        ("Private", "ignored", type(None), None),
    ],
)
async def test_what_is_not_done_changes_nothing(
    title: str, outcome: str, error: type, retry_after: float | None
) -> None:
    """A verb, an exception or a `where` that says no is a result, and nothing that was staged counts."""
    delivered = await deliver(
        greet, sample(CalendarCreated, title=title), settings={"text": "Hi"}, store={"count": 4}
    )

    assert (delivered.outcome, type(delivered.error), delivered.retry_after) == (outcome, error, retry_after)
    assert (delivered.store, delivered.writes, delivered.messages) == ({"count": 4}, {}, ())


async def test_an_event_of_another_kind_is_ignored() -> None:
    """The service would not call it, so neither is it called here."""
    assert (await deliver(greet, sample(CalendarUpdated), settings={"text": "Hi"})).outcome == "ignored"


async def test_a_where_that_fails_lets_the_event_through() -> None:
    """As in the service: rather one event too many."""

    @on(CalendarCreated, where=lambda _event: 1 / 0)
    def anything(_event: CalendarCreated) -> None: ...

    assert (await deliver(anything, sample(CalendarCreated))).outcome == "done"


async def test_a_plain_function_has_the_store() -> None:
    """It runs in a thread, where `ctx.wait` gives what an async handler awaits."""

    @on(CalendarCreated)
    def counts(_event: CalendarCreated, ctx: Context) -> None:
        ctx.store.set("count", ctx.wait(ctx.store.get("count", 0)) + 1)

    assert (await deliver(counts, sample(CalendarCreated), store={"count": 2})).store == {"count": 3}


async def test_time_is_limited() -> None:
    """A handler's timeout holds, for async and for plain functions."""

    @on(CalendarCreated, timeout=0.05)
    async def slow(_event: CalendarCreated) -> None:
        await asyncio.sleep(30)

    delivered = await deliver(slow, sample(CalendarCreated))
    assert (delivered.outcome, type(delivered.error)) == ("failed", TimeoutError)


async def test_stopping_the_test_stops_the_call() -> None:
    """A cancellation from outside is not the handler's result, but its own cancellation is."""
    begun = asyncio.Event()

    @on(CalendarCreated)
    async def waits(event: CalendarCreated) -> None:
        if event.calendar_event.title == "Cancel":
            raise asyncio.CancelledError
        begun.set()
        await asyncio.sleep(30)

    assert (await deliver(waits, sample(CalendarCreated, title="Cancel"))).outcome == "failed"
    task = asyncio.create_task(deliver(waits, sample(CalendarCreated)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_wrong_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No mark, settings of another class, or a table with mistakes: an error that says what was expected."""

    async def unmarked(_event: CalendarCreated) -> None: ...

    event = sample(CalendarCreated)
    with pytest.raises(TypeError, match="@on"):
        await deliver(unmarked, event)
    with pytest.raises(TypeError, match="expected Greeting, found Settings"):
        await deliver(greet, event, settings=Settings())
    with pytest.raises(ConfigError, match=r"handlers.greet.text: required, and missing"):
        await deliver(greet, event)
    monkeypatch.setenv("GREETING_OF_TEST", "Ahoy")
    assert (await deliver(greet, event, settings={"text": "env:GREETING_OF_TEST"})).messages[0].json == {
        "text": "Ahoy"
    }


class Target(Settings):
    """Where the handler below posts to."""

    url: str


@on(CalendarCreated)
async def call_out(_event: CalendarCreated, ctx: Context[Target]) -> None:
    """Posts with ctx.http."""
    (await ctx.http.post(ctx.settings.url, json={})).raise_for_status()


@pytest.fixture(name="busy")
async def _busy() -> AsyncIterator[str]:
    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "7"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_http_reaches_this_machine(busy: str) -> None:
    """A server of the test is reached, and its Retry-After is told."""
    for url in (busy, busy.replace("127.0.0.1", "localhost")):
        delivered = await deliver(call_out, sample(CalendarCreated), settings={"url": url})
        assert (type(delivered.error), delivered.retry_after) == (FailedAnswer, 7.0)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "http://192.0.2.1/",
        "http://127.0.0.1.example.com/",
        "http://localhost@example.com/",
        "http://[::ffff:192.0.2.1]/",
        "nonsense",
    ],
)
async def test_http_reaches_nothing_else(url: str) -> None:
    """No test connects to the outside by accident."""
    delivered = await deliver(call_out, sample(CalendarCreated), settings={"url": url})

    assert (delivered.outcome, type(delivered.error)) == ("failed", Refused)


async def test_another_client_may_be_given() -> None:
    """A client of the test's own is used as it is."""
    async with Outbound(timeout_seconds=1) as http:
        delivered = await deliver(
            call_out, sample(CalendarCreated), settings={"url": "http://127.0.0.1:9/"}, http=http
        )
    assert "which handlers may not reach" in str(delivered.error)


EVENTS = [sample(CalendarCreated), sample("retitled"), sample("rescheduled"), sample("moved")]


async def test_a_handler_that_counts_events_twice_is_found() -> None:
    """The store is compared, and the difference is named."""

    @on(AnyEvent)
    async def counts(_event: AnyEvent, ctx: Context) -> None:
        ctx.store.set("count", await ctx.store.get("count", 0) + 1)

    with pytest.raises(AssertionError, match="store count: 4 became 8"):
        await deliver_twice_shuffled(counts, EVENTS)


async def test_a_handler_that_lets_old_events_win_is_found() -> None:
    """The second pass is in another order, so the last one in is another one."""

    @on(AnyEvent)
    async def last(event: AnyEvent, ctx: Context) -> None:
        ctx.store.set("last", event.event_id)

    for seed in range(10):
        with pytest.raises(AssertionError, match=rf"store last: .*\n.*seed={seed}"):
            await deliver_twice_shuffled(last, EVENTS[:2], seed=seed)


async def test_a_message_that_differs_the_second_time_is_found() -> None:
    """The same key with another content is a difference; the same content is none."""

    @on(AnyEvent)
    async def tells(_event: AnyEvent, ctx: Context) -> None:
        ctx.outbox.post(HOOK, json={"attempt": ctx.attempt})

    @on(AnyEvent)
    async def same(_event: AnyEvent, ctx: Context) -> None:
        ctx.outbox.post(HOOK, json={"attempt": 0})

    with pytest.raises(AssertionError, match=r'message .*"attempt": 1.* became .*"attempt": 2'):
        await deliver_twice_shuffled(tells, EVENTS)
    assert [delivered.outcome for delivered in await deliver_twice_shuffled(same, EVENTS)] == ["done"] * 4


async def test_what_a_handler_does_elsewhere_is_observed() -> None:
    """`observe` tells of effects that klenhook cannot see."""
    lines: list[str] = []

    @on(AnyEvent)
    def appends(event: AnyEvent) -> None:
        lines.append(event.event_id)

    with pytest.raises(AssertionError, match="observed value"):
        await deliver_twice_shuffled(appends, EVENTS[:1], observe=lines.copy)


@pytest.mark.parametrize("fails_at", [1, 2])
async def test_a_call_that_fails_proves_nothing(fails_at: int) -> None:
    """A failure in either pass fails the comparison, with its cause."""

    @on(AnyEvent)
    async def fails(_event: AnyEvent, ctx: Context) -> None:
        if ctx.attempt == fails_at:
            raise OSError("no disk")

    with pytest.raises(AssertionError, match="Nothing can be compared") as raised:
        await deliver_twice_shuffled(fails, EVENTS)
    assert isinstance(raised.value.__cause__, OSError)


def test_a_plugin_is_loaded_by_its_file(tmp_path: Path) -> None:
    """Its one handler, or the one of that name; with shared files beside it, and whatever its own error is."""
    (tmp_path / "_shared.py").write_text("WORD = 'hi'\n")
    one = "from receiver import AnyEvent, on\nfrom ._shared import WORD\n@on(AnyEvent)\ndef one(event): return WORD\n"
    (tmp_path / "json.py").write_text(one)
    (tmp_path / "two.py").write_text(f"{one}@on(AnyEvent, name='other')\ndef two(event): ...\n")
    (tmp_path / "bad.py").write_text("1 / 0\n")

    assert load_handler(tmp_path / "json.py")(None) == "hi"
    assert load_handler(tmp_path / "two.py", "other").__name__ == "two"
    for arguments, message in [
        (("two.py",), "expected one handler, found one, other"),
        (("two.py", "three"), "expected a handler 'three', found one, other"),
        (("_shared.py",), "expected one handler, found none"),
    ]:
        with pytest.raises(PluginError, match=message):
            load_handler(tmp_path / arguments[0], *arguments[1:])
    with pytest.raises(ZeroDivisionError):
        load_handler(tmp_path / "bad.py")
    with pytest.raises(FileNotFoundError):
        load_handler(tmp_path / "none.py")


def test_the_pytest_plugin_is_light() -> None:
    """Having klenhook in an environment does not slow down other suites: nothing heavy, before it is used."""
    code = "import pytest, sys; before = set(sys.modules); import receiver.testing.plugin; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {name for name in run.stdout.split() if not name.startswith("receiver")} == set()


def test_running_klenhook_needs_no_pytest() -> None:
    """The kit and the service load without pytest; only the fixture's file imports it."""
    code = (
        "import sys; sys.modules['pytest'] = None; from receiver import testing\n"
        "for name in testing.__all__: getattr(testing, name)\n"
        "import receiver.service"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_sample_of_a_change() -> None:
    """A class of a change is one, told by its webhook, with what was before and after."""
    moved = sample(Rescheduled)
    assert isinstance(moved, Rescheduled)
    assert (moved.event_type, moved.by) == ("calendar.updated", timedelta(hours=1))
    assert (moved.before.start_time, moved.after.start_time) == (
        datetime(2025, 5, 1, 13, tzinfo=UTC),
        moved.calendar_event.start_time,
    )
    later = sample(Rescheduled, start_time=datetime(2025, 5, 2, 14, tzinfo=UTC))
    assert later.by == timedelta(hours=24)
    assert sample(CustomerChanged).fields == ("customer.name", "customer.email")
    assert sample(CustomerChanged).state.customer.phone == "+15551234567"
    assert sample(Confirmed).before.status == "scheduled"
    with pytest.raises(ValueError, match="nothing has changed that makes it a Moved"):
        sample(Moved, location="Conference Room A")


@pytest.mark.parametrize("name", [name for name in CHANGES if name not in ("created", "reminded")])
def test_every_change_has_its_class(name: str) -> None:
    """What `sample(name)` changes is what its name says, so a handler of that change gets it."""
    assert [change.name for change in sample(name).changes] == [name]


async def test_a_handler_of_a_change_is_delivered_to() -> None:
    """By a sample of the change, or by the webhook that tells it; another one it ignores."""
    seen: list[AnyChange] = []

    @on(Changed("customer"), NoShow)
    async def watch(event: AnyChange) -> None:
        seen.append(event)

    outcomes = [
        (await deliver(watch, event)).outcome
        for event in (sample("no_show"), sample(NoShow), sample("customer_changed"), sample("moved"))
    ]
    assert outcomes == ["done", "done", "done", "ignored"]
    assert [event.change for event in seen] == ["no_show", "no_show", "customer_changed"]


@pytest.mark.parametrize("paths", [(), (5,), ("title", None)])
def test_changed_names_fields(paths: tuple[Any, ...]) -> None:
    """A mistake is told where it is made."""
    with pytest.raises((TypeError, ValueError), match="Changed"):
        Changed(*paths)
