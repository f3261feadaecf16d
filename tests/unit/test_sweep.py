"""The rhythm of what works off rows, in real time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from receiver.sweep import Sweep


async def swept_twice(sweep: Sweep, sweeps: list[int], *, woken: bool) -> None:
    """Let it run until it has looked around twice, with a hint all the time or none."""
    running = asyncio.create_task(sweep.run())
    try:
        async with asyncio.timeout(10):
            while len(sweeps) < 2:
                if woken:
                    sweep.wake()
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@pytest.mark.parametrize("woken", [False, True])
async def test_what_nobody_hints_at_is_looked_for(*, woken: bool) -> None:
    """Each second, when nothing else is to be done and when hints come all the time."""
    sweeps: list[int] = []

    async def step() -> bool:
        return False

    await swept_twice(Sweep("test", step, on_sweep=lambda: sweeps.append(1)), sweeps, woken=woken)


async def test_work_without_an_end_holds_up_no_sweep() -> None:
    """A step that always says there is more."""
    sweeps: list[int] = []

    async def step() -> bool:
        await asyncio.sleep(0.001)
        return True

    await swept_twice(Sweep("test", step, on_sweep=lambda: sweeps.append(1)), sweeps, woken=False)


async def test_a_sweep_is_work_at_once() -> None:
    """What it finds is worked off without another hint."""
    found: list[int] = []

    async def step() -> bool:
        if sweeps:
            found.append(len(sweeps))
        return False

    sweeps: list[int] = []

    def look() -> None:
        sweeps.append(1)
        sweep.wake()

    sweep = Sweep("test", step, on_sweep=look)
    await swept_twice(sweep, found, woken=False)

    assert found[0] == 1
