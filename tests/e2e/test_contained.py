"""`isolate=True` in the running service: what a handler does to its process stays there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_dispatch import effects, plugin, sent, settled
from tests.support.klen import webhook
from tests.support.service import running, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

FAST = "[dispatch]\nretry = {tries = 2, base = 0.01}\n"


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("import os; os._exit(3)", "exit status 3"),
        ("import signal; signal.raise_signal(signal.SIGSEGV)", "SIGSEGV"),
        ("x = ['x' * 10**7 for _ in range(1000)]", "memory"),
        ("while True: pass", "TimeoutError"),
        ("raise ValueError('no')", "ValueError: no"),
    ],
)
async def test_a_handler_that_kills_its_process_is_a_failed_attempt(
    tmp_path: Path, statement: str, told: str
) -> None:
    """It is dead after its tries; the service and the other handler go on."""
    write_plugin(
        tmp_path,
        plugin(
            f"async def bad(event):\n    {statement}\n@on(CalendarCreated)\nasync def good(event): note('good')\n",
            "@on(CalendarCreated, isolate=True, timeout=5)",
        ),
    )
    async with running(tmp_path, FAST) as service:
        detail = await settled(service, await sent(service, webhook()), seconds=60)

    assert detail.record.runs == {"bad": "dead", "good": "done"}
    assert effects(tmp_path) == ["good"]
    [bad] = [run for run in detail.runs if run.handler == "bad"]
    assert len(bad.attempts) == 2
    assert told in str(bad.attempts[0].error)


async def test_effects_and_verbs_of_an_isolated_handler_are_those_of_any(tmp_path: Path) -> None:
    """Store, outbox, Retry and Settings work across the process boundary."""
    write_plugin(
        tmp_path,
        plugin(
            "async def apart(event, ctx: Context):\n"
            "    if ctx.attempt == 1: raise Retry(after=0.01)\n"
            "    ctx.store.set('n', (await ctx.store.get('n', 0)) + 1)\n"
            "    import os; note(os.getpid())\n",
            "@on(CalendarCreated, isolate=True)",
        ),
    )
    async with running(tmp_path, FAST) as service:
        await settled(service, await sent(service, webhook(title="first")), seconds=60)
        detail = await settled(service, await sent(service, webhook(title="second")), seconds=60)
        assert await service.log.store_of("apart") == {"n": "2"}

    assert [attempt.outcome for attempt in detail.runs[0].attempts] == ["retrying", "done"]
    assert len(set(effects(tmp_path))) == 1, "one child serves both"
