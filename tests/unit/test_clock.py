"""The clock that due times go by."""

from __future__ import annotations

import time

import pytest

from receiver.clock import SteadyClock, SystemClock

DAY_MS = 86_400_000


class Wall(SystemClock):
    """A clock that can be set, and that may be slow to read."""

    set_by = 0
    pause = 0.0

    def now_ms(self) -> int:
        time.sleep(self.pause)
        now = super().now_ms() + self.set_by
        time.sleep(self.pause)
        return now


def test_it_goes_on_until_it_is_told_to_follow() -> None:
    """Setting the wall clock changes nothing but the jump that is told, and that is followed to the second."""
    wall = Wall()
    steady = SteadyClock(wall)
    assert steady.jump_ms() == 0
    for jump in (DAY_MS, -DAY_MS, -3650 * DAY_MS, 3650 * DAY_MS):
        before = steady.now_ms()
        wall.set_by += jump
        assert 0 <= steady.now_ms() - before < 5000
        assert steady.jump_ms() == pytest.approx(jump, abs=50)
        steady.follow(steady.jump_ms())
        assert steady.jump_ms() == 0
        assert steady.now_ms() - before == pytest.approx(jump, abs=5000)


def test_a_busy_machine_is_no_jump() -> None:
    """However long it takes to read the clocks, nobody has set one."""
    wall = Wall()
    steady = SteadyClock(wall)
    wall.pause = 0.2
    assert steady.jump_ms() == 0
