"""`command`: real programs, what they are given, and what their ends mean."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from receiver import Discard, Retry
from tests.support.builtin import EVENT_ID, builtin, mistakes
from tests.support.klen import webhook


def python(folder: Path, source: str, *more: str, keys: str = "") -> str:
    """A table whose program is this Python source, run in the folder."""
    (folder / "program.py").write_text(f"import json, os, sys, time\nos.chdir({str(folder)!r})\n{source}")
    argv = json.dumps([sys.executable, "-I", "-S", str(folder / "program.py"), *more])
    return f"[handlers.command]\nargv = {argv}\n{keys}"


def shell(source: str) -> str:
    return f"[handlers.command]\nargv = {json.dumps(['/bin/sh', '-c', source])}"


async def test_a_program_is_given_the_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON on standard input, arguments as they are, and an environment without the service's secrets."""
    monkeypatch.setenv("KLEN_WEBHOOK_SECRET", "not for programs")
    monkeypatch.setenv("CRM_TOKEN", "for this one")
    source = "json.dump([sys.stdin.read(), sys.argv[1:], dict(os.environ)], open('seen', 'w'))"
    toml = python(tmp_path, source, "$HOME; {event_type}", "*", keys='pass_env = ["CRM_TOKEN", "UNSET"]')
    async with builtin(tmp_path, toml) as command:
        await command(webhook(title="$(touch /tmp/never) Tür"), attempt=3)

    stdin, arguments, environment = json.loads((tmp_path / "seen").read_text())
    assert json.loads(webhook(title="$(touch /tmp/never) Tür")) == json.loads(stdin)
    assert stdin.endswith("}\n")
    assert arguments == ["$HOME; {event_type}", "*"]
    assert "KLEN_WEBHOOK_SECRET" not in environment
    assert environment["CRM_TOKEN"] == "for this one"
    assert {name: value for name, value in environment.items() if name.startswith("KLENHOOK_")} == {
        "KLENHOOK_EVENT_ID": EVENT_ID,
        "KLENHOOK_EVENT_TYPE": "calendar.created",
        "KLENHOOK_ATTEMPT": "3",
        "KLENHOOK_IDEMPOTENCY_KEY": f"{EVENT_ID}:command",
    }


@pytest.mark.parametrize("event_type", ["() { :; }; touch x", "a b", "a\\u0000b", "\\ud800", "a\\n", ""])
async def test_an_odd_type_does_not_reach_the_environment(tmp_path: Path, event_type: str) -> None:
    """What could surprise a script that forgets its quotes is `unknown` there, and only on standard input."""
    async with builtin(tmp_path, shell(f'printf %s "$KLENHOOK_EVENT_TYPE" > {tmp_path}/seen')) as command:
        await command(f'{{"event_type": "{event_type}"}}'.encode())

    assert (tmp_path / "seen").read_text() == "unknown"


@pytest.mark.parametrize(
    ("status", "verb"), [(0, None), (75, Retry), (100, Discard)], ids=["done", "later", "never"]
)
async def test_the_status_is_the_answer(tmp_path: Path, status: int, verb: type[Exception] | None) -> None:
    """0 is done, 75 later, 100 never; the reason is what the program said last."""
    async with builtin(tmp_path, shell(f"echo because >&2; exit {status}")) as command:
        if verb is None:
            await command(webhook())
        else:
            with pytest.raises(verb, match="because"):
                await command(webhook())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("echo sorry >&2; exit 3", "/bin/sh exited with 3: sorry"),
        ("exit 1", "/bin/sh exited with 1: it said nothing on standard error"),
        ("kill -9 $$", "/bin/sh was killed by signal 9: it said nothing on standard error"),
    ],
)
async def test_any_other_end_is_a_failure(tmp_path: Path, source: str, words: str) -> None:
    """The error says how the program ended and what it said."""
    async with builtin(tmp_path, shell(source)) as command:
        with pytest.raises(Exception, match=r"/bin/sh ") as failed:
            await command(webhook())

    assert type(failed.value).__name__ == "CommandFailed"
    assert str(failed.value) == words


async def test_only_the_end_of_much_output_is_kept(tmp_path: Path) -> None:
    """A talkative program that never reads its input is neither blocked nor remembered whole."""
    source = "sys.stdout.write('o' * 10**6); sys.stderr.write('e' * 10**6 + 'the end'); sys.exit(1)"
    async with builtin(tmp_path, python(tmp_path, source)) as command:
        with pytest.raises(Exception, match="the end") as failed:
            await command(webhook(title="x" * 900_000))

    assert 2_000 < len(str(failed.value)) < 2_300
    assert "oo" not in str(failed.value)


async def test_a_missing_program_is_a_failure(tmp_path: Path) -> None:
    """It is tried again like any failure, since somebody may put it there."""
    async with builtin(tmp_path, f'[handlers.command]\nargv = ["{tmp_path}/nowhere"]') as command:
        with pytest.raises(FileNotFoundError):
            await command(webhook())


async def test_the_time_limit_ends_the_whole_group(tmp_path: Path) -> None:
    """When the call is given up, the program and its children are killed."""
    async with builtin(tmp_path, shell(f"sleep 60 & echo $! > {tmp_path}/child; wait")) as command:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await command(webhook())
        assert time.monotonic() - started < 3

    child = int((tmp_path / "child").read_text())
    async with asyncio.timeout(5):
        while runs(child):
            await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_child_left_behind_delays_nothing(tmp_path: Path) -> None:
    """A program may leave something running; the call ends with the program."""
    async with builtin(tmp_path, shell(f"sleep 20 & echo $! > {tmp_path}/child; exit 0")) as command:
        started = time.monotonic()
        await command(webhook())
        assert time.monotonic() - started < 5
    child = int((tmp_path / "child").read_text())
    assert runs(child)
    os.kill(child, 9)


async def test_other_events_start_nothing(tmp_path: Path) -> None:
    """Only events that match one of the globs."""
    toml = shell(f"echo x >> {tmp_path}/seen") + '\nevents = ["calendar.updated"]'
    async with builtin(tmp_path, toml) as command:
        await command(webhook("calendar.created"))
        await command(webhook("calendar.updated"))

    assert (tmp_path / "seen").read_text() == "x\n"


@pytest.mark.parametrize("argv", ["[]", '[""]', '["a", "b\\u0000"]', '"a b"'])
def test_mistakes_are_told_at_the_start(tmp_path: Path, argv: str) -> None:
    """`argv` is a list that begins with a program; a shell's line is none."""
    (mistake,) = mistakes(tmp_path, f"[handlers.command]\nargv = {argv}")
    assert mistake.startswith("handlers.command.argv")
