"""`klenhook log`, run as people and scripts run it, on a log with a little of everything."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from storage import open_log
from storage.records import Selection
from tests.support.commands import DIGITS, HOSTILE, Commands, change, fill, receive
from tests.support.klen import UUID, headers, post, webhook
from tests.support.logs import new_event
from tests.support.ops import TOKEN, listening
from tests.support.service import Process, klenhook, running, write_config

KEYS = [
    "seq",
    "event_id",
    "source",
    "event_type",
    "calendar_event_uuid",
    "calendar_event_id",
    "occurred_at",
    "received_at",
    "delivery_id",
    "verdict",
    "changes",
    "deliveries",
    "origin",
    "runs",
]
COMMAND = [sys.executable, "-m", "receiver", "log"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_config(folder)
    change(folder, fill)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of the log for each test."""
    return Path(shutil.copytree(original, tmp_path / "copy"))


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(folder, monkeypatch, capfd)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def seqs(run: Commands, *arguments: str) -> list[int]:
    done = run("log", "list", "--json", *arguments)
    assert done.status == 0, done.err
    return [record["seq"] for record in objects(done.out)]


# list


def test_a_record_has_these_keys(run: Commands) -> None:
    """A record of `log list --json` has the documented keys in the documented order."""
    records = objects(run("log", "list", "--json").out)

    assert all(list(record) == KEYS for record in records)
    assert records[-1] == {
        "seq": 1,
        "event_id": records[-1]["event_id"],
        "source": "klen",
        "event_type": "calendar.created",
        "calendar_event_uuid": UUID,
        "calendar_event_id": 123,
        "occurred_at": "2025-05-01T10:15:30.000Z",
        "received_at": "2025-05-01T10:15:30.000Z",
        "delivery_id": "d1",
        "verdict": None,
        "changes": [],
        "deliveries": 2,
        "origin": "webhook",
        "runs": {"hello": "done"},
    }


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [4, 3, 2, 1]),
        (["--limit", "2"], [4, 3]),
        (["--limit", "0"], [4, 3, 2, 1]),
        (["--after", "0"], [1, 2, 3, 4]),
        (["--after", "1", "--limit", "2"], [2, 3]),
        (["--type", "calendar.*"], [3, 2, 1]),
        (["--type", "ping"], [4]),
        (["--calendar-event", UUID], [2, 1]),
        (["--calendar-event", UUID.upper()], [2, 1]),
        (["--calendar-event", "7"], [3]),
        (["--since", "2025-05-01T11:15:30Z"], [4, 3, 2]),
        (["--until", "2025-05-01T11:15:30"], [1]),
        (["--since", "2025-05-01T13:15:30+02:00", "--until", "2025-05-01 12:15:30.001"], [3, 2]),
        (["--until", "2025-05-01"], []),
        (["--since", "1h"], []),
        (["--until", "1h"], [4, 3, 2, 1]),
        (["--status", "dead"], [2]),
        (["--handler", "mail"], [3, 2]),
        (["--handler", "mail", "--status", "dead"], []),
        (["--handler", "hello", "--status", "dead"], [2]),
        (["--source", "second"], [3]),
        (["--verdict", "stale"], []),
        (["--type", "calendar.*", "--handler", "hello", "--after", "1"], [2]),
        (["--type", "'; DROP TABLE event; --"], []),
    ],
)
def test_filters(run: Commands, arguments: list[str], expected: list[int]) -> None:
    """Each filter narrows the listing, several together more; `--handler` and `--status` mean one run."""
    assert seqs(run, *arguments) == expected


def test_count_counts_whatever_the_limit(run: Commands) -> None:
    """`--count` prints the number alone, or as an object with `--json`."""
    assert run("log", "list", "--count", "--type", "calendar.*", "--limit", "1").out == "3\n"
    assert objects(run("log", "list", "--count", "--json").out) == [{"count": 4}]


def test_a_long_listing_is_whole(run: Commands) -> None:
    """A listing goes on over as many pages as it takes, each event once and in order."""

    async def more(log: Any) -> None:
        for number in range(1_100):
            await receive(log, b'{"event_type":"n%d"}' % number, 4)

    change(run.folder, more)

    assert seqs(run, "--limit", "0") == list(range(1_104, 0, -1))
    assert seqs(run, "--after", "2", "--limit", "1001") == list(range(3, 1_004))
    table = run("log", "list", "--limit", "0").out.splitlines()
    assert [line.split()[0] for line in table if not line.startswith("seq")] == [
        str(n) for n in range(1_104, 0, -1)
    ]


def test_a_table_is_for_people(run: Commands) -> None:
    """The table has a line per event with its runs in words, and no column that tells nothing."""
    lines = run("log", "list").out.splitlines()

    assert lines[0].split("  ") != []
    assert lines[0].split() == [
        "seq",
        "received",
        "(UTC)",
        "type",
        "calendar",
        "title",
        "seen",
        "runs",
        "event",
        "id",
    ]
    assert "2025-05-01 11:15:30  calendar.updated  123" in lines[3]
    assert "Zoë, 会議" in lines[3]
    assert "hello dead, mail done" in lines[3]
    assert "2 times" in lines[4]


def test_what_a_stranger_wrote_cannot_drive_the_terminal(run: Commands) -> None:
    """Control characters, line breaks and markup of a title are shown as they are spelt."""
    for arguments in (["list"], ["show", "3"], ["sql", "SELECT title FROM events"], ["show", "2"]):
        out = run("log", *arguments).out

        assert out.replace("\n", "").isprintable()
        assert not any(line.startswith("  99") for line in out.splitlines())


def test_only_a_terminal_gets_colour(folder: Path) -> None:
    """On a terminal states are coloured and the table fits its width; what strangers wrote stays harmless."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [*COMMAND, "list"],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)

    assert child.wait(20) == 0
    assert b"\x1b[31mdead\x1b[0m" in shown
    assert b"\x1b[31m=evil" not in shown
    assert b"\x1b" not in klenhook(folder, "log", "list").stdout.encode()


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["export"]])
def test_nothing_found_is_said_and_no_failure(run: Commands, arguments: list[str]) -> None:
    """An empty answer is empty on standard output, said on standard error, and exit status 0."""
    done = run("log", *arguments, "--type", "nothing")

    assert (done.status, done.out, done.err) == (0, "", "No events match.\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--status", "gone"], "'pending', 'retrying', 'running', 'done', 'skipped', 'discarded', 'dead'"),
        (["--verdict", "late"], "'fresh', 'same', 'stale', 'conflicting', 'impossible'"),
        (["--limit", "-1"], "expected a number from 0"),
        (["--after", "99999999999999999999"], "expected a number from 0"),
        (["--since", "soon"], "expected a time such as"),
        (["--type", "\udcff"], "expected text in UTF-8"),
        (["--colour"], "No such option"),
    ],
)
@pytest.mark.parametrize("command", ["list", "export"])
def test_a_wrong_filter_is_wrong_usage(run: Commands, command: str, arguments: list[str], told: str) -> None:
    """A value that no event can have is exit status 2, with what is possible."""
    done = run("log", command, *arguments)

    assert (done.status, done.out) == (2, "")
    assert told in done.err


# show


def test_show_has_everything_of_an_event(run: Commands) -> None:
    """`log show --json` is one object: the record with body, headers, deliveries, runs and attempts in full."""
    [shown] = objects(run("log", "show", "1", "--json").out)

    assert list(shown)[: len(KEYS)] == KEYS
    assert shown["body"] == json.loads(webhook())
    assert shown["headers"] == {"Content-Type": "application/json"}
    assert [delivery["delivery_id"] for delivery in shown["deliveries"]] == ["d1", "d2"]
    assert [delivery["outcome"] for delivery in shown["deliveries"]] == ["accepted", "duplicate"]
    [hello] = shown["runs"]
    assert (hello["handler"], hello["state"], len(hello["attempts"])) == ("hello", "done", 1)
    assert shown["title"] == "Client Meeting"


def test_show_is_readable(run: Commands) -> None:
    """`log show` has the same for people, with the error of each attempt."""
    out = run("log", "show", "2").out

    assert '      "title": "Zoë, 会議",\n' in out
    assert "  2025-05-01 11:15:30  accepted   d3\n" in out
    assert "  hello: dead\n    attempt 1  2025-05-01 10:15:30 to 2025-05-01 10:15:30  dead\n" in out
    assert "      RuntimeError: \\x1b[31mred\n        second line\n" in out


def test_show_takes_the_beginning_of_an_id(run: Commands) -> None:
    """An id, enough of its first letters, in any case, or the seq, name an event."""
    event_id = objects(run("log", "list", "--after", "2", "--limit", "1", "--json").out)[0]["event_id"]

    for name in (event_id, event_id[:20], event_id.upper(), "3"):
        assert objects(run("log", "show", name, "--json").out)[0]["event_id"] == event_id


@pytest.mark.parametrize("name", ["zzz", "99", "0", "9" * 30, "%", "", "\x1b[31m"])
def test_show_of_no_one_event_fails(run: Commands, name: str) -> None:
    """A name that fits no event or several is exit status 1, with a hint."""
    done = run("log", "show", name)

    assert (done.status, done.out) == (1, "")
    assert "klenhook log list" in done.err or "More than one event" in done.err
    assert "\x1b" not in done.err


def test_show_reads_any_body_that_was_accepted(run: Commands) -> None:
    """Numbers that no computer has are shown as text, and all of it as JSON that anything can read."""
    [shown] = [json.loads(run("log", "show", "4", "--json").out, parse_constant=pytest.fail)]

    assert shown["body"]["n"] == "1e999"
    assert shown["body"]["digits"] == DIGITS.decode()
    assert run("log", "show", "4").status == 0


def test_show_of_a_body_that_is_no_json(run: Commands) -> None:
    """A body that came in some other way, and is no JSON, is shown as text."""

    async def odd(log: Any) -> None:
        await log.append(new_event("no JSON"))

    change(run.folder, odd)

    assert objects(run("log", "show", "5", "--json").out)[0]["body"] == "no JSON|"
    assert "\n  no JSON|\n" in run("log", "show", "5").out


# sql


def test_sql_answers_in_a_table_or_as_objects(run: Commands) -> None:
    """`log sql` has a row per row; binary values are hexadecimal, infinite ones text, equal names numbered."""
    query = "SELECT seq, seq, x'00ff' AS bytes, 9e999 AS big, NULL AS missing FROM events WHERE seq < 3"

    assert objects(run("log", "sql", "--json", query).out) == [
        {"seq": n, "seq_2": n, "bytes": "00ff", "big": "inf", "missing": None} for n in (1, 2)
    ]
    assert [line.split() for line in run("log", "sql", query).out.splitlines()] == [
        ["seq", "seq", "bytes", "big", "missing"],
        ["1", "1", "00ff", "inf"],
        ["2", "2", "00ff", "inf"],
    ]


def test_sql_reads_its_query_from_standard_input(folder: Path) -> None:
    """`-` stands for standard input, which must be UTF-8."""
    done = klenhook(folder, "log", "sql", "--json", "-", stdin="SELECT 'é' AS a")

    assert objects(done.stdout) == [{"a": "é"}]
    wrong = subprocess.run(
        [*COMMAND, "sql", "-"], cwd=folder, input=b"\xff", capture_output=True, check=False
    )
    assert wrong.returncode == 2
    assert b"UTF-8" in wrong.stderr


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM event",
        "ATTACH 'x.db' AS x",
        "PRAGMA journal_mode = delete",
        "WITH a AS (SELECT 1) INSERT INTO probe SELECT 2, 2",
        "VACUUM INTO 'copy.db'",
        "SELECT 1; SELECT 2",
        "SELECT nothing",
        "",
        "\udcff",
    ],
)
def test_sql_only_reads(run: Commands, query: str) -> None:
    """Anything but one reading statement is refused with exit status 1, and changes nothing."""
    before = set(run.folder.iterdir())
    done = run("log", "sql", query)

    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("Error: ")
    assert set(run.folder.iterdir()) - before <= {
        run.folder / "klenhook.db-wal",
        run.folder / "klenhook.db-shm",
    }


def test_sql_without_rows_says_so(run: Commands) -> None:
    """No rows is no failure."""
    done = run("log", "sql", "SELECT 1 WHERE 0", "--json")

    assert (done.status, done.out, done.err) == (0, "", "No rows.\n")


# export


def test_export_has_the_records_of_the_list(run: Commands) -> None:
    """JSON Lines are those that `log list` prints for the same filters, without its limit."""
    assert run("log", "export").out == run("log", "list", "--json", "--limit", "0").out
    assert [record["seq"] for record in objects(run("log", "export", "--after", "2").out)] == [3, 4]
    assert len(objects(run("log", "export", "--limit", "1").out)) == 1


def test_csv_is_safe_in_a_spreadsheet(run: Commands) -> None:
    """CSV has the keys of a record and four more; what a spreadsheet would run has an apostrophe before it."""

    async def formula(log: Any) -> None:
        await receive(log, webhook(title="=1+1"), 4)

    change(run.folder, formula)
    done = run("log", "export", "--format", "csv", "--output", "events.csv", "--after", "0")
    file = run.folder / "events.csv"
    rows = list(csv.DictReader(io.StringIO(file.read_bytes().decode(), newline="")))

    assert (done.status, done.out, done.err) == (0, "", "")
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(rows[0]) == [*KEYS, "title", "status", "start", "end"]
    assert [row["title"] for row in rows] == ["Client Meeting", "Zoë, 会議", HOSTILE, "", "'=1+1"]
    assert json.loads(rows[1]["runs"]) == {"hello": "dead", "mail": "done"}
    assert rows[0]["changes"] == "[]"
    assert rows[0]["start"] == "2025-05-01T14:00:00.000Z"


def test_export_that_cannot_be_written_fails(run: Commands) -> None:
    """A file that cannot be made, and a full disk, are exit status 1 and one sentence."""
    for arguments in (["--output", "no/such/folder"], ["--output", "/dev/full"]):
        done = run("log", "export", *arguments)

        assert done.status == 1
        assert done.err.startswith("Error: cannot write ")


# pipes


@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--json"], ["export"], ["sql", "SELECT 1"], ["tail"], ["show", "1"]]
)
def test_a_reader_that_has_seen_enough_ends_the_command(folder: Path, arguments: list[str]) -> None:
    """`klenhook log ... | head` ends by itself, quietly, with exit status 0."""
    reading, writing = os.pipe()
    os.close(reading)
    child = subprocess.Popen([*COMMAND, *arguments], cwd=folder, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)

    _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, b"")


def test_a_full_disk_is_told(folder: Path) -> None:
    """Output that cannot be written is exit status 1, not a shorter answer."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "list"], cwd=folder, stdout=full, stderr=subprocess.PIPE, check=False, timeout=20
        )

    assert (done.returncode, done.stderr) == (
        1,
        b"Error: cannot write the output: No space left on device.\n",
    )


def test_any_encoding_of_the_terminal_will_do(folder: Path) -> None:
    """What the encoding of standard output lacks is shown as an escape."""
    for arguments in (["list"], ["show", "2"], ["show", "2", "--json"]):
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONIOENCODING": "latin-1"},
            capture_output=True,
            check=False,
            timeout=20,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\\u4f1a\\u8b70" in done.stdout


# tail


def test_tail_follows_until_it_is_stopped(folder: Path) -> None:
    """`log tail` prints the newest, then each event as it comes, once; Ctrl-C ends it with exit status 0."""
    child = subprocess.Popen(
        [*COMMAND, "tail", "--json", "--after", "2"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    first = [json.loads(child.stdout.readline()) for _ in range(2)]

    async def one_more(log: Any) -> None:
        await receive(log, b'{"event_type":"new"}', 4)

    change(folder, one_more)
    second = json.loads(child.stdout.readline())
    time.sleep(0.7)
    child.send_signal(signal.SIGINT)
    rest, err = child.communicate(timeout=20)

    assert [event["seq"] for event in first] == [3, 4]
    assert list(first[0]) == KEYS
    assert second["event_type"] == "new"
    assert (child.returncode, rest, err) == (0, "", "")


def test_tail_begins_with_the_last_ten(folder: Path) -> None:
    """Without `--after` the last ten are printed first, oldest first, a line each."""

    async def eleven(log: Any) -> None:
        for number in range(11):
            await receive(log, b'{"event_type":"n%d\\n"}' % number, 4)

    change(folder, eleven)
    child = subprocess.Popen([*COMMAND, "tail"], cwd=folder, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(10)]
    child.send_signal(signal.SIGINT)
    rest, _ = child.communicate(timeout=20)

    assert [line.split()[0] for line in lines] == [str(n) for n in range(6, 16)]
    assert lines[0].split()[3] == "n1\\n"
    assert rest == ""


# quarantine


def test_quarantine_lists_what_was_refused(run: Commands) -> None:
    """Quarantine has each body with its reason, newest first."""
    records = objects(run("log", "quarantine", "--json").out)

    assert [record["id"] for record in records] == [2, 1]
    assert records[0]["state"] == "kept"
    assert [line.split()[0] for line in run("log", "quarantine").out.splitlines()] == ["id", "2", "1"]
    assert len(objects(run("log", "quarantine", "--json", "--limit", "1").out)) == 1


def test_quarantine_gives_back_the_bytes(folder: Path, run: Commands) -> None:
    """`show` writes the body as it came; `--json` has it with what is known about it."""
    done = subprocess.run([*COMMAND, "quarantine", "show", "1"], cwd=folder, capture_output=True, check=True)

    assert done.stdout == b"not \x1b[31mJSON\xff"
    [shown] = objects(run("log", "quarantine", "show", "1", "--json").out)
    assert shown["body_base64"] == "bm90IBtbMzFtSlNPTv8="
    assert shown["reason"] == "invalid_json"
    [shown] = objects(run("log", "quarantine", "show", "2", "--json").out)
    assert shown["body"] == webhook(title="After all").decode()


def test_a_released_body_is_an_event(run: Commands) -> None:
    """`release` records the body as an event of the time it came, and marks it; once more finds that event."""
    done = run("log", "quarantine", "release", "2")
    assert (done.status, done.out) == (0, "")

    [event] = objects(run("log", "list", "--after", "4", "--json").out)
    assert event["event_id"] in done.err
    assert event["event_type"] == "calendar.created"
    assert event["received_at"] == "2025-05-01T10:15:30.000Z"
    assert event["delivery_id"] == "q2"
    assert objects(run("log", "quarantine", "--json").out)[0]["state"] == "released"
    again = run("log", "quarantine", "release", "2")
    assert (again.status, seqs(run, "--after", "4")) == (0, [5])
    assert event["event_id"] in again.err


@pytest.mark.parametrize(
    ("number", "told"),
    [("1", "still is no JSON"), ("3", "Quarantine has no body 3"), ("0", "Quarantine has no body 0")],
)
def test_what_cannot_be_released_stays(run: Commands, number: str, told: str) -> None:
    """A body that still is no JSON, or is not there, is exit status 1, and nothing changes."""
    done = run("log", "quarantine", "release", number)

    assert done.status == 1
    assert told in done.err
    assert [record["state"] for record in objects(run("log", "quarantine", "--json").out)] == ["kept", "kept"]


def test_config_may_stand_before_or_after_the_subcommand(run: Commands) -> None:
    """`quarantine --config X show 2` and `quarantine show 2 --config X` are the same."""
    config = str(run.folder / "config.toml")
    run = Commands(run.folder.parent, run.monkeypatch, run.capture)

    before = run("log", "quarantine", "--config", config, "show", "2")
    after = run("log", "quarantine", "show", "2", "--config", config)

    assert (before.status, before.out) == (0, webhook(title="After all").decode())
    assert after == before


# with and without a log and a service

READING = [
    ["list"],
    ["list", "--count"],
    ["show", "1"],
    ["sql", "SELECT 1"],
    ["export"],
    ["tail"],
    ["quarantine"],
    ["quarantine", "show", "1"],
    ["quarantine", "release", "1"],
]


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_without_a_log_what_makes_it_is_told(run: Commands, arguments: list[str]) -> None:
    """Where there is no log yet, that is said, with exit status 2, and none is made."""
    for file in run.folder.glob("klenhook.db*"):
        file.unlink()
    done = run("log", *arguments)

    assert (done.status, done.out) == (2, "")
    assert "There is no log at " in done.err
    assert "klenhook serve" in done.err
    assert list(run.folder.glob("klenhook.db*")) == []


def test_a_new_log_is_empty(run: Commands) -> None:
    """A log without events is said to be empty, and is no failure."""
    for file in run.folder.glob("klenhook.db*"):
        file.unlink()
    assert run("db", "migrate").status == 0

    assert (run("log", "list").err, run("log", "list").status) == ("The log has no events yet.\n", 0)
    assert run("log", "list", "--count").out == "0\n"
    assert run("log", "quarantine").err == "Quarantine is empty.\n"


def test_a_file_that_cannot_be_written_can_be_read(run: Commands) -> None:
    """Reading takes no right to write the log."""
    (run.folder / "klenhook.db").chmod(0o444)

    assert seqs(run) == [4, 3, 2, 1]


async def test_a_log_that_somebody_holds_without_listening(folder: Path) -> None:
    """`release` does not touch a log whose holder takes no commands, and says what to do; reading goes on."""
    log = await open_log(f"sqlite:///{folder}/klenhook.db")
    try:
        done = klenhook(folder, "log", "quarantine", "release", "2", status=1)
        assert "takes no commands" in done.stderr
        assert done.stderr.endswith("Nothing was changed.\n")
        assert [
            record["id"] for record in objects(klenhook(folder, "log", "quarantine", "--json").stdout)
        ] == [2, 1]
    finally:
        await log.aclose()


@pytest.mark.parametrize("token", ["", TOKEN])
async def test_a_running_service_releases(folder: Path, token: str) -> None:
    """While a service has the log, it does what `release` asks, and its handlers get the event."""
    async with listening(folder, token=token) as (service, _):
        done = await asyncio.to_thread(klenhook, folder, "log", "quarantine", "release", "2")
        again = await asyncio.to_thread(klenhook, folder, "log", "quarantine", "release", "2")
        refused = await asyncio.to_thread(klenhook, folder, "log", "quarantine", "release", "1", status=1)
        async with asyncio.timeout(10):
            while (event := (await service.log.page(Selection()))[0]).runs.get("hello") != "done":
                await asyncio.sleep(0.02)

    assert done.stderr == f"Released 2 as event {event.event_id}.\n"
    assert f"has it already, as event {event.event_id}" in again.stderr
    assert "still is no JSON" in refused.stderr


def test_the_log_of_a_running_service(tmp_path: Path, unused_tcp_port: int) -> None:
    """What a service has accepted is listed while it runs."""
    write_config(tmp_path, port=unused_tcp_port)
    with Process(tmp_path, port=unused_tcp_port) as service:
        service.wait_ready()
        request = urllib.request.Request(
            f"http://127.0.0.1:{unused_tcp_port}/webhooks/klen",
            webhook(),
            headers(webhook(), delivery_id="d1"),
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 -- the address of our own service
            event_id = json.load(answer)["event_id"]
        [record] = objects(klenhook(tmp_path, "log", "list", "--json").stdout)

        assert (record["event_id"], record["delivery_id"]) == (event_id, "d1")
        assert service.terminate() == 0
    assert len(objects(klenhook(tmp_path, "log", "list", "--json").stdout)) == 1


# search


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    """A service that has seen a few bookings, and has stopped."""
    write_config(tmp_path)

    async def serve() -> None:
        async with running(tmp_path) as service:
            for title, name, email, phone in (
                ("First talk", "Zoë Łuk", "zoe@example.com", "+1 (555) 123-4567"),
                ("Second talk", "Bob", "bob@example.org", "+15559876543"),
                (HOSTILE, "Carol", "carol@example.net", None),
            ):
                customer = {"name": name, "email": email, "phone": phone}
                await post(service.port, webhook(uuid=str(uuid4()), title=title, customer=customer))
            while await service.log.unrouted(1):
                await asyncio.sleep(0.01)

    asyncio.run(serve())
    return Commands(tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["talk"], [2, 1]),
        (["TALK", "zoe"], [1]),
        (["talk zoë"], [1]),
        (["Luk"], [1]),
        (["zoe@example.com"], [1]),
        (["example"], [3, 2, 1]),
        (["+1 (555) 123-4567"], [1]),
        (["555-123-4567"], [1]),
        (["+1555"], [2, 1]),
        (["ta*", "--limit", "1"], [2]),
        (["talk", "--after", "0"], [1, 2]),
        (["talk", "--type", "call.*"], []),
        (["evil"], [3]),
        (["--", "-talk"], [2, 1]),
        (['" OR words:* NEAR('], []),
    ],
)
def test_search(searched: Commands, typed: list[str], expected: list[int]) -> None:
    """Events are found by what was typed, newest first, as records of `log list --json`."""
    done = searched("log", "search", "--json", *typed)

    assert done.status == 0
    assert [record["seq"] for record in objects(done.out)] == expected
    assert all(list(record) == KEYS for record in objects(done.out))
    assert done.err == ("" if expected else "No events match.\n")


def test_search_for_people(searched: Commands) -> None:
    """A table shows what was found, with nothing in it that drives the terminal."""
    done = searched("log", "search", "evil")

    assert "\\x1b[31m=evil" in done.out
    assert "\x1b" not in done.out
    assert searched("log", "search", "***").status == 2
    assert searched("log", "search").status == 2
    assert searched("log", "search", "\udcff").status == 2
