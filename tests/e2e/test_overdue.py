"""What should have come and did not: listed, counted, and told to handlers once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from receiver.config import OverdueSection
from receiver.overdue import missing
from receiver.testing import local_service
from tests.support.commands import Commands
from tests.support.service import write_config
from tests.support.story import UUID, WHOLE

if TYPE_CHECKING:
    from pathlib import Path

    from receiver.testing import LocalService

NOW = datetime.now(UTC).replace(microsecond=0)
SETTINGS = OverdueSection()
NOTING = """
import json
from pathlib import Path
from receiver import Overdue, on

@on(Overdue)
async def note(event: Overdue) -> None:
    told = [event.expected, event.due_at.isoformat(), event.calendar_event.title, event.origin, event.event_type]
    with (Path(__file__).parent / "told.txt").open("a") as file:
        file.write(json.dumps(told) + "\\n")
"""


def text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def webhook(kind: str, made: timedelta, start: timedelta, **fields: Any) -> dict[str, Any]:
    """A webhook made that long ago about an appointment that begins that long from now, for an hour."""
    times = {"start_time": text(NOW + start), "end_time": text(NOW + start + timedelta(hours=1))}
    return {
        "event_type": f"calendar.{kind}",
        "calendar_event": {**WHOLE, **times, **fields},
        "timestamp": text(NOW - made),
    }


async def send(running: LocalService, *bodies: Any) -> None:
    for body in bodies:
        assert (await running.vendor.post(json.dumps(body).encode())).status == 200
        await running.settled()


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


DAY = timedelta(days=1)
REMINDED = webhook("reminder", minutes(190), -minutes(130))
BOOKED = webhook("created", DAY, -minutes(130))


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ([BOOKED, REMINDED], ["calendar.completed"]),
        ([BOOKED], ["calendar.reminder", "calendar.completed"]),
        ([BOOKED, REMINDED, webhook("completed", minutes(60), -minutes(130), status="completed")], []),
        ([BOOKED, webhook("updated", minutes(60), -minutes(130), status="no_show")], []),
        ([BOOKED, webhook("cancelled", minutes(200), -minutes(130), status="cancelled")], []),
        # Not late enough: Klen may still be trying.
        ([webhook("created", DAY, -minutes(100)), webhook("reminder", minutes(160), -minutes(100))], []),
        # Its reminder was due an hour before, and is late; it has not ended.
        ([webhook("created", DAY, minutes(10))], ["calendar.reminder"]),
        ([webhook("created", DAY, minutes(30))], []),
        ([webhook("created", DAY, minutes(10), is_reminder_enabled=False)], []),
        ([webhook("created", DAY, minutes(10), remind_before_minutes=20)], []),
        ([webhook("created", DAY, timedelta(hours=23), remind_before_minutes=1440)], ["calendar.reminder"]),
        # Booked, or moved to this time, when it was too late for a reminder.
        ([webhook("created", minutes(30), minutes(10))], []),
        ([webhook("created", DAY, DAY), webhook("updated", minutes(5), minutes(10))], []),
        # The reminder of another time is not that of this one.
        (
            [
                webhook("created", DAY, -DAY),
                webhook("reminder", DAY, -DAY),
                webhook("updated", minutes(900), minutes(10)),
            ],
            ["calendar.reminder"],
        ),
        # Heard of only when it was over, and too long ago to matter.
        ([webhook("created", minutes(1), -timedelta(days=2))], []),
        ([webhook("created", timedelta(days=90), -timedelta(days=30))], []),
    ],
)
async def test_what_is_overdue(tmp_path: Path, bodies: list[Any], expected: list[str]) -> None:
    """By what was known when it was due, with the vendor's tries waited for."""
    async with local_service(tmp_path) as running:
        await send(running, *bodies)
        found = await missing(running.service.log, SETTINGS, int(NOW.timestamp() * 1000))
        assert [one.expected for one in found] == expected


async def test_it_is_told_once(tmp_path: Path) -> None:
    """A handler of `Overdue` gets each expectation once, however often it is looked for and after a restart."""
    for _ in range(2):
        async with local_service(tmp_path, plugins={"noting.py": NOTING}) as running:
            await send(running, BOOKED, REMINDED)
            watch = running.service._workers.overdue
            for _ in range(3):
                await watch.look()
            await running.settled()
            [record] = await running.service.log.calendar_events(UUID)
            assert record.last_seq == 2, "what is made of the state tells nothing new"

    due = text(NOW - minutes(70)).replace("Z", "+00:00")
    told = (tmp_path / "plugins" / "told.txt").read_text().splitlines()
    assert [json.loads(line) for line in told] == [
        ["calendar.completed", due, "Client Meeting", "watchdog", "klenhook.overdue"]
    ]


async def test_without_a_handler_there_is_no_event(tmp_path: Path) -> None:
    """The log keeps what came; what is overdue is counted, once."""
    async with local_service(tmp_path) as running:
        await send(running, BOOKED, REMINDED)
        watch = running.service._workers.overdue
        await watch.look()
        assert [await watch.look(), (await running.service.log.status()).events] == [0, 2]


def test_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Beside the service or without it, for people and for programs."""

    async def fill() -> None:
        async with local_service(tmp_path) as running:
            await send(running, BOOKED, REMINDED)

    asyncio.run(fill())
    write_config(tmp_path)
    run = Commands(tmp_path, monkeypatch, capfd)

    record = json.loads(run("log", "overdue", "--json").out)
    assert (record["calendar_event_uuid"], record["expected"]) == (UUID, "calendar.completed")
    assert record["due_at"] == text(NOW - minutes(70)).replace("Z", ".000Z")
    assert record["late_minutes"] >= 70
    assert "Client Meeting" in run("log", "overdue").out
    with (tmp_path / "config.toml").open("a") as file:
        file.write("\n[overdue]\ngrace_minutes = 600\n")
    assert run("log", "overdue").err == "Nothing is overdue.\n"
    (tmp_path / "config.toml").write_text((tmp_path / "config.toml").read_text().replace("600", "36"))
    assert run("log", "overdue").status == 2
