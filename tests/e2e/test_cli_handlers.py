"""`klenhook handlers`, as a person runs it: a new process, files, two streams and an exit status."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from receiver.events import EVENT_TYPES
from storage.work import NewRun
from tests.support.commands import change, fill
from tests.support.logs import route_all

if TYPE_CHECKING:
    from pathlib import Path

HELLO = """
from receiver import CalendarCreated, on

@on(CalendarCreated)
async def hello(event: CalendarCreated) -> None: ...
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "config.toml").write_text('[sources.klen]\nsecrets = ["env:KLEN_WEBHOOK_SECRET"]\n')
    return tmp_path


def klenhook(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"KLEN_WEBHOOK_SECRET": "b7c1d5f0a94e4c0ab3c8", "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-m", "receiver", "handlers", *words]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_new_then_check_then_list(folder: Path) -> None:
    """`new` writes a plugin that `check` finds right and `list` shows."""
    new = klenhook(folder, "new", "follow_up", "--event", "calendar.completed")
    check = klenhook(folder, "check")
    table = klenhook(folder, "list")
    records = klenhook(folder, "list", "--json")

    assert (new.returncode, check.returncode, table.returncode, records.returncode) == (0, 0, 0, 0)
    assert "Wrote plugins/follow_up.py and tests/test_follow_up.py." in new.stderr
    assert check.stdout == "OK: follow_up (calendar.completed), plugins/follow_up.py\n"
    assert "follow_up" in table.stdout
    record = json.loads(records.stdout)
    assert (
        record["events"],
        record["enabled"],
        record["origin"],
    ) == (["calendar.completed"], True, "plugins")
    assert record["retry"]["tries"] == 8


def test_new_makes_the_folder(folder: Path) -> None:
    """`new` makes the plugins folder when it is not there yet."""
    (folder / "plugins").rmdir()

    assert klenhook(folder, "new", "greet").returncode == 0
    assert klenhook(folder, "check").returncode == 0


@pytest.mark.parametrize("taken", ["plugins/hello.py", "tests/test_hello.py"])
def test_new_overwrites_nothing(folder: Path, taken: str) -> None:
    """`new` leaves files of these names as they are, and then writes nothing at all."""
    file = folder / taken
    file.parent.mkdir(exist_ok=True)
    file.write_text(HELLO)

    run = klenhook(folder, "new", "hello")

    assert (run.returncode, file.read_text()) == (1, HELLO)
    assert f"{taken} exists already" in run.stderr
    assert [found for found in folder.rglob("*.py") if found != file] == []


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_what_new_writes_is_green(folder: Path, event_type: str) -> None:
    """The new test passes as the message says, from the user's folder and with nothing but pytest."""
    new = klenhook(folder, "new", "follow_up", "--event", event_type)
    command = new.stderr.partition("Run its test with `")[2].partition("`")[0]
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    run = subprocess.run(
        shlex.split(command), cwd=folder, env=environ, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["two-words"], "'two-words' cannot be the name of a handler"),
        (["class"], "'class' cannot be the name"),
        (["_hidden"], "'_hidden' cannot be the name"),
        (["../evil"], "'../evil' cannot be the name"),
        (["größe"], "cannot be the name"),
        (["print"], "the name 'print' is taken"),
        (["on"], "the name 'on' is taken"),
        (["greet", "--event", "calendar.create"], "did you mean calendar.created?"),
        (["greet", "--event", "zzz"], "there are calendar.created, calendar.updated"),
    ],
)
def test_new_refuses(folder: Path, words: list[str], message: str) -> None:
    """A name that no plugin can have, or an event that is not there, is wrong usage; nothing is written."""
    run = klenhook(folder, "new", *words)

    assert run.returncode == 2
    assert message in run.stderr
    assert list((folder / "plugins").iterdir()) == []


def test_a_broken_plugin(folder: Path) -> None:
    """`check` names a broken plugin with its part of the traceback and exits 1; `list` goes on."""
    (folder / "plugins" / "hello.py").write_text(HELLO)
    (folder / "plugins" / "bad.py").write_text("def f():\n    1 / 0\nf()\n")

    check = klenhook(folder, "check")
    listing = klenhook(folder, "list", "--json")

    assert (check.returncode, check.stdout) == (1, "OK: hello (calendar.created), plugins/hello.py\n")
    assert "BROKEN: plugins/bad.py: ZeroDivisionError: division by zero" in check.stderr
    assert "line 2, in f" in check.stderr
    assert "loader.py" not in check.stderr
    assert "1 plugin does not load." in check.stderr
    assert listing.returncode == 0
    records = [json.loads(line) for line in listing.stdout.splitlines()]
    assert [(one["name"], one["state"]) for one in records] == [("bad", "broken"), ("hello", "enabled")]
    assert records[0]["error"] == "ZeroDivisionError: division by zero"
    assert records[0].keys() == records[1].keys()
    assert "broken: plugins/bad.py: ZeroDivisionError" in listing.stderr


@pytest.mark.parametrize("command", ["check", "list"])
def test_wrong_settings(folder: Path, command: str) -> None:
    """A wrong value in a handler's table is a mistake of the configuration: exit status 2, naming the key."""
    (folder / "plugins" / "hello.py").write_text(HELLO)
    with (folder / "config.toml").open("a") as file:
        file.write("[handlers.hello]\nqqqq = 1\n[handlers.helo]\n")

    run = klenhook(folder, command)

    assert run.returncode == 2
    assert "handlers.hello.qqqq: unknown key" in run.stderr
    assert "handlers.helo: no handler has this name; did you mean handlers.hello?" in run.stderr


def test_wrong_settings_and_a_broken_plugin(folder: Path) -> None:
    """With both, `check` tells both, and the configuration decides the exit status."""
    (folder / "plugins" / "hello.py").write_text(HELLO)
    (folder / "plugins" / "bad.py").write_text("raise SystemExit\n")
    with (folder / "config.toml").open("a") as file:
        file.write("[handlers.hello]\nqqqq = 1\n")

    run = klenhook(folder, "check")

    assert run.returncode == 2
    assert "BROKEN: plugins/bad.py: SystemExit" in run.stderr
    assert "handlers.hello.qqqq" in run.stderr


def test_what_check_notes(folder: Path) -> None:
    """A handler that is switched off is right; a file without any handler is noted."""
    (folder / "plugins" / "hello.py").write_text(HELLO)
    (folder / "plugins" / "tools.py").write_text("x = 1\n")
    with (folder / "config.toml").open("a") as file:
        file.write("[handlers.hello]\nenabled = false\n")

    run = klenhook(folder, "check")

    assert (run.returncode, run.stdout) == (0, "OK: hello, switched off, plugins/hello.py\n")
    assert "plugins/tools.py marks no function" in run.stderr


def test_how_handlers_stand_in_the_log(folder: Path) -> None:
    """`list` counts runs by state, tells the last error's first line, and shows who is gone with runs waiting."""
    change(folder, fill)
    change(folder, lambda log: route_all(log, NewRun("new")))
    for name in ("hello", "new"):
        (folder / "plugins" / f"{name}.py").write_text(HELLO.replace("hello", name))
    with (folder / "config.toml").open("a") as file:
        file.write("[handlers.new]\npaused = true\nretry = {tries = 3}\n")

    listing = klenhook(folder, "list", "--json")
    table = klenhook(folder, "list")

    records = {one["name"]: one for one in map(json.loads, listing.stdout.splitlines())}
    assert [(name, one["state"], one["backlog"]) for name, one in records.items()] == [
        ("hello", "enabled", {"done": 1, "dead": 1}),
        ("mail", "gone", {"pending": 1, "done": 1}),
        ("new", "paused", {"pending": 1}),
    ]
    assert records["hello"]["last_error"] == "RuntimeError: \x1b[31mred"
    assert (table.returncode, "\x1b" in table.stdout) == (0, False)
    assert "3 tries, 30 s x4 up to 21600 s, 60 s each" in table.stdout
    assert "1 done, 1 dead" in table.stdout


def test_no_handlers(folder: Path) -> None:
    """Without handlers, `list` prints nothing but says on standard error what to do."""
    run = klenhook(folder, "list")

    assert (run.returncode, run.stdout) == (0, "")
    assert "`klenhook handlers new NAME` writes one" in run.stderr


@pytest.mark.parametrize("command", ["list", "check", "new"])
def test_help_has_an_example(folder: Path, command: str) -> None:
    """Each command's help shows how it is used."""
    run = klenhook(folder, command, "--help")

    assert run.returncode == 0
    assert f"klenhook handlers {command}" in run.stdout.partition("Example:")[2]
