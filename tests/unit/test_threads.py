"""Plain functions in threads: one after the other, beside each other, and those that misbehave."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from typing import Any

import pytest

from receiver.forks import STATUS
from receiver.threads import ThreadCall

MARK: contextvars.ContextVar[str] = contextvars.ContextVar("mark", default="none")


async def call(function: Any, *arguments: Any, name: str = "test") -> Any:
    return await asyncio.wait_for(ThreadCall(function, *arguments, name=name).result(), 10)


async def test_a_thread_makes_one_call_after_the_other() -> None:
    """No thread is started while one has nothing to do, whose name is that of its call."""

    def who() -> tuple[int, str]:
        return threading.get_ident(), threading.current_thread().name

    await call(time.sleep, 0)
    await asyncio.sleep(0.05)
    number, name = await call(who, name="one")
    await asyncio.sleep(0.05)
    again, other = await call(who, name="two")

    assert number == again
    assert (name, other) == ("one", "two")
    assert number != threading.get_ident()


async def test_calls_are_made_side_by_side() -> None:
    """Calls that wait for each other meet: each has a thread, however many there are."""
    meeting = threading.Barrier(40, timeout=10)

    assert set(await asyncio.gather(*(call(meeting.wait) for _ in range(40)))) == set(range(40))


async def test_nothing_is_left_to_the_next_call() -> None:
    """A call has the context of who asks for it, not what the call before set in its thread."""

    def change() -> str:
        found = MARK.get()
        MARK.set("changed")
        return found

    MARK.set("asked")
    assert [await call(change) for _ in range(3)] == ["asked"] * 3


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), StopIteration(1)])
async def test_what_is_raised_is_told_and_the_thread_goes_on(error: BaseException) -> None:
    """Whatever it is; the next call is made."""

    def fail() -> None:
        raise error

    told: Any = None
    try:
        await ThreadCall(fail, name="test").result()
    except BaseException as raised:  # noqa: BLE001 -- asked for
        told = raised
    # From a coroutine, StopIteration comes as a RuntimeError that it caused.
    assert error in (told, told.__cause__)
    assert await call(lambda: 1) == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
async def test_a_forked_copy_ends_where_it_comes_back() -> None:
    """It does not wait for calls, which nobody gives it."""

    def fork() -> int:
        child = os.fork()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0

    assert await call(fork) == STATUS
