"""A log on each backend. Nothing in this folder knows which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import storage
from tests.support.logs import BACKENDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from storage.log import EventLog


@pytest.fixture(params=sorted(BACKENDS))
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where this test's log is."""
    return BACKENDS[request.param](tmp_path)


@pytest.fixture(params=[False, True], ids=["thread", "process"])
def beside(request: pytest.FixtureRequest) -> bool:
    """Whether a process of its own writes."""
    return bool(request.param)


@pytest.fixture
async def open_log(address: str, *, beside: bool) -> AsyncIterator[Callable[[], Awaitable[EventLog]]]:
    """Open the log; once more closes it and opens it again."""
    opened: list[EventLog] = []

    async def close() -> None:
        while opened:
            await opened.pop().aclose()

    async def reopen() -> EventLog:
        await close()
        opened.append(await storage.open_log(address, beside=storage.start_writer() if beside else None))
        return opened[0]

    yield reopen
    await close()


@pytest.fixture
async def log(open_log: Callable[[], Awaitable[EventLog]]) -> EventLog:
    """A new log."""
    return await open_log()
