"""`klenhook log stats`, on a log whose numbers can be counted on fingers."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from receiver.cli.durations import duration
from receiver.cli.log.charts import bars, histogram
from receiver.clock import SystemClock
from receiver.counts import Counts
from receiver.route import Router
from storage.work import NewRun
from tests.support.commands import HOSTILE, Commands, change, receive
from tests.support.klen import webhook
from tests.support.logs import route_all
from tests.support.service import write_config

UUIDS = [f"f47ac10b-58cc-4372-a567-0e02b2c3d4{n:02}" for n in range(20)]
FIRST = {"start_time": "2025-05-02T10:00:00Z", "end_time": "2025-05-02T11:00:00Z"}
LATER = {"start_time": "2025-05-03T10:00:00Z", "end_time": "2025-05-03T11:00:00Z"}


def told(number: int, time: str, event_type: str = "calendar.created", **fields: Any) -> bytes:
    return webhook(event_type, uuid=UUIDS[number], id=number, timestamp=f"2025-05-01T{time}Z", **fields)


# The first arrives at 10:15:30, each further one so many hours later.
STORY = [
    (0, told(0, "10:00:00", **FIRST)),
    (0, told(1, "10:15:29", **FIRST)),
    (1, told(1, "11:00:00", "calendar.updated", **LATER)),
    (2, told(1, "12:00:00", "calendar.updated", **FIRST)),
    (3, told(1, "13:00:00", "calendar.cancelled", status="cancelled", **FIRST)),
    (24, b'{"event_type":"ping"}'),
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_config(folder)

    async def fill(log: Any) -> None:
        for hours, body in STORY:
            await receive(log, body, hours)
        router = Router(log, [], SystemClock(), counts=Counts())
        task = asyncio.create_task(router.run())
        while await log.unrouted(1):
            await asyncio.sleep(0.01)
        task.cancel()
        await receive(log, f'{{"event_type":{json.dumps(HOSTILE)}}}'.encode(), 24)
        await route_all(log, NewRun("hello"))

    change(folder, fill)
    return folder


@pytest.fixture
def run(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Commands:
    return Commands(Path(shutil.copytree(original, tmp_path / "copy")), monkeypatch, capfd)


def test_the_numbers(run: Commands) -> None:
    """Each is what one would count by hand."""
    done = run("log", "stats", "--json")

    assert done.status == 0
    found = json.loads(done.out)
    assert found.pop("delivery_delay")["count"] == 5
    assert found == {
        "events": 7,
        "types": {
            "calendar.created": 2,
            "calendar.updated": 2,
            HOSTILE: 1,
            "calendar.cancelled": 1,
            "ping": 1,
        },
        "verdicts": {"fresh": 5},
        "changes": {"created": 2, "rescheduled": 2, "cancelled": 1},
        "handlers": {"hello": {"pending": 1}},
        "days": {"2025-05-01": 5, "2025-05-02": 2},
        "lead_time": {
            "count": 2,
            "mean_s": 85935.5,
            "min_s": 85471.0,
            "median_s": 85471.0,
            "p90_s": 86400.0,
            "p99_s": 86400.0,
            "max_s": 86400.0,
        },
        "cancel_notice": {
            "count": 1,
            "mean_s": 75600.0,
            "min_s": 75600.0,
            "median_s": 75600.0,
            "p90_s": 75600.0,
            "p99_s": 75600.0,
            "max_s": 75600.0,
        },
        "reschedules": {"0": 1, "2": 1},
    }


def test_a_span(run: Commands) -> None:
    """Only what was received in the span counts; without anything, there is something to say."""
    found = json.loads(run("log", "stats", "--json", "--since", "2025-05-02").out)
    assert (found["events"], found["lead_time"]["count"]) == (2, 0)
    assert found["lead_time"]["median_s"] is None

    empty = run("log", "stats", "--until", "2025-01-01")
    assert (empty.status, empty.out, empty.err) == (0, "", "The log has no events in this span.\n")


def test_charts(run: Commands) -> None:
    """People get bars, with nothing of the log that drives the terminal."""
    done = run("log", "stats")

    assert done.status == 0
    assert "7 events" in done.out
    assert "  calendar.created" in done.out
    assert "█" * 32 in done.out
    assert "from cancelling to beginning: median 21h, 9 of 10 within 21h" in done.out
    assert "2 times" in done.out
    assert HOSTILE.splitlines()[0] not in done.out
    assert "\x1b[31m" not in done.out


def test_a_bar_is_as_long_as_its_share() -> None:
    """The largest is 32 wide, half of it 16; what is not nothing has at least an eighth of a block."""
    lines = [line.rstrip() for line in bars({"a": 1000, "bb": 500, "c": 1, "d": 0})]

    assert lines[0].startswith("  a   \x1b[36m" + "█" * 32)
    assert "█" * 16 in lines[1]
    assert "█" * 17 not in lines[1]
    assert "▏" in lines[2]
    assert lines[0].endswith("  1,000")
    assert list(bars({})) == []


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0s"),
        (5, "5ms"),
        (1_500, "1s 500ms"),
        (61_000, "1min 1s"),
        (90_000_000, "1d 1h"),
        (-3_600_000, "-1h"),
    ],
)
def test_durations(milliseconds: int, text: str) -> None:
    """A time span has its two largest units."""
    assert duration(milliseconds) == text


def test_histogram() -> None:
    """Each value is in one place."""
    assert histogram([-1, 0, 999, 1000, 5000], [0, 1000]) == {"under 0s": 1, "under 1s": 2, "1s and more": 2}
