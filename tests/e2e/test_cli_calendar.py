"""`klenhook log timeline`, `log state` and `db rebuild`, on a log that the service has filled out of order."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from receiver.testing import local_service
from storage.records import Selection
from tests.support.commands import HOSTILE, Commands
from tests.support.ops import listening
from tests.support.service import klenhook, write_config
from tests.support.story import UUID, WHOLE, body

OTHER = "0d5f1c6e-2f3b-4c57-9d1a-3c1f0e9b7a55"
MOVED = {**WHOLE, "start_time": "2025-05-01T16:00:00.000Z", "end_time": "2025-05-01T17:00:00.000Z"}
STORY = [
    body("created", 0, **WHOLE),
    body("cancelled", 5, **{**MOVED, "status": "cancelled", "reason": "ill"}),
    body("updated", 2, **MOVED),
    body(
        "created",
        9,
        **{**WHOLE, "id": 200, "uuid": OTHER, "title": HOSTILE, "customer": {"email": "ANN@example.com"}},
    ),
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")

    async def fill() -> None:
        async with local_service(folder) as running:
            for one in STORY:
                assert (await running.vendor.post(json.dumps(one).encode())).status == 200
                await running.settled()

    asyncio.run(fill())
    write_config(folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the log for each test."""
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(folder, monkeypatch, capfd)


def objects(run: Commands, *arguments: str) -> list[dict[str, Any]]:
    done = run(*arguments, "--json")
    assert done.status == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def test_a_timeline_is_in_the_order_of_time(run: Commands) -> None:
    """Whatever order events came in, what each changed is told in the order in which they happened."""
    events = objects(run, "log", "timeline", UUID)

    assert [(one["seq"], one["verdict"], one["changes"]) for one in events] == [
        (1, "fresh", ["created"]),
        (3, "stale", ["rescheduled"]),
        (2, "fresh", ["cancelled"]),
    ]
    [change] = events[1]["change_details"]
    assert change["by_minutes"] == 120
    assert "rescheduled, 2h later" in run("log", "timeline", UUID).out
    assert (change["before"]["start_time"], change["after"]["start_time"]) == (
        WHOLE["start_time"],
        MOVED["start_time"],
    )


def test_a_cancellation_and_a_booking_are_linked(run: Commands) -> None:
    """The same customer who books again within a week has likely rescheduled; it is said to be inferred."""
    links = [one["inferred"] for name in (UUID, "200") for one in objects(run, "log", "timeline", name)]

    assert links == [
        [],
        [],
        [{"name": "rebooked_as", "calendar_event_uuid": OTHER, "calendar_event_id": 200}],
        [{"name": "rebooked_from", "calendar_event_uuid": UUID, "calendar_event_id": 123}],
    ]
    assert "(inferred" in run("log", "timeline", "200").out
    [row] = objects(run, "log", "sql", "SELECT cancelled_id, booked_id, cancelled_at FROM rebookings")
    assert row == {"cancelled_id": 123, "booked_id": 200, "cancelled_at": "2025-05-01T10:05:00.000Z"}


def test_a_timeline_is_safe_to_print(run: Commands) -> None:
    """What a stranger put into a title cannot drive the terminal."""
    assert "\x1b" not in run("log", "timeline", OTHER).out
    assert "\\x1b" in run("log", "state", OTHER).out


@pytest.mark.parametrize("command", ["timeline", "state"])
def test_an_unknown_calendar_event(run: Commands, command: str) -> None:
    """It is said so, with exit status 1 and nothing on standard output."""
    done = run("log", command, "999")
    assert (done.status, done.out) == (1, "")
    assert "No calendar event has the uuid or number '999'" in done.err


def test_a_number_that_several_have(run: Commands, tmp_path: Path) -> None:
    """Two calendar events may come with one number. Each command shows both and says how to name one alone."""
    again = "7c9e6679-7425-40de-944b-e07fc1f90ae7"

    async def fill() -> None:
        async with local_service(tmp_path / "copy") as running:
            for minute, status in ((20, "confirmed"), (25, "completed")):
                told = body("updated", minute, **{**WHOLE, "uuid": again, "status": status})
                assert (await running.vendor.post(json.dumps(told).encode())).status == 200
            await running.settled()

    asyncio.run(fill())
    assert {one["calendar_event_uuid"] for one in objects(run, "log", "timeline", "123")} == {UUID, again}
    assert {one["calendar_event_id"] for one in objects(run, "log", "timeline", again)} == {123}
    states = objects(run, "log", "state", "123")
    assert [(one["calendar_event"]["uuid"], one["calendar_event"]["status"]) for one in states] == [
        (UUID, "cancelled"),
        (again, "completed"),
    ]
    assert len(objects(run, "log", "list", "--calendar-event", "123")) == 5
    for command in ("timeline", "state"):
        said = run("log", command, "123").err
        assert f"'123' means 2 calendar events: {UUID} of source klen, {again} of source klen." in said
        assert run("log", command, again).err == ""


def test_the_state_is_put_together(run: Commands) -> None:
    """Now: the newest of each field, with the event that set it; by uuid in any case, and by number."""
    [found] = objects(run, "log", "state", UUID.upper(), "--why")
    events = {one["seq"]: one["event_id"] for one in objects(run, "log", "timeline", "123")}

    calendar_event = found["calendar_event"]
    assert (calendar_event["status"], calendar_event["start_time"]) == ("cancelled", MOVED["start_time"])
    assert set(calendar_event) <= set(found["provenance"])
    assert found["provenance"]["status"] == {"event_id": events[2], "timestamp": "2025-05-01T10:05:00.000Z"}
    assert found["provenance"]["start_time"]["event_id"] == events[3]
    assert found["provenance"]["customer.email"]["event_id"] == events[1]
    assert "provenance" not in objects(run, "log", "state", "123")[0]


def test_the_state_as_of_a_time_by_either_clock(run: Commands) -> None:
    """By the time received, what we knew then; by the time occurred, what had happened by then."""
    times = {one["seq"]: one["received_at"] for one in objects(run, "log", "timeline", "123")}

    def state(*arguments: str) -> tuple[str, str]:
        [found] = objects(run, "log", "state", "123", *arguments)
        return found["calendar_event"]["status"], found["calendar_event"]["start_time"]

    assert state("--as-of", times[1]) == ("confirmed", WHOLE["start_time"])
    assert state("--as-of", times[2]) == ("cancelled", MOVED["start_time"])
    assert state("--as-of", "2025-05-01T10:03", "--by", "occurred") == ("confirmed", MOVED["start_time"])
    done = run("log", "state", "123", "--as-of", "2025-05-01T10:03")
    assert (done.status, done.out) == (1, "")
    assert "Nothing was known" in done.err


def test_rebuilding_finds_nothing_to_do(run: Commands) -> None:
    """What the service kept is what the events say, by the byte."""
    for arguments in (["--check"], [], ["--json"]):
        done = run("db", "rebuild", *arguments)
        assert (done.status, done.out, done.err) == (0, "", "2 calendar events: all as their events say.\n")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            "UPDATE state SET calendar_event = json_set(calendar_event, '$.title', 'Wrong') WHERE subject_id = 1",
            "title",
        ),
        ("UPDATE state SET memory = '[[],null,null,null,[],{}]' WHERE subject_id = 1", "(memory)"),
        ("DELETE FROM state WHERE subject_id = 1", "status"),
        ("UPDATE routing SET verdict = 'same' WHERE seq = 1", "verdict same, expected fresh"),
        ("UPDATE routing SET verdict = NULL", "verdict None, expected fresh"),
        ("DELETE FROM change WHERE seq = 2", "changes"),
        ("UPDATE change SET before = '{}' WHERE name = 'cancelled'", "changes"),
    ],
)
def test_rebuilding_puts_right_what_differs(run: Commands, folder: Path, damage: str, told: str) -> None:
    """With --check it tells and exits with 1; without, it mends, and the log is as it was."""
    before = (
        run("log", "export").out,
        objects(run, "log", "sql", "SELECT * FROM calendar_events"),
        objects(run, "log", "sql", "SELECT * FROM changes"),
    )
    with closing(sqlite3.connect(folder / "klenhook.db")) as log, log:
        log.execute(damage)

    checked = run("db", "rebuild", "--check")
    assert (checked.status, told in checked.out) == (1, True), checked
    assert "differ from their events" in checked.err
    damaged = run("db", "check")
    assert (damaged.status, told in damaged.out) == (1, True), damaged
    mended = run("db", "rebuild", "--json")
    assert mended.status == 0
    assert "put right" in mended.err
    assert json.loads(mended.out.splitlines()[0])["calendar_event_uuid"] == UUID
    assert run("db", "rebuild", "--check").status == 0
    assert run("db", "check").status == 0
    assert before == (
        run("log", "export").out,
        objects(run, "log", "sql", "SELECT * FROM calendar_events"),
        objects(run, "log", "sql", "SELECT * FROM changes"),
    )


@pytest.mark.parametrize(
    ("damage", "events"),
    [
        ("INSERT INTO search (search) VALUES ('delete-all')", 4),
        ("INSERT INTO search (search, rowid, words) VALUES ('delete', 2, 'ill')", 1),
        ("INSERT INTO search (rowid, words) VALUES (3, 'pineapple')", 1),
    ],
    ids=["empty", "missing word", "wrong word"],
)
def test_rebuilding_makes_the_index_of_words_anew(
    run: Commands, folder: Path, damage: str, events: int
) -> None:
    """Where events are found by other words than their own, it is told; then each is found by its own again."""

    def found() -> list[int]:
        return [len(objects(run, "log", "search", word)) for word in ("ann", "ill", "meeting", "pineapple")]

    before = found()
    with closing(sqlite3.connect(folder / "klenhook.db")) as log, log:
        log.execute(damage)
    assert found() != before

    checked = run("db", "rebuild", "--check", "--json")
    assert (checked.status, json.loads(checked.out)) == (1, {"misfiled_events": events}), checked
    assert f"{events} events are found by other words than theirs" in checked.err
    assert "made anew" in run("db", "rebuild").err
    assert found() == before
    assert run("db", "rebuild", "--check").err == "2 calendar events: all as their events say.\n"


async def test_the_index_is_not_made_anew_beside_a_service(folder: Path) -> None:
    """While a service has the log, it is said what to do, and nothing is changed."""
    with closing(sqlite3.connect(folder / "klenhook.db")) as log, log:
        log.execute("INSERT INTO search (rowid, words) VALUES (3, 'pineapple')")
    async with listening(folder) as (_, _):
        told = await asyncio.to_thread(klenhook, folder, "db", "rebuild", status=1)
        found = await asyncio.to_thread(klenhook, folder, "log", "search", "pineapple", "--json")

    assert "Stop the service and run it again" in told.stderr
    assert json.loads(found.stdout)["seq"] == 3


async def test_a_running_service_puts_right(folder: Path) -> None:
    """While a service has the log, it mends what the command finds."""
    async with listening(folder) as (service, _):
        with closing(sqlite3.connect(folder / "klenhook.db")) as log, log:
            log.execute("UPDATE state SET calendar_event = json_set(calendar_event, '$.title', 'Wrong')")
            log.execute("UPDATE routing SET verdict = 'same' WHERE seq = 1")
        [event] = await service.log.page(Selection(after_seq=0, limit=1))
        checked = await asyncio.to_thread(klenhook, folder, "db", "check", "--json", status=1)
        mended = await asyncio.to_thread(klenhook, folder, "db", "rebuild")
        again = await asyncio.to_thread(klenhook, folder, "db", "check")

    found = [json.loads(line) for line in checked.stdout.splitlines()]
    assert {one["kind"] for one in found} == {"state"}
    assert event.event_id in {one["event_id"] for one in found}
    assert "put right" in mended.stderr
    assert "is sound" in again.stderr


def test_list_and_show_tell_what_changed(run: Commands) -> None:
    """`--change` and `--verdict` filter, together too; `show` has each field before and after."""
    assert [one["seq"] for one in objects(run, "log", "list", "--change", "created")] == [4, 1]
    assert [one["seq"] for one in objects(run, "log", "list", "--verdict", "stale")] == [3]
    assert objects(run, "log", "list", "--verdict", "stale", "--change", "created") == []
    assert [one["seq"] for one in objects(run, "log", "list", "--change", "created", "--after", "1")] == [4]
    assert run("log", "list", "--change", "nothing").status == 2
    [event] = objects(run, "log", "show", "2")
    assert (
        [change["name"] for change in event["change_details"]]
        == event["changes"]
        == ["rescheduled", "cancelled"]
    )
    assert "status: confirmed -> cancelled" in run("log", "show", "2").out
