"""`klenhook replay`: with a running service and without one, interrupted, and refused."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import unused_port

from receiver.cli.log.show import without_query
from tests.support.commands import change, receive
from tests.support.klen import post, webhook
from tests.support.service import Process, klenhook, write_config, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

    from storage.log import EventLog

EVENTS = 300
SUBJECTS = 5
OPS = '[ops]\nlisten = "127.0.0.1:0"\ntoken = "an-ops-token-of-some-length"\n'
PLUGIN = """
import asyncio
from pathlib import Path
from receiver import CalendarCreated, CalendarUpdated, Context, on
effects = Path(__file__).with_name('effects').open('a', buffering=1)
@on(CalendarCreated)
async def hello(event: CalendarCreated, ctx: Context) -> None:
    await asyncio.sleep(0.002)
    print('hello', ctx.replayed, event.calendar_event.uuid[-1], event.calendar_event.title, file=effects)
@on(CalendarUpdated, CalendarCreated, where=lambda event: event.calendar_event.id == 1)
async def picky(event, ctx: Context) -> None:
    print('picky', ctx.replayed, event.calendar_event.uuid[-1], event.calendar_event.title, file=effects)
"""


def body(number: int) -> bytes:
    about = number % SUBJECTS
    return webhook(id=about, uuid=f"f47ac10b-58cc-4372-a567-0e02b2c3d47{about}", title=f"{number:04}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration, two handlers, and events that nobody has handled yet."""
    write_config(tmp_path, OPS, port=unused_port())
    write_plugin(tmp_path, PLUGIN)

    async def fill(log: EventLog) -> None:
        await asyncio.gather(*(receive(log, body(number), 0) for number in range(EVENTS)))

    change(tmp_path, fill)
    return tmp_path


def port_of(folder: Path) -> int:
    return int((folder / "config.toml").read_text().split("127.0.0.1:")[1].split('"')[0])


def effects(folder: Path) -> list[list[str]]:
    path = folder / "plugins" / "effects"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def replay_runs(folder: Path) -> Counter[tuple[int, str, str]]:
    """How many runs of replays there are, by event, handler and state."""
    with closing(sqlite3.connect(f"file:{folder / 'klenhook.db'}?mode=ro", uri=True)) as log:
        rows = log.execute("SELECT seq, handler, state FROM runs WHERE replay_id IS NOT NULL").fetchall()
    return Counter((int(seq), handler, state) for seq, handler, state in rows)


def in_order(titles: list[list[str]]) -> bool:
    """Whether each calendar event's titles came in the order of the log."""
    for about in range(SUBJECTS):
        one = [line[3] for line in titles if line[2] == str(about)]
        if one != sorted(one):
            return False
    return True


def test_without_a_service_it_is_done_here(folder: Path) -> None:
    """Each event that the handler wants once, in order per calendar event; nothing else runs."""
    done = klenhook(folder, "replay", "--all", "--to", "hello", "--yes", "--json")
    report = json.loads(done.stdout)
    assert f"This replays {EVENTS} events to handler hello (received " in done.stderr
    assert (report["total"], report["covered"], report["runs"]) == (
        EVENTS,
        EVENTS,
        {"hello": {"done": EVENTS}},
    )
    seen = effects(folder)
    assert len(seen) == EVENTS
    assert {line[0] for line in seen} == {"hello"}
    assert {line[1] for line in seen} == {"True"}
    assert in_order(seen)


def test_a_target_gets_only_what_it_wants(folder: Path) -> None:
    """Its classes and its `where` decide, as for news; so they do for everybody when nobody is named."""
    klenhook(folder, "replay", "--all", "--to", "picky", "--yes")
    assert {line[2] for line in effects(folder)} == {"1"}
    assert len(effects(folder)) == EVENTS // SUBJECTS
    plan = json.loads(klenhook(folder, "replay", "--all", "--dry-run", "--json").stdout)
    assert plan == {
        "events": EVENTS,
        "types": {"calendar.created": EVENTS},
        "handlers": {"hello": EVENTS, "picky": EVENTS // SUBJECTS},
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected a filter"),
        (["--yes"], "expected a filter"),
        (["--all"], "--yes says yes. Nothing was changed"),
        (["--all", "--yes", "--to", "helo"], "did you mean hello?"),
        (["--yes", "--handler", "nobody"], "there are hello, picky"),
        (["--handled-by", "*", "--yes"], "in hex"),
        (["--limit", "3", "--after", "2", "--yes"], "newest"),
    ],
)
def test_what_is_refused_changes_nothing(folder: Path, options: list[str], message: str) -> None:
    """Exit status 2, with what to do; no replay is recorded and no handler is called."""
    assert message in klenhook(folder, "replay", *options, status=2).stderr
    assert "no replay yet" in klenhook(folder, "replay", "--list").stderr
    assert effects(folder) == []


def test_limit_and_after(folder: Path) -> None:
    """`--limit` takes the newest, `--after` all behind a number; nothing selected is nothing done."""
    klenhook(folder, "replay", "--limit", "3", "--to", "hello", "--yes")
    assert {seq for seq, _, _ in replay_runs(folder)} == {EVENTS - 2, EVENTS - 1, EVENTS}
    klenhook(folder, "replay", "--after", str(EVENTS - 5), "--to", "hello", "--yes")
    assert len(effects(folder)) == 8
    assert "No events match" in klenhook(folder, "replay", "--type", "nothing", "--yes").stderr


def test_exactly_what_a_code_version_handled(folder: Path) -> None:
    """`--handled-by` selects pairs of event and handler; dead runs end the command with 1."""
    klenhook(folder, "replay", "--limit", "4", "--to", "hello", "--yes")
    event = json.loads(klenhook(folder, "log", "show", str(EVENTS), "--json").stdout)
    version = event["runs"][0]["attempts"][0]["code_version"]
    write_plugin(
        folder,
        PLUGIN.replace("await asyncio.sleep(0.002)", "raise Discard('seen')").replace(
            "import CalendarCreated", "import Discard, CalendarCreated"
        ),
    )
    klenhook(folder, "replay", "--handled-by", version, "--yes")
    states = Counter(state for _, handler, state in replay_runs(folder).elements() if handler == "hello")
    assert states == {"done": 4, "discarded": 4}
    assert not [key for key in replay_runs(folder) if key[1] == "picky"]
    shown = klenhook(folder, "log", "show", str(EVENTS)).stdout
    assert "hello: discarded, replay 2" in shown
    assert f"code {version}" in shown


def test_dead_runs_are_told(folder: Path) -> None:
    """The table counts them, and the exit status is 1."""
    write_plugin(
        folder,
        "from receiver import *\nfrom receiver import AnyEvent, RetryPolicy, on\n@on(AnyEvent, retry=RetryPolicy(tries=1))\ndef bad(event): raise ValueError\n",
        "bad",
    )
    done = klenhook(folder, "replay", "--limit", "2", "--to", "bad", "--yes", status=1)
    assert done.stdout.split() == ["handler", "dead", "bad", "2"]


async def test_it_runs_beside_what_is_new(folder: Path) -> None:
    """Through the running service, while deliveries come in: all is done once, and news are not held up."""
    with Process(folder, port=port_of(folder)) as process:
        process.wait_ready()
        command = asyncio.create_task(
            asyncio.to_thread(klenhook, folder, "replay", "--until", "1d", "--to", "hello", "--yes", "--json")
        )
        sent = 0
        slowest = 0.0
        while not command.done():
            began = time.monotonic()
            answer = await post(process.port, body(EVENTS + sent))
            slowest = max(slowest, time.monotonic() - began)
            assert answer.status == 200
            sent += 1
            await asyncio.sleep(0.01)
        report = json.loads((await command).stdout)
        assert report["runs"] == {"hello": {"done": EVENTS}}
        refused = klenhook(folder, "replay", "--all", "--to", "hello", "--yes", "--no-wait")
        assert "has begun" in refused.stderr
        assert process.terminate() == 0
    assert sent > 5
    assert slowest < 2
    replayed = [key for key, number in replay_runs(folder).items() if key[0] <= EVENTS]
    assert len({seq for seq, _, _ in replayed}) == EVENTS


async def test_a_killed_replay_goes_on(folder: Path) -> None:
    """`kill -9` at different moments: in the end every selected event has exactly one run of the replay."""
    with Process(folder, port=port_of(folder)) as process:
        process.wait_ready()
        begun = klenhook(folder, "replay", "--all", "--to", "hello", "--yes", "--no-wait", "--json")
        assert json.loads(begun.stdout)["replay_id"] == 1
        process.kill()
    for pause in (0.0, 0.15):
        with Process(folder, port=port_of(folder)) as process:
            process.wait_ready()
            await asyncio.sleep(pause)
            process.kill()
    with Process(folder, port=port_of(folder)) as process:
        process.wait_ready()
        async with asyncio.timeout(30):
            while set(replay_runs(folder)) != {(seq, "hello", "done") for seq in range(1, EVENTS + 1)}:
                await asyncio.sleep(0.1)
        assert process.terminate() == 0
    assert set(replay_runs(folder).values()) == {1}


def test_a_message_is_shown_without_what_may_be_a_token() -> None:
    """Of its URL, scheme, host, port and path."""
    assert without_query("https://user:pw@example.com:8443/a/b?token=1#x") == "https://example.com:8443/a/b"
