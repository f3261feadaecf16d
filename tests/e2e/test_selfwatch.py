"""The service watches itself: for systemd, for room on the disk, and for a log that is no longer sound."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from receiver import selfwatch
from receiver.config import load_config
from receiver.service import Service
from storage import back_up_log, open_log
from storage.errors import LogDamaged
from tests.support.commands import change
from tests.support.klen import exchange, post, request, webhook
from tests.support.logs import new_event, route_all
from tests.support.service import Process, klenhook, running, write_config, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

    from storage.log import EventLog

HELLO = (
    "from receiver import AnyEvent, on\n@on(AnyEvent)\nasync def hello(event): print('hello', flush=True)\n"
)


def destroy(file: Path) -> None:
    """Fill the pages of the events with noise; nothing at the start looks at them."""
    with contextlib.closing(sqlite3.connect(file)) as log:
        try:
            found = log.execute(
                "SELECT pageno FROM dbstat WHERE name = 'event' AND pagetype = 'leaf'"
            ).fetchall()
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no dbstat")
    with file.open("r+b") as data:
        for (page,) in found[1:-1]:
            data.seek((page - 1) * 4096)
            data.write(os.urandom(4096))


async def fill(log: EventLog) -> None:
    for _ in range(200):
        await log.append(new_event(None, variant="x" * 500))
    await route_all(log)


def test_systemd_hears_of_it_all(tmp_path: Path, unused_tcp_port: int) -> None:
    """Ready once requests are answered, alive again and again, reloading and ready again, and stopping."""
    write_config(tmp_path, port=unused_tcp_port)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)

        def next_but(message: bytes) -> bytes:
            while (heard := manager.recv(200)) == message:
                pass
            return heard

        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        with Process(tmp_path, port=unused_tcp_port, env=environ) as service:
            assert next_but(b"WATCHDOG=1") == b"READY=1"
            assert service.is_ready()
            assert [manager.recv(200) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            os.kill(service.pid, signal.SIGHUP)
            assert next_but(b"WATCHDOG=1").startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert next_but(b"WATCHDOG=1") == b"READY=1"
            assert service.terminate() == 0
            assert next_but(b"WATCHDOG=1") == b"STOPPING=1"


async def test_a_log_that_refuses_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else holds the lock, the watchdog is fed: a restart would mend nothing."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "6000000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        async with running(tmp_path):
            with contextlib.closing(sqlite3.connect(tmp_path / "klenhook.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                heard: list[bytes] = []
                async with asyncio.timeout(30):
                    while heard.count(b"WATCHDOG=1") < 3:
                        heard.append(await asyncio.get_running_loop().sock_recv(manager, 200))
                other.execute("ROLLBACK")


async def test_a_log_that_was_moved_away_is_noticed_while_nothing_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe writes as an event does, and finds what an event would find."""
    monkeypatch.setattr(selfwatch, "PROBE_SECONDS", 0.1)
    async with running(tmp_path) as service:
        (tmp_path / "klenhook.db").rename(tmp_path / "elsewhere.db")
        async with asyncio.timeout(10):
            reason = await service.log.stopped()

    assert "moved, replaced or deleted" in str(reason)


async def test_little_room_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`/readyz` says what is short and stays 200; the log has one line when it begins, and one when it ends."""
    monkeypatch.setattr(selfwatch, "PROBE_SECONDS", 0.05)
    monkeypatch.setattr(selfwatch, "LEAST_FREE_BYTES", 1 << 62)
    monkeypatch.setattr(selfwatch, "LARGEST_WAL", -1)
    async with running(tmp_path) as service:

        async def until(status: str) -> dict[str, object]:
            async with asyncio.timeout(10):
                while True:
                    answer = await exchange(service.port, request(method="GET", path="/readyz"))
                    assert answer.status == 200
                    if answer.json["status"] == status:
                        return dict(answer.json)
                    await asyncio.sleep(0.02)

        short = await until("degraded")
        await asyncio.sleep(0.2)
        monkeypatch.setattr(selfwatch, "LEAST_FREE_BYTES", 0)
        monkeypatch.setattr(selfwatch, "LARGEST_WAL", 1 << 62)
        enough = await until("ok")

    assert short["warnings"] == ["disk_space", "wal_size"]
    assert "warnings" not in enough
    told = capfd.readouterr().out
    assert (told.count("look after this"), told.count("all is well again")) == (1, 1)


async def test_a_damaged_log_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service stops and says why; the log takes nothing in until it is sound, whatever starts it again."""
    monkeypatch.setattr(selfwatch, "FIRST_EXAMINATION_SECONDS", 0.0)
    await asyncio.to_thread(change, tmp_path, fill)
    address = f"sqlite:///{tmp_path}/klenhook.db"
    backup = tmp_path / "backup.db"
    await asyncio.to_thread(back_up_log, address, backup)
    destroy(tmp_path / "klenhook.db")
    config = load_config(write_config(tmp_path))
    with pytest.raises(LogDamaged, match="klenhook db check"):
        await Service(config).run()
    with pytest.raises(LogDamaged, match="It takes nothing in"):
        await Service(config).run()
    done = await asyncio.to_thread(klenhook, tmp_path, "serve", status=1)
    assert "storage/README.md" in done.stderr

    (tmp_path / "klenhook.db").write_bytes(backup.read_bytes())
    async with running(tmp_path) as service:
        assert (await post(service.port, webhook())).status == 200
    assert not (tmp_path / "klenhook.db.damaged").exists()


def test_after_a_crash_handlers_wait_for_the_examination(tmp_path: Path, unused_tcp_port: int) -> None:
    """A log that was not closed is read through at the start; then what was left is handled."""
    write_plugin(tmp_path, HELLO)
    write_config(tmp_path, port=unused_tcp_port)
    with Process(tmp_path, port=unused_tcp_port) as service:
        service.wait_ready()
        asyncio.run(post(unused_tcp_port, webhook()))
        service.kill()
    with Process(tmp_path, port=unused_tcp_port) as service:
        service.wait_ready()
        asyncio.run(post(unused_tcp_port, webhook("calendar.updated")))
        assert service.terminate() == 0
    told = (tmp_path / "serve.log").read_text()
    assert told.count("examined") == 1

    with Process(tmp_path, port=unused_tcp_port) as service:
        service.wait_ready()
        assert service.terminate() == 0
    assert (tmp_path / "serve.log").read_text().count("examined") == 1


async def test_an_examination_ends_with_the_service(tmp_path: Path) -> None:
    """A log that closes does not wait for one that is under way, and none begins afterwards."""
    log = await open_log(f"sqlite:///{tmp_path}/log.db")
    assert await log.examine() == []
    examining = [asyncio.create_task(log.examine()) for _ in range(3)]
    await asyncio.sleep(0)
    await log.aclose()
    await asyncio.gather(*examining, return_exceptions=True)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_a_disk_that_hangs_starves_the_watchdog(tmp_path: Path, unused_tcp_port: int) -> None:
    """While a sync does not return, the manager hears nothing, so that it ends the service; then it hears again."""
    write_config(tmp_path, port=unused_tcp_port)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"}
        with Process(tmp_path, port=unused_tcp_port, env=environ) as service:
            service.wait_ready()
            hang = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=4000000:when=1"]
            strace = subprocess.Popen(
                ["strace", "-f", "-qq", "-o", os.devnull, *hang, "-p", str(service.writer_pid)],
                stderr=subprocess.PIPE,
            )
            heard, pauses = time.monotonic(), [0.0]
            while time.monotonic() - heard < 8 and strace.poll() is None and max(pauses) < 2:
                if manager.recv(200) == b"WATCHDOG=1":
                    pauses.append(time.monotonic() - heard)
                    heard = time.monotonic()
                if len(pauses) > 60:
                    break
            strace.terminate()
            complaint = strace.communicate()[1]
            if max(pauses) < 2 and b"ptrace" in complaint:
                pytest.skip("strace may not attach here")

    assert max(pauses) > 2
    assert "the log's writer hangs" in (tmp_path / "serve.log").read_text()
