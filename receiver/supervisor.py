"""What we tell the service manager that started us: systemd, by sd_notify(3).

The protocol is one datagram of lines to the socket in `NOTIFY_SOCKET`, which its manual page shows how to
send without a library. The rule easiest to break: nobody has to be listening, so telling never fails and
never waits.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Supervisor:
    """The manager, if there is one; without one, nothing is told."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is not in the file system.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._watchdog_us = environ.get("WATCHDOG_USEC", "")
        self._watched = environ.get("WATCHDOG_PID", "")

    @property
    def watchdog_seconds(self) -> float | None:
        """Within this time it wants to hear `alive` again, or it ends us; None if it does not watch."""
        if self._watched not in ("", str(os.getpid())) or not self._watchdog_us.isascii():
            return None
        return int(self._watchdog_us) / 1e6 if self._watchdog_us.isdigit() else None

    def ready(self) -> None:
        """Requests are answered from now on."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The configuration is read again; `ready` tells when that has ended."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """What is under way is brought to its end."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """All is well: for the watchdog."""
        self._tell("WATCHDOG=1")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode(), self._address)
