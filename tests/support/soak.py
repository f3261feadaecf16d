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
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from receiver.sandbox import APIKey, Faults, Sandbox
from receiver.sandbox.burst import burst
from receiver.sandbox.invariants import compare
from storage import open_reader
from tests.support.klen import SECRET
from tests.support.service import Process, write_config

if TYPE_CHECKING:
    from receiver.sandbox.invariants import Report

FAULTS = Faults(duplicate=0.1, reorder=0.1, drop=0.05, bad_signature=0.05, unknown=0.02)
ROUNDS = 20
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
    others: dict[str, Any] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        return {
            "deliveries": self.deliveries,
            "attempts": self.attempts,
            "faults": dict(self.faults),
            "events_in_the_log": self.events,
            "seconds": round(self.seconds, 1),
            "lost": len(self.report.lost),
            "violations": {one.rule: len(one.violations) for one in self.report.findings},
            **self.others,
        }


async def soak(folder: Path, *, appointments: int, changes: int, kills: int, seed: int = 7) -> Soak:
    """Play it in this folder, with a service of its own."""
    port = _free_port()
    write_config(folder, '[ops]\nlisten = "127.0.0.1:0"\n[logging]\nlevel = "warning"', port=port)
    started = time.monotonic()
    deadly = {round((number + 1) * ROUNDS / (kills + 1)) for number in range(kills)}
    async with Sandbox(speed=0, seed=seed, faults=FAULTS, keys=[KEY]) as sandbox:
        sandbox.register(f"http://127.0.0.1:{port}/webhooks/klen", secret=SECRET)
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
                    await sandbox.idle()
                    service = await _serving(folder, port)
                await sandbox.jump(timedelta(minutes=10))
            await sandbox.finish()
            seconds = time.monotonic() - started
            report, events = await _judged(folder, sandbox)
        finally:
            service.kill()
        attempts = [attempt for one in sandbox.courier.deliveries for attempt in one.attempts]
        faults: Counter[str] = Counter(attempt.fault for attempt in attempts if attempt.fault)
        faults["dropped"] = sum(one.state == "dropped" for one in sandbox.courier.deliveries)
        faults["no answer"] = sum(attempt.status is None for attempt in attempts)
        return Soak(report, len(sandbox.courier.deliveries), len(attempts), faults, seconds, events)


async def _serving(folder: Path, port: int) -> Process:
    service = Process(folder, port=port)
    await asyncio.to_thread(service.wait_ready, 60)
    return service


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
    return 0 if done.report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
