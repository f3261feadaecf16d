"""`klenhook demo`: it shows what really happens, ends by itself, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil  # type: ignore[import-untyped]  # its stubs are not installed
import pytest

from receiver.demo import Account, Story
from receiver.demo.script import Step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Shown: TypeAlias = tuple[subprocess.CompletedProcess[str], "Path"]

COMMAND = [sys.executable, "-P", "-m", "receiver", "demo"]


@pytest.fixture(name="env")
def _env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with a temporary folder of its own; whatever a test leaves running there is ended."""
    yield os.environ | {"TMPDIR": str(tmp_path)}
    for process in started_in(tmp_path):
        process.kill()


def started_in(folder: Path) -> list[psutil.Process]:
    """Processes with a configuration in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in argument for argument in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def show(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, env=env, timeout=60, check=False
    )


@pytest.fixture(name="shown", scope="module")
def _shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """One demo that ran through, and the folder in which it could make its own."""
    folder = tmp_path_factory.mktemp("demo")
    return show(os.environ | {"TMPDIR": str(folder)}), folder


@pytest.mark.parametrize(
    "row",
    [
        r"booked +200 accepted +stored: created; diary done",
        r"another one booked +200 accepted +stored: created; diary done",
        r"the first one moved +200 accepted +stored: rescheduled; diary done",
        r"the first webhook again +200 duplicate +no new event; deliveries of the first: 2",
        r"an update that comes late +200 accepted +stored: stale; diary (done|skipped)",
        r"a forged one +401 invalid_signature +refused, nothing stored",
        r"one of an unknown kind +200 accepted +stored: no handler wants it",
    ],
)
def test_it_shows_what_becomes_of_each_delivery(shown: Shown, row: str) -> None:
    """Each delivery has a row with its real answer and its fate."""
    assert re.search(f"^{row} *$", shown[0].stdout, re.MULTILINE), shown[0].stdout + shown[0].stderr


def test_it_shows_what_an_outage_cost(shown: Shown) -> None:
    """The loss report, the timeline of the appointment with its late event, and every verdict."""
    out = shown[0].stdout
    for what in (
        "created +125 +Urgent Call",
        "rescheduled +123 +Client Meeting",
        "cancelled +124 +Product Demo",
    ):
        assert re.search(rf"2h +{what}", out), out
    assert "3 events were missed and are recorded; the oldest was found after 2h." in out
    assert re.search(r"calendar\.updated  stale  event 4", out)
    assert re.search(r"calendar\.updated  by reconcile  event \d", out)


def test_it_ends_well_and_leaves_nothing(shown: Shown) -> None:
    """The log has the eight events; it exits 0, and no file and no process is left."""
    done, folder = shown

    assert done.returncode == 0
    assert len(re.findall(r"^\d+ .*[0-9a-f]{8}-[0-9a-f]{4}-7", done.stdout, re.MULTILINE)) == 8
    assert "Everything was as it must be" in done.stdout
    assert list(folder.iterdir()) == []
    assert started_in(folder) == []


def test_it_has_no_colours_when_piped(shown: Shown) -> None:
    """Output to a pipe is plain text, and standard error stays empty."""
    assert "\x1b" not in shown[0].stdout
    assert shown[0].stderr == ""


def test_the_next_commands_are_real(shown: Shown) -> None:
    """It ends with three commands that can be typed, of this very program."""
    last = shown[0].stdout.strip().splitlines()[-3:]

    assert [line.partition(" -m receiver ")[2] for line in last] == [
        "init my-hooks  # says how to set the secret, too",
        "serve --config my-hooks/config.toml &",
        "send calendar.created --config my-hooks/config.toml",
    ]


def test_the_environment_of_the_user_changes_nothing(env: dict[str, str], tmp_path: Path) -> None:
    """Variables for the user's own service, a module in the way, and no standard input: the demo is the same."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "storage.py").write_text("raise SystemExit('not this one')")
    others = {
        "KLENHOOK_CONFIG": "/nowhere.toml",
        "KLENHOOK_SERVER__LISTEN": "nonsense",
        "KLENHOOK_STORAGE__URL": f"sqlite:///{tmp_path}/users.db",
    }

    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND],
        capture_output=True,
        text=True,
        cwd=tmp_path / "elsewhere",
        env=env | others,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert not (tmp_path / "users.db").exists()


def test_keep_leaves_it_running_and_says_how_to_stop(env: dict[str, str], tmp_path: Path) -> None:
    """With --keep the service answers on; the commands it names work, and the last one ends it all."""
    done = show(env, "--keep")
    assert done.returncode == 0, done.stdout + done.stderr

    send = done.stdout.strip().splitlines()[-3]
    stop = re.search(r"^  (kill \d+ \d+; sleep 2; rm -r \S+)$", done.stdout, re.MULTILINE)
    assert stop is not None
    sent = subprocess.run(["sh", "-c", send], capture_output=True, text=True, env=env, check=False)
    assert sent.stdout.startswith('200 {"status": "accepted"'), sent.stderr

    subprocess.run(["sh", "-c", stop[1]], env=env, check=True)
    _wait_until_gone(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_signal_cleans_up(env: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM and a closed terminal in the middle stop the service and remove its folder."""
    demo = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    with demo:
        assert demo.stdout is not None
        demo.stdout.readline()  # the service is up

        demo.send_signal(number)
        _, errors = demo.communicate(timeout=20)

    assert demo.returncode != 0
    assert "Traceback" not in errors
    _wait_until_gone(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_differs_is_said() -> None:
    """A wrong answer, a run that is not done, a wrong change, a missing event: each is a sentence."""
    story = Story(Account("http://127.0.0.1:1"), "http://127.0.0.1:1/webhooks/klen", "secret")
    story.steps = [
        Step("booked", "calendar.created", "d1", "200 accepted", "200 accepted", ("created",)),
        Step("forged", "calendar.created", "d2", "200 accepted", "401 invalid_signature"),
        Step("late", "calendar.updated", "d3", "200 accepted", "200 accepted", verdict="stale"),
        Step("moved in the outage", "calendar.updated", None, "", "found by reconcile", ("rescheduled",)),
    ]
    record: dict[str, Any] = {"delivery_id": "d1", "event_type": "calendar.created", "origin": "webhook"}
    record |= {"verdict": "fresh", "changes": ["created"], "runs": {"diary": "retrying"}, "deliveries": 1}
    late = record | {"delivery_id": "d3", "verdict": "stale", "changes": [], "runs": {"diary": "skipped"}}
    assert not story.see([record, late])

    assert story.differences("1\n") == [
        "booked: expected the runs {'diary': 'done'}, found {'diary': 'retrying'}.",
        "forged: expected the answer 401 invalid_signature, found 200 accepted.",
        "moved in the outage: expected an event in the log, found none.",
        "The diary: expected 0 lines, found 1.",
        "The log: expected 3 events, found 2.",
    ]
    done = record | {"runs": {"diary": "done"}}
    found = done | {"delivery_id": None, "event_type": "calendar.updated", "origin": "reconcile"}
    story.steps = [story.steps[0], *story.steps[2:]]
    assert story.see([done, late, found | {"changes": ["rescheduled"]}])
    assert story.differences("1\n2\n") == []


def _wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + 10
    while started_in(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert started_in(folder) == []
