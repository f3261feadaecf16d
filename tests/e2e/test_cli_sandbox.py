"""`klenhook sandbox` as a process, and the commands that speak to it."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Commands
from tests.support.service import Process, klenhook, records, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="commands")
def _commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    return Commands(tmp_path, monkeypatch, capsys)


@contextmanager
def sandbox(folder: Path, *arguments: str) -> Iterator[list[str]]:
    """A sandbox on a free port; the lines it begins with. It must end well when it is told to."""
    command = [sys.executable, "-m", "receiver", "sandbox", "--listen", "127.0.0.1:0", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        lines: list[str] = []
        while "Book an appointment:" not in lines:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            lines.append(line.rstrip("\n"))
        lines += [process.stdout.readline().rstrip("\n") for _ in range(2)]
        try:
            yield lines
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def address(lines: list[str]) -> str:
    return lines[0].split()[-1]


def test_it_says_what_to_know_and_what_to_type(tmp_path: Path) -> None:
    """It prints its address, keys and webhooks with their secrets, and a command that books as it stands."""
    with sandbox(
        tmp_path, "--webhook", "http://127.0.0.1:9/hook", "--key", "klen_guest=can_read_calendar"
    ) as lines:
        text = "\n".join(lines)
        booking = "\n".join(lines[-2:])
        done = subprocess.run(["sh", "-c", booking], capture_output=True, text=True, check=True)

    assert re.search(r"key +klen_sandbox_full +can_read_calendar, can_write_calendar", text)
    assert re.search(r"key +klen_guest +can_read_calendar$", text, re.MULTILINE)
    assert re.search(r"webhook +1: http://127.0.0.1:9/hook\n +secret +[0-9a-f]{64}", text)
    assert json.loads(done.stdout)["message"] == "Event created successfully"


def test_it_connects_to_the_configured_service(commands: Commands, tmp_path: Path) -> None:
    """With --connect, what happens in the sandbox reaches the service of the configuration; once registered, it stays."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    write_config(tmp_path, '[ops]\nlisten = "127.0.0.1:0"', port=port)
    with Process(tmp_path, port=port) as service:
        service.wait_ready()
        with sandbox(tmp_path, "--connect", "--db", "sandbox.db") as lines:
            assert "secret   the one in the configuration" in "\n".join(lines)
            at = ("--at", address(lines))
            assert commands("sandbox", "burst", "3", *at).out == "Booked 3 appointments.\n"
            commands("sandbox", "jump", "1h", *at)
            listed = commands("sandbox", "deliveries", "--json", *at)
        with sandbox(tmp_path, "--connect", "--db", "sandbox.db") as lines:
            assert "\n".join(lines).count("  webhook  ") == 1

    sent = [json.loads(line) for line in listed.out.splitlines()]
    created = [one for one in sent if one["event_type"] == "calendar.created"]
    assert [one["state"] for one in created] == ["delivered"] * 3
    assert {record["delivery_id"] for record in records(tmp_path)} == {one["delivery_id"] for one in sent}


def test_a_sandbox_that_is_configured_need_not_be_named(tmp_path: Path) -> None:
    """Without --at, orders go where `api_url` of the configuration leads."""
    with sandbox(tmp_path, "--speed", "0") as lines:
        write_config(
            tmp_path, f'[sources.other]\nsecrets = ["{"x1" * 20}"]\napi_url = "{address(lines)}/api/v1"'
        )
        assert klenhook(tmp_path, "sandbox", "burst", "1").stdout == "Booked 1 appointments.\n"


def test_orders_to_a_running_sandbox(commands: Commands, tmp_path: Path) -> None:
    """An outage, a jump and another secret are ordered by commands; their answers say what was done."""
    with sandbox(tmp_path, "--webhook", "http://127.0.0.1:9/hook", "--speed", "0", "--seed", "7") as lines:
        at = ("--at", address(lines))
        outage = commands("sandbox", "outage", "40m", *at).out
        jumped = commands("sandbox", "jump", "1h", *at).out
        secret = commands("sandbox", "rotate", "1", *at).out
        table = commands("sandbox", "deliveries", *at).out
        wrong = commands("sandbox", "outage", "soon", *at)

    assert re.fullmatch(r"No webhook arrives until \S+Z by the sandbox's clock\.\n", outage)
    assert re.fullmatch(r"In the sandbox it is \S+Z\.\n", jumped)
    assert re.fullmatch(r"[0-9a-f]{64}\n", secret)
    assert table.splitlines()[0].split() == [
        "no.",
        "happened",
        "at",
        "event",
        "state",
        "attempts",
        "last",
        "answer",
    ]
    assert (wrong.status, "expected a time such as" in wrong.err) == (1, True)


def test_no_sandbox_there(commands: Commands) -> None:
    """Without a sandbox an order fails and says how to start one."""
    done = commands("sandbox", "jump", "1h", "--at", "http://127.0.0.1:9")

    assert (done.status, "`klenhook sandbox` starts one" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "0.0.0.0:0"], "--allow-remote"),
        (["--listen", "192.0.2.1:0"], "--allow-remote"),
        (["--listen", "nonsense"], "--listen: expected"),
        (["--drop", "2"], "--drop"),
        (["--delay", "soon"], "expected a time such as"),
        (["--key", "klen_x=can_fly"], "There is no permission 'can_fly'"),
        (["--webhook", "ftp://example.com"], "expected an http or https URL"),
        (["--connect", "--config", "nowhere.toml"], "nowhere.toml"),
    ],
    ids=" ".join,
)
def test_wrong_usage(commands: Commands, arguments: list[str], said: str) -> None:
    """What cannot be is said before anything starts; the keys are not offered to other machines unasked."""
    done = commands("sandbox", *arguments)

    assert done.status == 2
    assert said in done.err


def test_the_port_is_taken(tmp_path: Path) -> None:
    """A second sandbox at the same address ends with a message."""
    with sandbox(tmp_path) as lines:
        listen = address(lines).removeprefix("http://")
        done = klenhook(tmp_path, "sandbox", "--listen", listen, status=1)

    assert "Is another sandbox running?" in done.stderr
