"""The service as a process: starting, stopping, refusing, and what it says meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import time
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import unused_port

from tests.support.klen import SECRET, distinct, exchange, headers, post, read_answer, request, webhook
from tests.support.service import Process, klenhook, records, write_config, write_plugin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="process")
def _process(tmp_path: Path) -> Iterator[Process]:
    port = unused_port()
    write_config(tmp_path, port=port)
    with Process(tmp_path, port=port) as process:
        process.wait_ready()
        yield process


async def test_sigterm_answers_what_is_in_flight_and_exits_0(process: Process) -> None:
    """A body that is still coming is given up; a complete request is answered; the log is folded."""
    body = webhook()
    _, slow = await asyncio.open_connection("127.0.0.1", process.port)
    slow.write(request(body[:5], headers(body), length=len(body)))
    answers = await asyncio.gather(*(post(process.port, distinct()) for _ in range(50)))
    started = time.monotonic()

    assert await asyncio.to_thread(process.terminate) == 0
    assert time.monotonic() - started < 5
    slow.close()
    assert {200} == {answer.status for answer in answers}
    assert not (process.folder / "klenhook.db-wal").exists()
    assert len(records(process.folder)) == 50


def test_a_second_sigterm_stops_at_once(tmp_path: Path) -> None:
    """Although a handler still has its grace time."""
    port = unused_port()
    write_config(tmp_path, port=port)
    write_plugin(
        tmp_path,
        "import asyncio\nfrom receiver import AnyEvent, on\n"
        "@on(AnyEvent)\nasync def long(event: AnyEvent) -> None: await asyncio.sleep(60)\n",
    )
    with Process(tmp_path, port=port) as process:
        process.wait_ready()
        asyncio.run(post(port, webhook()))
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGTERM)
        time.sleep(0.3)
        started = time.monotonic()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(5) != 0
    assert time.monotonic() - started < 2


def test_a_second_service_on_one_log_exits_2(process: Process) -> None:
    """It names the first one and writes nothing."""
    done = klenhook(process.folder, "serve", status=2)

    assert str(process.pid) in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_exits_1(tmp_path: Path) -> None:
    """The message names the address and the key to change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        write_config(tmp_path, port=taken.getsockname()[1])
        done = klenhook(tmp_path, "serve", status=1)

    assert "server.listen" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("secret", ["", "short", "your-webhook-secret"])
def test_a_weak_secret_exits_2_before_anything_is_made(tmp_path: Path, secret: str) -> None:
    """No listener, no log."""
    (tmp_path / "config.toml").write_text(f'[sources.klen]\nsecrets = ["{secret}"]\n')
    done = klenhook(tmp_path, "serve", status=2)

    assert "sources.klen.secrets" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml"]


def test_the_files_of_the_log_are_private(process: Process) -> None:
    """Nobody but the owner can read bodies, whatever the umask was."""
    asyncio.run(post(process.port, webhook()))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in process.folder.glob("klenhook.db*")}

    assert {"klenhook.db", "klenhook.db-wal", "klenhook.db-shm", "klenhook.db.lock"} == set(modes)
    assert {0o600} == set(modes.values())


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_and_nothing_personal_is_ever_logged_or_answered(tmp_path: Path, log_format: str) -> None:
    """Canaries in secret, signature, body, headers and a handler's exception stay out of all output."""
    port = unused_port()
    write_config(tmp_path, f'[logging]\nformat = "{log_format}"\nlevel = "debug"\n', port=port)
    write_plugin(
        tmp_path,
        "from receiver import AnyEvent, on\n"
        "@on(AnyEvent)\nasync def quoting(event: AnyEvent) -> None: raise ValueError(str(event.raw))\n",
    )
    body = webhook(
        title="CANARY-title",
        customer={"name": "CANARY-name", "email": "canary@example.com", "phone": "+15550100"},
        reason="CANARY-reason",
        status="CANARY-status",
    )
    forged = headers(body, secret="CANARY-secret-of-a-stranger")
    requests = [
        request(body, headers(body, delivery_id="d-1")),
        request(body, forged),
        request(b"CANARY no json", headers(b"CANARY no json")),
        request(
            body,
            headers(body)
            | {"Authorization": "Bearer CANARY", "Cookie": "CANARY=1", "X-Klen-Event": "CANARY"},
        ),
        request(b'{"event_type": "calendar.created", "calendar_event": "CANARY"}', {}),
        b"CANARY /CANARY HTTP/9.9\r\nCANARY: \x00canary@example.com\r\n\r\n",
        request(body, headers(body), path="/CANARY?email=canary@example.com"),
        request(body, headers(body) | {"Content-Encoding": "CANARY"}),
    ]
    with Process(tmp_path, port=port) as process:
        process.wait_ready()
        answers = [asyncio.run(exchange(port, data)) for data in requests]
        time.sleep(0.5)
        assert process.terminate() == 0
        output = process.output.read_text()

    told = output + "".join(f"{answer.headers}{answer.body!r}" for answer in answers)
    for canary in (
        "canary",
        "15550100",
        "secret-of-a-stranger",
        SECRET,
        headers(body)["X-Klen-Signature"],
        "Traceback",
    ):
        assert canary.lower() not in told.lower(), canary
    assert [answer.status for answer in answers] == [200, 401, 400, 200, 401, 400, 404, 415]
    assert "quoting" in output
    if log_format == "json":
        lines = [json.loads(line) for line in output.splitlines()]
        assert len([line for line in lines if line.get("outcome") == "accepted"]) == 1


async def test_a_flood_of_garbage_is_a_few_lines(process: Process) -> None:
    """Five hundred malformed and unsigned requests are counted, not logged one by one."""
    for _ in range(250):
        await exchange(process.port, b"\x00garbage\r\n\r\n")
        await exchange(process.port, request(webhook(), {}))
    await asyncio.to_thread(process.terminate)

    output = process.output.read_text()
    assert output.count("\n") < 100
    assert "invalid_signature=250" in output
    assert "bad_request=250" in output


async def test_idle_and_slow_connections_are_closed(process: Process) -> None:
    """One that sends nothing, and one that never finishes its headers, are gone within 15 seconds."""
    idle, idle_writer = await asyncio.open_connection("127.0.0.1", process.port)
    slow, slow_writer = await asyncio.open_connection("127.0.0.1", process.port)
    slow_writer.write(b"POST /webhooks/klen HTTP/1.1\r\nHost: x\r\n")
    body = webhook()
    kept, kept_writer = await asyncio.open_connection("127.0.0.1", process.port)
    kept_writer.write(request(body, headers(body)))
    assert (await read_answer(kept)).status == 200

    async with asyncio.timeout(15):
        await asyncio.gather(idle.read(), slow.read(), kept.read())
    for writer in (idle_writer, slow_writer, kept_writer):
        writer.close()
