"""`klenhook doctor`, run as people run it."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from receiver.doctor.machine import check_clock, check_sqlite
from tests.support.commands import Commands, change, fill
from tests.support.klen import SECRET, signature, webhook
from tests.support.service import klenhook, running, write_config, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = "from receiver import AnyEvent, on\n@on(AnyEvent)\nasync def hello(event): pass\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    write_config(tmp_path).chmod(0o600)
    write_plugin(tmp_path, PLUGIN)
    return Commands(tmp_path, monkeypatch, capfd)


def findings(output: str) -> dict[str, dict[str, Any]]:
    """By check; the last one of each."""
    return {found["check"]: found for found in map(json.loads, output.splitlines())}


def test_a_good_set_up_is_fine(run: Commands) -> None:
    """Exit status 0, and a line for each thing; whatever is not fine comes with a fix."""
    done = run("doctor", "--json")

    assert done.status == 0
    found = findings(done.out)
    assert {"python", "sqlite", "http parser", "clock", "configuration", "sync", "address", "log"} <= set(
        found
    )
    assert all(one["fix"] for one in found.values() if one["level"] != "fine")
    assert {one["level"] for one in found.values()} <= {"fine", "warning"}
    assert "ok      configuration:" in run("doctor").out


def test_a_wrong_configuration_is_every_mistake(run: Commands) -> None:
    """Each mistake is an error of its own, and what needs no configuration is looked at all the same."""
    (run.folder / "config.toml").write_text("[server]\nlisten = 5\n[sources.klen]\nsecrets = []\n")
    done = run("doctor", "--json")

    assert done.status == 1
    levels = [(one["check"], one["level"]) for one in map(json.loads, done.out.splitlines())]
    assert levels.count(("configuration", "error")) == 2
    assert any(check == "sync" for check, _ in levels)


def test_what_is_wrong_is_found(run: Commands) -> None:
    """Open files, a broken plugin, a port in use and failed runs, each with its fix; no secret is shown."""
    (run.folder / "config.toml").chmod(0o644)
    write_plugin(run.folder, "import no_such_module", "broken")
    (run.folder / "plugins").chmod(0o777)
    change(run.folder, fill)
    (run.folder / "klenhook.db").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        toml = (run.folder / "config.toml").read_text().replace(":0", f":{port}")
        (run.folder / "config.toml").write_text(toml)
        done = run("doctor", "--json")

    assert done.status == 1
    assert SECRET not in done.out
    messages = [json.loads(line) for line in done.out.splitlines()]
    told = {(one["check"], one["level"]) for one in messages}
    assert {("plugins", "error"), ("address", "error"), ("dead runs", "warning")} <= told
    modes = [one["fix"] for one in messages if one["check"] == "file modes"]
    assert [fix.split()[:2] for fix in modes] == [["chmod", "600"], ["chmod", "600"], ["chmod", "go-w"]]


async def test_a_running_service_is_recognised(tmp_path: Path) -> None:
    """Its address is not free, and that is as it should be."""
    write_plugin(tmp_path, PLUGIN)
    async with running(tmp_path) as service:
        write_config(tmp_path, port=service.port)
        done = await asyncio.to_thread(klenhook, tmp_path, "doctor", "--json")
    assert "is ready" in findings(done.stdout)["address"]["message"]


def test_a_captured_delivery_is_explained(run: Commands) -> None:
    """Exit status 0 for one that would be accepted, 1 with the step that differs; 1 for what is no capture."""
    body = webhook()
    file = run.folder / "delivery"
    file.write_bytes(f"X-Klen-Signature: {signature(body)}\n\n".encode() + body)
    assert run("doctor", "--signature", str(file)).status == 0

    file.write_bytes(file.read_bytes() + b"\n")
    done = run("doctor", "--signature", str(file))
    assert (done.status, "a newline was added at its end" in done.out) == (1, True)

    file.write_bytes(b"nothing")
    done = run("doctor", "--signature", str(file))
    assert (done.status, done.out) == (1, "")
    assert "Expected a raw HTTP request" in done.err
    assert run("doctor", "--signature", "no-such-file").status == 2


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ((3, 36, 0), "error"),
        ((3, 40, 1), "warning"),
        ((3, 44, 6), "fine"),
        ((3, 45, 0), "warning"),
        ((3, 50, 7), "fine"),
        ((3, 51, 2), "warning"),
        ((3, 51, 3), "fine"),
        ((4, 0, 0), "fine"),
    ],
)
def test_the_bug_of_sqlite_is_known_by_its_versions(version: tuple[int, ...], level: str) -> None:
    """It was mended in 3.51.3, and in 3.50.7 and 3.44.6 for their lines."""
    assert check_sqlite(version).level == level


def test_a_clock_before_this_program_is_wrong() -> None:
    """A machine that starts in 1970 is an error."""
    assert check_clock(datetime(1970, 1, 1, tzinfo=UTC)).level == "error"
