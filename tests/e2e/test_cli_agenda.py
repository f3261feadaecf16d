"""`klenhook log agenda` and `log export --format ics`, on a log that a service has filled."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from icalendar import Calendar

from receiver.clock import SystemClock
from receiver.counts import Counts
from receiver.route import Router
from tests.support.commands import HOSTILE, Commands, Done, change, receive
from tests.support.klen import webhook
from tests.support.service import write_config

UUIDS = [f"f47ac10b-58cc-4372-a567-0e02b2c3d4{n:02}" for n in range(20)]


def at(day: int, hour: int, minutes: int = 60) -> dict[str, Any]:
    """Begin and end in May 2025."""
    return {
        "start_time": f"2025-05-{day:02}T{hour:02}:00:00.000Z",
        "end_time": f"2025-05-{day:02}T{hour + minutes // 60:02}:{minutes % 60:02}:00.000Z",
    }


def booking(number: int, event_type: str = "calendar.created", *, told: int = 0, **fields: Any) -> bytes:
    """A webhook about that appointment; `told` is the hour of its timestamp."""
    timestamp = f"2025-05-01T{told:02}:00:00.000Z"
    return webhook(event_type, uuid=UUIDS[number], id=number, timestamp=timestamp, **fields)


STORY = [
    (0, booking(0, title="First", **at(2, 9))),
    (1, booking(1, title="Moved away", **at(2, 11))),
    (2, booking(2, title="Cancelled", **at(2, 13))),
    (3, booking(3, title="Over night", start_time="2025-05-01T23:00:00Z", end_time="2025-05-02T01:00:00Z")),
    (4, booking(4, title=HOSTILE, location="Room\r\nATTENDEE:x", status="scheduled", **at(3, 9))),
    (10, booking(1, "calendar.updated", told=1, title="Moved away", **at(3, 8))),
    (
        11,
        booking(
            2,
            "calendar.cancelled",
            told=1,
            title="Cancelled",
            status="cancelled",
            reason="Ill;, so\nsorry",
            **at(2, 13),
        ),
    ),
    (12, booking(1, "calendar.updated", told=2, title="Moved away", location="Room 2", **at(3, 8))),
    (13, b'{"event_type":"calendar.created","calendar_event":{"id":77,"title":"No time"}}'),
    (14, b'{"event_type":"call.ended","call":{"id":1}}'),
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

    change(folder, fill)
    return folder


@pytest.fixture
def run(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Commands:
    return Commands(Path(shutil.copytree(original, tmp_path / "copy")), monkeypatch, capfd)


def titles(done: Done) -> list[str]:
    assert done.status == 0, done.err
    return [json.loads(line)["title"] for line in done.out.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["2025-05-02"], ["Over night", "First"]),
        (["2025-05-02", "--all"], ["Over night", "First", "Cancelled"]),
        (["2025-05-03"], ["Moved away", HOSTILE]),
        (["2025-05-02", "--days", "2"], ["Over night", "First", "Moved away", HOSTILE]),
        (["2025-05-01"], ["Over night"]),
        (["2025-05-04"], []),
        (["9999-12-31", "--days", "366"], []),
        # The story begins at 2025-05-01T10:15:30Z.
        (["2025-05-02", "--as-of", "2025-05-01T10:00"], []),
        (["2025-05-02", "--as-of", "2025-05-01T11:15:30Z"], ["First", "Moved away"]),
        (["2025-05-02", "--as-of", "2025-05-01T20:00"], ["Over night", "First", "Moved away", "Cancelled"]),
        (["2025-05-02", "--as-of", "2025-05-01T20:30"], ["Over night", "First", "Cancelled"]),
        (["2025-05-03", "--as-of", "2025-05-01T20:00"], [HOSTILE]),
        (["2025-05-02", "--as-of", "1h"], ["Over night", "First"]),
    ],
    ids=str,
)
def test_agenda(run: Commands, arguments: list[str], expected: list[str]) -> None:
    """A day has what is under way on it, as is known now or was known at a time; what is cancelled is not in it."""
    done = run("log", "agenda", "--json", *arguments)

    assert titles(done) == expected
    assert bool(done.err) == (not expected)


def test_a_record_of_the_agenda(run: Commands) -> None:
    """It has these keys."""
    [record, _] = [json.loads(line) for line in run("log", "agenda", "2025-05-03", "--json").out.splitlines()]

    assert record == {
        "source": "klen",
        "calendar_event_uuid": UUIDS[1],
        "calendar_event_id": 1,
        "start_time": "2025-05-03T08:00:00.000Z",
        "end_time": "2025-05-03T09:00:00.000Z",
        "title": "Moved away",
        "status": "confirmed",
        "kind": "meeting",
        "location": "Room 2",
        "video_conference_url": None,
        "customer": {"name": "John Smith", "email": "john.smith@example.com", "phone": "+15551234567"},
    }


def test_agenda_for_people(run: Commands) -> None:
    """A table with times; nothing in it drives the terminal. A day is a date, and anything else a mistake."""
    done = run("log", "agenda", "2025-05-03")

    assert "08:00-09:00" in done.out
    assert "John Smith" in done.out
    assert "\x1b[31m" not in done.out
    assert "2025-05-01 23:00-2025-05-02 01:00" in run("log", "agenda", "2025-05-01", "--days", "2").out
    assert run("log", "agenda").err == "Nothing is booked.\n"
    for wrong in ("someday", "2025-13-01", "2025-05", ""):
        assert run("log", "agenda", wrong).status == 2
    assert run("log", "agenda", "--days", "0").status == 2


def calendar(run: Commands, *arguments: str) -> Any:
    done = run("log", "export", "--format", "ics", *arguments)
    assert done.status == 0, done.err
    return Calendar.from_ical(done.out), done


def test_each_calendar_event_is_one_entry(run: Commands) -> None:
    """However many events there are, there is one VEVENT, with the uuid, as it stands now."""
    found, done = calendar(run)

    entries = {str(entry["UID"]): entry for entry in found.walk("VEVENT")}
    assert len(entries) == len(found.walk("VEVENT")) == 5
    moved = entries[UUIDS[1]]
    assert moved["DTSTART"].to_ical() == b"20250503T080000Z"
    assert moved["DTEND"].to_ical() == b"20250503T090000Z"
    assert (moved["SEQUENCE"], moved["STATUS"], moved["LOCATION"]) == (2, "CONFIRMED", "Room 2")
    assert moved["DTSTAMP"].to_ical() == b"20250501T020000Z"
    assert moved["CONTACT"] == "John Smith, john.smith@example.com, +15551234567"
    cancelled = entries[UUIDS[2]]
    assert (cancelled["SEQUENCE"], cancelled["STATUS"]) == (1, "CANCELLED")
    assert cancelled["DESCRIPTION"] == "Ill;, so\nsorry"
    assert entries[UUIDS[0]]["SEQUENCE"] == 0
    assert entries[UUIDS[4]]["STATUS"] == "TENTATIVE"
    assert done.err == "1 calendar events were left out, since it is not known when they begin.\n"


def test_strangers_words_stay_words(run: Commands) -> None:
    """A line break in a title or place makes no line of the calendar; lines are folded and end as they should."""
    found, done = calendar(run)

    raw = done.out.encode()
    assert b"\nATTENDEE" not in raw
    assert b"\x1b" not in raw
    assert all(len(line) <= 75 for line in raw.split(b"\r\n"))
    assert raw.endswith(b"END:VEVENT\r\nEND:VCALENDAR\r\n")
    [hostile] = [entry for entry in found.walk("VEVENT") if entry["UID"] == UUIDS[4]]
    assert hostile["LOCATION"] == "Room ATTENDEE:x"


def test_filters_choose_the_calendar_events(run: Commands, tmp_path: Path) -> None:
    """An entry stands for those of the selected events; without any, the calendar is empty and says so."""
    found, _ = calendar(run, "--type", "calendar.cancelled")
    assert [entry["UID"] for entry in found.walk("VEVENT")] == [UUIDS[2]]

    empty, done = calendar(run, "--type", "call.failed")
    assert empty.walk("VEVENT") == []
    assert done.err == "No events match.\n"

    file = tmp_path / "appointments.ics"
    assert run("log", "export", "--format", "ics", "--output", str(file)).status == 0
    assert file.read_bytes().startswith(b"BEGIN:VCALENDAR\r\n")
    assert file.stat().st_mode & 0o077 == 0
