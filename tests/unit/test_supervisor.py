"""What systemd is told, over a real socket."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from receiver.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """The other end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        listening.settimeout(5)
        yield listening


@pytest.mark.parametrize("abstract", [False, True])
def test_each_message_is_one_datagram(tmp_path: Path, *, abstract: bool) -> None:
    """As sd_notify(3) has them, to a path or to an abstract address."""
    address = f"@klenhook-{uuid4()}" if abstract else str(tmp_path / "notify")
    with manager(address) as listening:
        supervisor = Supervisor({"NOTIFY_SOCKET": address})
        for tell in (supervisor.ready, supervisor.alive, supervisor.stopping, supervisor.reloading):
            tell()
        told = [listening.recv(100).decode() for _ in range(4)]

    assert told[:3] == ["READY=1", "WATCHDOG=1", "STOPPING=1"]
    first, second = told[3].split("\n")
    assert (first, second.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
    assert 0 <= time.monotonic() - int(second.partition("=")[2]) / 1e6 < 5


def test_nobody_has_to_listen(tmp_path: Path) -> None:
    """Without a manager, with one that is gone, and with one that does not read, telling does nothing."""
    Supervisor({}).ready()
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    Supervisor({"NOTIFY_SOCKET": "x" * 300}).ready()
    with manager(str(tmp_path / "deaf")):
        deaf = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "deaf")})
        for _ in range(2_000):
            deaf.alive()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
    ],
)
def test_the_watchdog_is_ours_or_nobodys(environ: dict[str, str], seconds: float | None) -> None:
    """Its time is taken when it is a number and meant for this process."""
    assert Supervisor(environ).watchdog_seconds == seconds
