"""The private listener, over raw HTTP: who may ask, and how replays are started and followed."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

import storage
from receiver.config import load_config
from receiver.listening import ListenError
from receiver.service import Service
from tests.support.klen import post, webhook
from tests.support.ops import TOKEN, ask, listening
from tests.support.service import write_config

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_replay_is_started_and_followed(tmp_path: Path) -> None:
    """POST gives its number; GET tells how it stands; both are also there after it has ended."""
    async with listening(tmp_path) as (service, port):
        for _ in range(2):
            await post(service.port, webhook())
        await post(service.port, webhook("calendar.updated"))
        answer = await ask(
            port, "POST", "/replays", {"selection": {"type_glob": "*.created"}, "target": "hello"}
        )
        assert (answer.status, answer.json) == (201, {"replay_id": 1})
        async with asyncio.timeout(10):
            while (report := (await ask(port, "GET", "/replays/1")).json)["runs"] != {"hello": {"done": 1}}:
                await asyncio.sleep(0.02)
        assert (report["total"], report["covered"], report["target"]) == (1, 1, "hello")
        assert (await ask(port, "GET", "/replays")).json == {"replays": [report]}
        assert (await ask(port, "GET", "/replays/2")).status == 404
        assert (await ask(port, "GET", "/healthz")).json == {"status": "ok"}


@pytest.mark.parametrize(
    "path",
    [
        "/quarantine/1",
        "/quarantine/1/release",
        "/replays/1/release",
        "/replays/",
        "/replays/-1",
        "/replays/x",
    ],
)
async def test_what_is_not_there(tmp_path: Path, path: str) -> None:
    """A number that nothing has, and a path that nothing is at, are 404; quarantine 1 is not there either."""
    async with listening(tmp_path) as (_, port):
        assert (await ask(port, "POST", path, {})).status == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8081", 200),
        ("localhost:1", 200),
        ("LOCALHOST", 200),
        ("[::1]:8081", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
        ("localhost@evil.example", 403),
    ],
)
async def test_only_our_own_names_are_served(tmp_path: Path, host: str, status: int) -> None:
    """A web page whose name was rebound to this machine asks for its own name, and gets nothing."""
    async with listening(tmp_path) as (_, port):
        assert (await ask(port, "GET", "/replays", host=host)).status == status


async def test_names_that_are_given_are_served(tmp_path: Path) -> None:
    """`ops.hosts` has further names, such as that of a container; others stay outside."""
    async with listening(tmp_path, hosts='["Klenhook"]') as (_, port):
        assert (await ask(port, "GET", "/replays", host="klenhook:8081")).status == 200
        assert (await ask(port, "GET", "/replays", host="klenhook.evil.example")).status == 403


async def test_a_token_is_always_asked_for(tmp_path: Path) -> None:
    """Once it is set, nothing is answered without it, health included."""
    async with listening(tmp_path, token=TOKEN) as (_, port):
        for wrong in (None, "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"):
            for path in ("/healthz", "/replays", "/replays/1"):
                answer = await ask(port, "GET", path, token=wrong)
                assert (answer.status, TOKEN in str(answer)) == (401, False), (wrong, path)
        assert (await ask(port, "POST", "/replays", {"selection": {}})).status == 401
        assert (await ask(port, "GET", "/replays", token=f"Bearer {TOKEN}")).status == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ({"selection": {}}, "text/plain", 415),
        ({"selection": {}}, "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        ({}, "application/json", 400),
        ({"selection": {"typ": "x"}}, "application/json", 400),
        ({"selection": {"since_ms": "1"}}, "application/json", 400),
        ({"selection": {"run_state": "gone"}}, "application/json", 400),
        ({"selection": {}, "target": "nobody"}, "application/json", 400),
        (b" " * 70_000, "application/json", 413),
    ],
)
async def test_a_wrong_request_changes_nothing(tmp_path: Path, body: Any, kind: str, status: int) -> None:
    """It is refused in the shape of every error, without the headers that would let a web page read it."""
    async with listening(tmp_path) as (service, port):
        answer = await ask(port, "POST", "/replays", body, kind=kind)
        assert answer.status == status
        assert set(answer.json) == {"error", "message"}
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert (await ask(port, "OPTIONS", "/replays")).status == 405
        assert await service.log.replays() == []


async def test_an_address_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator's own is an error; of the default there is one warning, and the service runs without."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = load_config(write_config(tmp_path, f'[ops]\nlisten = "127.0.0.1:{port}"\n'))
        with pytest.raises(ListenError, match=r"ops\.listen"):
            await Service(config).__aenter__()
        unset = config.ops.model_copy()
        unset.model_fields_set.discard("listen")
        async with Service(config.model_copy(update={"ops": unset})) as service:
            assert (await post(service.port, webhook())).status == 200
    assert storage.holder(f"sqlite:///{tmp_path}/klenhook.db").note is None
    assert capsys.readouterr().out.count("no private listener") == 1
