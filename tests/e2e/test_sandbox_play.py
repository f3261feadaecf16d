"""Stories played against the real service, and the rules its log must keep."""

from __future__ import annotations

import json
import socket
import sqlite3
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from receiver.sandbox import Sandbox, SandboxError
from receiver.sandbox.invariants import Report, compare
from receiver.sandbox.scenario import Play, Scenario, bundled_stories, load_scenario, parse_scenario
from tests.support.commands import Commands
from tests.support.klen import SECRET
from tests.support.service import Process, running, write_config
from tests.support.soak import soak

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from receiver.service import Service
    from storage.reader import EventReader

STORY = """
[[steps]]
book = "visit"
title = "Visit"
starts_in = "3h"
minutes = 30
[[steps]]
update = "visit"
status = "no_show"
"""


@asynccontextmanager
async def played(story: Scenario, service: Service, seed: int = 7) -> AsyncIterator[Sandbox]:
    """The sandbox after the story."""
    async with Sandbox(speed=0, seed=seed, faults=story.faults) as sandbox:
        sandbox.register(f"http://{service.host}:{service.port}/webhooks/klen", secret=SECRET)
        playing = Play(sandbox)
        for step in story.steps:
            await playing.perform(step)
        await sandbox.finish()
        while (await service.log.status()).unrouted:
            pass
        yield sandbox


async def judged(sandbox: Sandbox, log: EventReader) -> Report:
    return await compare(sandbox.courier.deliveries, sandbox.world, log, source="klen")


@pytest.mark.parametrize("name", bundled_stories())
async def test_the_stories(tmp_path: Path, name: str) -> None:
    """After each of the stories that come with it, the log keeps every rule."""
    async with running(tmp_path) as service, played(load_scenario(name), service) as sandbox:
        report = await judged(sandbox, service.log)

    assert [finding for finding in report.findings if finding.violations] == []
    assert report.findings[0].checked > 4
    assert report.lost == []


async def test_nobody_came(tmp_path: Path) -> None:
    """The story of the no-show arrives as five webhooks, the last of which is an update."""
    async with running(tmp_path) as service, played(load_scenario("nobody-came"), service) as sandbox:
        kinds = [delivery.event_type for delivery in sandbox.courier.deliveries]
        [state] = await service.log.calendar_events(next(iter(sandbox.world)).uuid)

    assert kinds == [
        "calendar.created",
        "calendar.updated",
        "calendar.updated",
        "calendar.reminder",
        "calendar.updated",
    ]
    known = json.loads(state.calendar_event or "{}")
    assert known["status"] == "no_show"
    assert known["location"] == "Conference Room B"


async def test_what_was_lost(tmp_path: Path) -> None:
    """What the faults keep from arriving is no fault of the log, and is named as lost."""
    story = parse_scenario("[faults]\ndrop = 1\n" + STORY)
    async with running(tmp_path) as service, played(story, service) as sandbox:
        report = await judged(sandbox, service.log)

    assert report.holds
    assert report.lost == [one.uuid for one in sandbox.world]


def forget(log: sqlite3.Connection) -> None:
    log.execute("DELETE FROM event WHERE seq = 2")


def invent(log: sqlite3.Connection) -> None:
    log.execute("UPDATE event SET body = x'7b7d', body_sha256 = x'00' WHERE seq = 1")


def miscount(log: sqlite3.Connection) -> None:
    log.execute("DELETE FROM repeat")


def misjudge(log: sqlite3.Connection) -> None:
    log.execute("UPDATE state SET calendar_event = json_set(calendar_event, '$.title', 'Other')")


@pytest.mark.parametrize(
    ("harm", "broken"),
    [
        (forget, {"what was acknowledged is in the log"}),
        (invent, {"what was acknowledged is in the log", "what is in the log was sent"}),
        (miscount, {"each repeated delivery is counted with the first"}),
        (misjudge, {"the state is what the newest webhook says"}),
    ],
)
async def test_a_log_that_breaks_a_rule(
    tmp_path: Path, harm: Callable[[sqlite3.Connection], None], broken: set[str]
) -> None:
    """A log that lost, invented, miscounted or misjudged something is found out, by the rule it breaks."""
    story = parse_scenario("[faults]\nduplicate = 1\n" + STORY)
    async with running(tmp_path) as service, played(story, service) as sandbox:
        before = await judged(sandbox, service.log)
        harmed = sqlite3.connect(tmp_path / "klenhook.db")
        with harmed:
            harmed.execute("PRAGMA foreign_keys=OFF")
            harm(harmed)
        harmed.close()
        after = await judged(sandbox, service.log)

    assert before.holds
    assert not after.holds
    assert broken <= {finding.rule for finding in after.findings if finding.violations}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("update = 'nobody'", "step 1, update: nothing was booked as 'nobody'"),
        ("book = 'x'\ntitle = 'X'", "step 1, book: Missing required parameter: start_time"),
        (
            "book = 'x'\ntitle = 'X'\nstarts_in = '1h'\nminutes = 0",
            "step 1, book: End time must be after start time",
        ),
        ("book = 'x'\ntitle = 'X'\nstarts_in = '1h'\nminutes = 'many'", "step 1, book: expected a number"),
        ("wait = 'long'", "step 1, wait: expected a time such as"),
        ("burst = -1", "step 1, burst: expected a number"),
        ("rotate = 9", "step 1, rotate: there is no webhook 9"),
    ],
)
async def test_a_step_that_cannot_be_done(step: str, said: str) -> None:
    """A step that the vendor would refuse, or that means nothing, is named with the reason."""
    async with Sandbox(speed=0) as sandbox:
        with pytest.raises(SandboxError) as raised:
            await Play(sandbox).perform(parse_scenario(f"[[steps]]\n{step}").steps[0])

    assert str(raised.value).startswith(said)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sandbox play` says how every rule stands; it fails when no service is there."""
    play = partial(Commands(tmp_path, monkeypatch, capsys), "sandbox", "play", "nobody-came")
    port = free_port()
    write_config(tmp_path, '[ops]\nlisten = "127.0.0.1:0"', port=port)
    with Process(tmp_path, port=port) as service:
        service.wait_ready()
        table, lines = play(), play("--json", "--seed", "3").out.splitlines()
    gone = play()

    assert table.status == 0
    assert [line.split()[-1] for line in table.out.splitlines()[1:]] == ["none"] * 6
    report: list[Any] = [json.loads(line) for line in lines]
    assert [one.get("violations") for one in report] == [[]] * 6 + [None]
    assert report[-1] == {"rule": "lost", "calendar_event_uuids": []}
    assert (gone.status, "Is the service running?" in gone.err) == (1, True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_short_soak(tmp_path: Path) -> None:
    """With every fault on and the service killed in the middle, the log keeps every rule; reconcile finds the rest."""
    done = await soak(tmp_path, appointments=60, changes=1, kills=1)

    assert done.report.holds, done.figures()
    assert done.faults["no answer"] > 0
    assert done.deliveries > 100
    assert (done.reconciled["lost"], done.reconciled["holds"]) == (0, True), done.figures()
    assert done.reconciled["second"]["records"] == 0
