"""What handlers leave behind: stores and messages take effect exactly once, with the run that staged them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.e2e.test_dispatch import plugin, sent, settled
from tests.support.klen import distinct, webhook
from tests.support.service import running, write_plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from receiver.service import Service

FAST = "[dispatch]\nretry = {tries = 6, base = 0.01, cap = 0.05}\n[outbound]\nallow = ['127.0.0.1']\n"


class Target:
    """Another service: it keeps what it was sent, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Callable[[int], web.Response] = lambda _number: web.Response()
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        self.got.append((request.headers["Idempotency-Key"], await request.json()))
        self.headers.append(dict(request.headers))
        return self.answer(len(self.got))


@asynccontextmanager
async def target() -> AsyncIterator[Target]:
    found = Target()
    app = web.Application()
    app.router.add_post("/{path:.*}", found.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def delivered(service: Service, event_id: str, states: set[str]) -> list[Any]:
    """The messages of an event, once all are in these states."""
    async with asyncio.timeout(10):
        while True:
            detail = await service.log.get(event_id)
            assert detail is not None
            if detail.messages and {message.state for message in detail.messages} <= states:
                return detail.messages
            await asyncio.sleep(0.02)


async def test_counters_come_out_right_under_concurrency(tmp_path: Path) -> None:
    """Forty runs at once that read and add one make forty: a run whose reads went stale is called again."""
    write_plugin(
        tmp_path,
        plugin(
            "async def count(event, ctx: Context):\n"
            "    seen = await ctx.store.get('count', 0)\n"
            "    await asyncio.sleep(0.005)\n"
            "    ctx.store.set('count', seen + 1)\n"
        ),
    )
    async with running(tmp_path, FAST) as service:
        for event_id in [await sent(service, distinct()) for _ in range(40)]:
            await settled(service, event_id)
        assert await service.log.store_of("count") == {"count": "40"}


async def test_nothing_of_a_failed_attempt_takes_effect(tmp_path: Path) -> None:
    """What was staged before the exception is gone; the attempt that succeeds counts alone."""
    write_plugin(
        tmp_path,
        plugin(
            "async def second(event, ctx: Context):\n"
            "    ctx.store.set(f'attempt {ctx.attempt}', True)\n"
            "    ctx.store.delete('never there')\n"
            "    if ctx.attempt == 1: raise ValueError\n"
            "    assert await ctx.store.get('attempt 1') is None\n"
            "    assert await ctx.store.get('attempt 2') is True\n"
        ),
    )
    async with running(tmp_path, FAST) as service:
        detail = await settled(service, await sent(service, webhook()))
        assert await service.log.store_of("second") == {"attempt 2": "true"}
    assert detail.record.runs == {"second": "done"}


async def test_each_handler_has_a_store_of_its_own(tmp_path: Path) -> None:
    """The same key of two handlers is two values; plain functions reach it through `ctx.wait`."""
    write_plugin(
        tmp_path,
        plugin(
            "def one(event, ctx: Context):\n"
            "    ctx.store.set('key', (ctx.wait(ctx.store.get('key')) or 'one') + '!')\n"
            "@on(CalendarCreated)\nasync def two(event, ctx: Context): ctx.store.set('key', {'two': None})\n"
        ),
    )
    async with running(tmp_path, FAST) as service:
        await settled(service, await sent(service, webhook()))
        assert await service.log.store_of("one") == {"key": '"one!"'}
        assert await service.log.store_of("two") == {"key": '{"two":null}'}


async def test_messages_are_sent_until_answered_with_success(tmp_path: Path) -> None:
    """Every attempt of a message has the same key, two messages have two, and one that fails comes again."""
    async with target() as other:
        other.answer = lambda number: web.Response(status=500 if number < 4 else 201)
        write_plugin(
            tmp_path,
            plugin(
                "async def tell(event, ctx: Context):\n"
                f"    ctx.outbox.post('{other.url}/a', json={{'n': 1}}, headers={{'X-Mine': 'yes'}})\n"
                f"    ctx.outbox.post('{other.url}/b', json={{'n': 2}})\n"
            ),
        )
        async with running(tmp_path, FAST) as service:
            event_id = await sent(service, webhook())
            messages = await delivered(service, event_id, {"done"})

    assert [body["n"] for _, body in other.got] == [1, 1, 1, 1, 2]
    assert len({key for key, _ in other.got}) == 2
    assert [(message.attempts, message.status) for message in messages] == [(4, 201), (1, 201)]
    assert other.headers[0]["X-Mine"] == "yes"
    assert other.headers[0]["Content-Type"] == "application/json"


async def test_a_message_ends_dead_when_its_policy_ends(tmp_path: Path) -> None:
    """It is shown with what went wrong, and the next of its calendar event is sent after it."""
    async with target() as other:
        other.answer = lambda number: web.Response(status=404 if number <= 3 else 200)
        write_plugin(
            tmp_path,
            plugin(
                f"async def tell(event, ctx: Context):\n    ctx.outbox.post('{other.url}', json=event.calendar_event.title)\n"
            ),
        )
        async with running(tmp_path, FAST + "[handlers.tell]\nretry = {tries = 3}\n") as service:
            first = await sent(service, webhook(title="first"))
            second = await sent(service, webhook(title="second"))
            [dead] = await delivered(service, first, {"dead"})
            await delivered(service, second, {"done"})

    assert (dead.attempts, dead.status) == (3, 404)
    assert "FailedAnswer" in dead.error
    assert [body for _, body in other.got] == ["first"] * 3 + ["second"]


async def test_an_address_that_is_not_allowed_is_never_connected_to(tmp_path: Path) -> None:
    """Loopback is refused unless the operator allows it, for the outbox and for ctx.http."""
    async with target() as other:
        write_plugin(
            tmp_path,
            plugin(
                f"async def tell(event, ctx: Context): ctx.outbox.post('{other.url}', json=1)\n"
                f"@on(CalendarCreated)\nasync def ask(event, ctx: Context): await ctx.http.get('{other.url}')\n"
            ),
        )
        policy = "[dispatch]\nretry = {tries = 2, base = 0.01}\n"
        async with running(tmp_path, policy) as service:
            event_id = await sent(service, webhook())
            [message] = await delivered(service, event_id, {"dead"})
            detail = await settled(service, event_id)

    assert other.got == []
    assert "Refused" in message.error
    assert detail.record.runs["ask"] == "dead"


async def test_retry_after_of_a_failed_answer_is_honoured(tmp_path: Path) -> None:
    """A handler that meets 429 with `Retry-After` is not called again before."""

    async def too_many(_request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "3600"})

    app = web.Application()
    app.router.add_get("/", too_many)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    write_plugin(
        tmp_path,
        plugin(f"async def ask(event, ctx: Context): (await ctx.http.get('{url}')).raise_for_status()\n"),
    )
    async with running(tmp_path, FAST) as service:
        detail = await settled(
            service, await sent(service, webhook()), lambda found: bool(found.runs and found.runs[0].attempts)
        )
    await runner.cleanup()

    assert detail.record.runs["ask"] == "retrying"
    [row] = [run for run in detail.runs if run.due_at]
    assert row.due_at is not None
    assert row.due_at > detail.record.received_at[:11]
    assert 3500 < _seconds_between(detail.record.received_at, row.due_at) < 3700


def _seconds_between(first: str, second: str) -> float:
    return (datetime.fromisoformat(second) - datetime.fromisoformat(first)).total_seconds()


async def test_what_cannot_be_staged_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """A key, value, address or header that cannot be kept fails the attempt and says why."""
    wrong = {
        "key": "ctx.store.set('', 1)",
        "value": "ctx.store.set('k', object())",
        "nan": "ctx.store.set('k', float('nan'))",
        "large": "ctx.store.set('k', 'x' * 2**21)",
        "address": "ctx.outbox.post('ftp://example.com', json=1)",
        "header": "ctx.outbox.post('https://example.com', headers={'A': 'b\\r\\nC: d'})",
    }
    write_plugin(
        tmp_path,
        plugin(
            "".join(
                f"{'' if number == 0 else '@on(CalendarCreated)' + chr(10)}async def {name}(event, ctx: Context): {call}\n"
                for number, (name, call) in enumerate(wrong.items())
            )
        ),
    )
    async with running(tmp_path, "[dispatch]\nretry = {tries = 1}\n") as service:
        detail = await settled(service, await sent(service, webhook()))

    assert dict.fromkeys(wrong, "dead") == detail.record.runs
    assert all(run.attempts[0].error for run in detail.runs)
    assert detail.messages == []
