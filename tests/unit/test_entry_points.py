"""Handlers of installed packages: real distributions in a folder on the path of a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
from receiver import CalendarCreated, Context, Settings, on

class Room(Settings):
    room: str = "lobby"

@on(CalendarCreated)
async def greet(event: CalendarCreated, ctx: Context[Room]) -> None: ...

@on(CalendarCreated)
async def wave(event: CalendarCreated) -> None: ...
"""


class Machine:
    """A folder with a configuration, and a folder of installed packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.site.mkdir()

    def install(self, distribution: str, entry_points: str, **modules: str) -> None:
        """Write what an installer would."""
        info = self.site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[receiver.handlers]\n{entry_points}\n")
        for name, source in modules.items():
            (self.site / f"{name}.py").write_text(source)

    def run(self, *words: str, config: str = "") -> subprocess.CompletedProcess[str]:
        (self.folder / "config.toml").write_text(
            f'[sources.klen]\nsecrets = ["b7c1d5f0a94e4c0ab3c8"]\n{config}\n'
        )
        environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(self.site)])}
        command = [sys.executable, "-m", "receiver", "handlers", *words]
        return subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False
        )

    def listed(self, config: str) -> dict[str, Any]:
        done = self.run("list", "--json", config=config)
        assert done.returncode == 0, done.stderr
        return {record["name"]: record for record in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(name="machine")
def _machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_function_is_off_until_it_is_named(machine: Machine) -> None:
    """An entry point runs under its own name when its table is there; unnamed, it is not even imported."""
    machine.install("acme", "acme = acme_hooks:greet", acme_hooks=f"print('imported')\n{MODULE}")

    assert machine.run("list", "--json").stdout == ""
    done = machine.run("list", "--json", config="[handlers.acme]\nroom = 'attic'\ntimeout = 3")

    imported, line = done.stdout.splitlines()
    record = json.loads(line)
    assert imported == "imported"
    assert (record["name"], record["origin"], record["timeout"]) == ("acme", "installed", 3)
    assert record["file"] == str(machine.site / "acme_hooks.py")


def test_a_module_gives_all_its_handlers(machine: Machine) -> None:
    """Its table turns the module on or off; each handler has a table of its own besides."""
    machine.install("acme", "acme = acme_hooks", acme_hooks=MODULE)

    on = machine.listed("[handlers.acme]\n[handlers.wave]\npaused = true")
    off = machine.listed("[handlers.acme]\nenabled = false")
    wrong = machine.run("check", config="[handlers.acme]\npaused = true\nroom = 'attic'")
    alone = machine.run("check", config="[handlers.greet]")

    assert {name: one["state"] for name, one in on.items()} == {"greet": "enabled", "wave": "paused"}
    assert {name: one["state"] for name, one in off.items()} == {"greet": "disabled", "wave": "disabled"}
    assert wrong.returncode == alone.returncode == 2
    assert "handlers.acme.paused: this is a module with the handlers greet, wave" in wrong.stderr
    assert "handlers.acme.room: this is a module" in wrong.stderr
    assert "handlers.greet: no handler has this name" in alone.stderr


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("nowhere.at.all:greet", "ModuleNotFoundError: No module named 'nowhere'"),
        ("acme_hooks:missing", "AttributeError: module 'acme_hooks' has no attribute 'missing'"),
        ("acme_hooks:Room", "expected a module, or a function with @on(...)"),
        ("acme_broken", "SystemExit: 3"),
        ("not an entry point", "the entry point 'acme' of acme-kit 1.0 (not an entry point)"),
    ],
)
def test_a_broken_one(machine: Machine, target: str, error: str) -> None:
    """Whatever is wrong with a named entry point, it is one broken plugin with its distribution's name."""
    machine.install("acme-kit", f"acme = {target}", acme_hooks=MODULE, acme_broken="raise SystemExit(3)")

    done = machine.run("check", config="[handlers.acme]")

    assert done.returncode == 1
    assert error in done.stderr
    assert f"the entry point 'acme' of acme-kit 1.0 ({target})" in done.stderr
    assert "1 plugin does not load." in done.stderr


def test_two_with_one_name(machine: Machine) -> None:
    """Neither of two entry points of one name is loaded, and the error names both distributions."""
    machine.install("acme", "acme = acme_hooks:greet", acme_hooks=MODULE)
    machine.install("other", "acme = acme_hooks:wave")

    done = machine.run("check", config="[handlers.acme]")

    assert (done.returncode, done.stdout) == (1, "")
    assert "of acme 1.0 (acme_hooks:greet)" in done.stderr
    assert "of other 1.0 (acme_hooks:wave)" in done.stderr


def test_a_plugin_of_that_name_stays(machine: Machine) -> None:
    """A handler of the user's own folder is not pushed out by an installed one; the error names both."""
    machine.install("acme", "hello = acme_hooks:greet", acme_hooks=MODULE)
    (machine.folder / "plugins").mkdir()
    (machine.folder / "plugins" / "mine.py").write_text(MODULE.replace("greet", "hello"))

    done = machine.run("check", config="[handlers.hello]")

    assert done.returncode == 1
    assert "OK: hello (calendar.created), plugins/mine.py" in done.stdout
    assert "the entry point 'hello' of acme 1.0 (acme_hooks:greet): two handlers have the name" in done.stderr
    assert "mine.py" in done.stderr


def test_a_near_miss(machine: Machine) -> None:
    """A table that nearly has the name of an installed entry point is told which one is meant."""
    machine.install("acme", "acme = acme_hooks:greet", acme_hooks=MODULE)

    done = machine.run("check", config="[handlers.acne]")

    assert done.returncode == 2
    assert "handlers.acne: no handler has this name; did you mean handlers.acme?" in done.stderr
