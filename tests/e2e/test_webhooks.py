"""`klenhook webhooks` and what the doctor says about the vendor, against a local Klen."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from receiver.sandbox import Sandbox
from tests.support.commands import Commands, Done
from tests.support.klen import SECRET
from tests.support.service import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

URL = "http://127.0.0.1:1/webhooks/klen"


class Run(Protocol):
    """A command in a thread of this process, beside the sandbox."""

    async def __call__(self, *arguments: str, status: int = 0) -> Done: ...


@pytest.fixture(name="run")
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    commands = Commands(tmp_path, monkeypatch, capsys)

    async def run(*arguments: str, status: int = 0) -> Done:
        done = await asyncio.to_thread(commands, *arguments)
        assert done.status == status, done
        return done

    return run


@pytest.fixture(name="sandbox")
async def _sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(seed=1) as sandbox:
        yield sandbox


def configure(folder: Path, sandbox: Sandbox, secrets: str = '"file:klen-secret"', key: str = "full") -> None:
    (folder / "config.toml").write_text(
        f'[server]\nlisten = "127.0.0.1:0"\n[sources.klen]\nsecrets = [{secrets}]\n'
        f'api_url = "{sandbox.api_url}"\napi_key = "klen_sandbox_{key}"\n'
    )


async def test_the_secret_goes_into_its_file(tmp_path: Path, sandbox: Sandbox, run: Run) -> None:
    """A file that the configuration names and that is not there is made, for its owner only; never shown."""
    configure(tmp_path, sandbox)
    done = await run("webhooks", "register", "--url", URL)

    [webhook] = sandbox.webhooks
    file = tmp_path / "klen-secret"
    assert file.read_text().strip() == webhook.secret
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert webhook.secret not in done.out + done.err
    assert len(webhook.subscribed_events) == 5
    assert (await run("config", "check")).status == 0


@pytest.mark.parametrize(
    ("secrets", "line"),
    [
        (f'"{SECRET}"', 'secrets = ["{}"]'),
        ('"env:NOT_SET_ANYWHERE"', 'export NOT_SET_ANYWHERE="{}"'),
    ],
)
async def test_else_the_line_to_add_is_printed(
    tmp_path: Path, sandbox: Sandbox, run: Run, secrets: str, line: str
) -> None:
    """Where there is no file to make, the operator is told what to write where, once."""
    configure(tmp_path, sandbox, secrets)
    before = (tmp_path / "config.toml").read_bytes()
    done = await run("webhooks", "register", "--url", URL, "--event", "call.ended")

    [webhook] = sandbox.webhooks
    assert line.format(webhook.secret) in done.out.splitlines()
    assert [*webhook.subscribed_events] == ["call.ended"]
    assert (tmp_path / "config.toml").read_bytes() == before


async def test_a_file_that_is_there_is_never_touched(tmp_path: Path, sandbox: Sandbox, run: Run) -> None:
    """Whatever a secret's file holds stays; the new secret is printed instead."""
    configure(tmp_path, sandbox)
    (tmp_path / "klen-secret").write_text(SECRET)
    done = await run("webhooks", "register", "--url", URL, "--json")

    assert (tmp_path / "klen-secret").read_text() == SECRET
    assert json.loads(done.out)["secret"] == next(iter(sandbox.webhooks)).secret


async def test_nothing_is_registered_twice_by_mistake(tmp_path: Path, sandbox: Sandbox, run: Run) -> None:
    """A URL that is there already is refused, with its number, unless it is asked for plainly."""
    configure(tmp_path, sandbox)
    await run("webhooks", "register", "--url", URL)
    done = await run("webhooks", "register", "--url", URL, status=1)
    assert "goes to this URL already" in done.err
    await run("webhooks", "register", "--url", URL, "--again")
    await run("webhooks", "register", "--url", f"{URL}2", "--create-path", "/api/v1/api/webhooks/create")
    assert len([*sandbox.webhooks]) == 3
    for wrong in ("ftp://x/y", "nothing", ""):
        assert (await run("webhooks", "register", "--url", wrong, status=2)).out == ""


async def test_webhooks_are_listed_and_deleted(tmp_path: Path, sandbox: Sandbox, run: Run) -> None:
    """`list` shows no secret and needs none; `delete` asks, and without a terminal needs --yes."""
    configure(tmp_path, sandbox)
    assert "None is registered" in (await run("webhooks", "list")).err
    await run("webhooks", "register", "--url", URL)
    [webhook] = sandbox.webhooks
    listed = await run("webhooks", "list", "--json")
    assert json.loads(listed.out)["url"] == URL
    assert webhook.secret not in listed.out + (await run("webhooks", "list")).out

    number = str(webhook.id)
    assert "--yes" in (await run("webhooks", "delete", number, status=2)).err
    await run("webhooks", "delete", number, "--yes")
    assert [*sandbox.webhooks] == []
    assert "not_found" in (await run("webhooks", "delete", number, "--yes", status=1)).err


async def test_a_wrong_key_is_said_and_never_shown(tmp_path: Path, sandbox: Sandbox, run: Run) -> None:
    """What the vendor answers is the message, without the key."""
    configure(tmp_path, sandbox, f'"{SECRET}"', key="wrong_0123456789")
    done = await run("webhooks", "list", status=1)
    assert "401" in done.err
    assert "wrong_0123456789" not in done.err


@pytest.fixture(name="examined")
def _examined(run: Run) -> Callable[..., Any]:
    async def examined(*, status: int = 0) -> list[tuple[str, str, str]]:
        done = await run("doctor", "--json", status=status)
        found = [json.loads(line) for line in done.out.splitlines()]
        return [
            (one["check"], one["level"], one["message"])
            for one in found
            if one["check"] in {"vendor", "permissions", "webhook"}
        ]

    return examined


async def test_the_doctor_asks_the_vendor(
    tmp_path: Path, sandbox: Sandbox, examined: Callable[..., Any]
) -> None:
    """Reachable, what the key may do, and whether a webhook leads here, all its events included."""
    async with running(tmp_path) as service:
        url = f"http://127.0.0.1:{service.port}/webhooks/klen"
        sandbox.register(url, secret=SECRET)
        configure(tmp_path, sandbox, f'"{SECRET}"')
        found = await examined()
    assert [(check, level) for check, level, _ in found] == [
        ("vendor", "fine"),
        ("permissions", "fine"),
        ("webhook", "fine"),
    ]
    assert "read and write" in found[1][2]

    configure(tmp_path, sandbox, f'"{SECRET}"', key="read")
    sandbox.register("http://127.0.0.1:1/webhooks/klen", ["calendar.created"])
    _, permissions, *webhooks = await examined()
    assert "read and not write" in permissions[2]
    told = " ".join(message for _, _, message in webhooks)
    assert "2 webhooks go to the path" in told
    assert "does not get calendar.cancelled" in told
    assert "does not lead to a klenhook" in told


@pytest.mark.parametrize(("key", "words"), [("write", "403"), ("none_at_all_000", "401")])
async def test_the_doctor_says_what_the_key_lacks(
    tmp_path: Path, sandbox: Sandbox, examined: Callable[..., Any], key: str, words: str
) -> None:
    """A key that may not read, and one that is none, are errors."""
    configure(tmp_path, sandbox, f'"{SECRET}"', key=key)
    [(check, level, message)] = await examined(status=1)
    assert (check, level, words in message) == ("vendor", "error", True)


async def test_the_doctor_does_not_wait_for_a_vendor_that_is_away(
    tmp_path: Path, examined: Callable[..., Any]
) -> None:
    """It asks once, and says what is the matter."""
    async with Sandbox(seed=1) as sandbox:
        configure(tmp_path, sandbox, f'"{SECRET}"')
    [(check, level, message)] = await examined(status=1)
    assert (check, level, "cannot be reached" in message) == ("vendor", "error", True)
