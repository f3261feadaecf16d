"""Many appointments through a sandbox with all its faults on, against a service that is killed again and again.

    python -m tests.support.soak --appointments 10000 --kills 3

Prints what was sent, lost and found, and fails if a rule does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver.sandbox import APIKey, Faults, Sandbox
from receiver.sandbox.burst import burst
from receiver.sandbox.invariants import compare
from storage import open_reader
from tests.support.klen import SECRET
from tests.support.service import Process, klenhook

if TYPE_CHECKING:
    from receiver.sandbox.invariants import Report

FAULTS = Faults(duplicate=0.1, reorder=0.1, drop=0.05, bad_signature=0.05, unknown=0.02)
ROUNDS = 20
CONFIG = """
[server]
listen = "127.0.0.1:{port}"
[ops]
listen = "127.0.0.1:0"
[logging]
level = "warning"
[sources.klen]
secrets = ["{secret}"]
api_url = "{api_url}"
api_key = "klen_soak"
api_requests_per_minute = 100000
"""
KEY = APIKey("klen_soak", frozenset({"can_read_calendar", "can_write_calendar"}), 100_000, 100_000)


@dataclass
class Soak:
    """What came of it."""

    report: Report
    deliveries: int
    attempts: int
    faults: Counter[str]
    seconds: float
    events: int
    reconciled: dict[str, Any]

    def figures(self) -> dict[str, Any]:
        return {
            "deliveries": self.deliveries,
            "attempts": self.attempts,
            "faults": dict(self.faults),
            "events_in_the_log": self.events,
            "seconds": round(self.seconds, 1),
            "lost": len(self.report.lost),
            "violations": {one.rule: len(one.violations) for one in self.report.findings},
            "reconcile": self.reconciled,
        }


async def soak(folder: Path, *, appointments: int, changes: int, kills: int, seed: int = 7) -> Soak:
    """Play it in this folder, with a service of its own."""
    port = _free_port()
    started = time.monotonic()
    deadly = {round((number + 1) * ROUNDS / (kills + 1)) for number in range(kills)}
    async with Sandbox(speed=0, seed=seed, faults=FAULTS, keys=[KEY]) as sandbox:
        sandbox.register(f"http://127.0.0.1:{port}/webhooks/klen", secret=SECRET)
        (folder / "config.toml").write_text(CONFIG.format(port=port, secret=SECRET, api_url=sandbox.api_url))
        service = await _serving(folder, port)
        try:
            for number in range(ROUNDS):
                before = len(sandbox.courier.deliveries)
                burst(sandbox, appointments // ROUNDS, changes)
                if number in deadly:
                    half = before + (len(sandbox.courier.deliveries) - before) // 2
                    while not sandbox.courier.deliveries[half].attempts:
                        await asyncio.sleep(0)
                    service.kill()
                    burst(sandbox, 2)
                    await sandbox.idle()
                    service = await _serving(folder, port)
                await sandbox.jump(timedelta(minutes=10))
            await sandbox.finish()
            seconds = time.monotonic() - started
            report, events = await _judged(folder, sandbox)
            found = await _reconciled(folder, sandbox)
        finally:
            service.kill()
        attempts = [attempt for one in sandbox.courier.deliveries for attempt in one.attempts]
        faults: Counter[str] = Counter(attempt.fault for attempt in attempts if attempt.fault)
        faults["dropped"] = sum(one.state == "dropped" for one in sandbox.courier.deliveries)
        faults["no answer"] = sum(attempt.status is None for attempt in attempts)
        return Soak(report, len(sandbox.courier.deliveries), len(attempts), faults, seconds, events, found)


async def _serving(folder: Path, port: int) -> Process:
    service = Process(folder, port=port)
    await asyncio.to_thread(service.wait_ready, 60)
    return service


async def _reconciled(folder: Path, sandbox: Sandbox) -> dict[str, Any]:
    """What two runs of reconcile find, and what they leave lost."""
    figures: dict[str, Any] = {}
    for run in ("first", "second"):
        before, started = sandbox.keys.requests, time.monotonic()
        done = await asyncio.to_thread(klenhook, folder, "reconcile", "--json")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        figures[run] = {
            "requests": sandbox.keys.requests - before,
            "seconds": round(time.monotonic() - started, 1),
            "records": len(lines),
        }
    report, _ = await _judged(folder, sandbox)
    return figures | {"lost": len(report.lost), "holds": report.holds}


async def _judged(folder: Path, sandbox: Sandbox) -> tuple[Report, int]:
    log = await open_reader(f"sqlite:///{folder}/klenhook.db")
    try:
        while (await log.status()).unrouted:
            await asyncio.sleep(0.1)
        report = await compare(sandbox.courier.deliveries, sandbox.world, log, source="klen")
        return report, (await log.status()).events
    finally:
        await log.aclose()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.soak", description=__doc__)
    parser.add_argument("--appointments", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=1)
    parser.add_argument("--kills", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="klenhook-soak-") as name:
        done = asyncio.run(soak(Path(name), **vars(options)))
    print(json.dumps(done.figures(), indent=2))
    complete = done.report.holds and done.reconciled["holds"] and not done.reconciled["lost"]
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
