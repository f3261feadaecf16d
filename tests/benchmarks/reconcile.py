"""What finding missed changes costs: `python -m tests.benchmarks.reconcile [--missed 1000] [--per-minute 60]`.

A sandbox with so many appointments that the log knows, each of which was changed while nobody listened; then
`klenhook reconcile` as a process of its own. At the vendor's own limit, a thousand take nearly twenty minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its stubs are not installed

from receiver.sandbox import APIKey, Sandbox
from receiver.sandbox.burst import burst

PERMISSIONS = frozenset({"can_read_calendar", "can_write_calendar"})
FREE = APIKey("klen_sandbox_free", PERMISSIONS, requests_per_minute=1_000_000)
WINDOW = ("--from", "30d", "--to", "2099-12-31")


async def measure(missed: int, per_minute: int) -> None:
    """Print the figures."""
    limited = APIKey("klen_sandbox_limited", PERMISSIONS, requests_per_minute=per_minute)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Sandbox(seed=7, keys=[FREE, limited]) as sandbox:
            configure(folder, sandbox, FREE)
            burst(sandbox, missed)
            await reconcile(folder)
            for appointment in list(sandbox.world):
                sandbox.account.update(appointment.uuid, {"title": "Changed while nobody listened"})
            configure(folder, sandbox, limited)
            seconds, peak, found = await reconcile(folder)
            requests = requests_of(folder)
            configure(folder, sandbox, FREE)
            again, _, left = await reconcile(folder)
    print(f"{found} of {missed} missed changes, {per_minute} requests a minute allowed:")
    print(f"{requests} requests, {seconds:.1f} s, {peak / 2**20:.0f} MiB; then {left} in {again:.1f} s")


def configure(folder: Path, sandbox: Sandbox, key: APIKey) -> None:
    (folder / "config.toml").write_text(
        '[sources.klen]\nsecrets = ["a-long-enough-test-secret"]\n'
        f'api_url = "{sandbox.api_url}"\napi_key = "{key.key}"\n'
        f"api_requests_per_minute = {min(key.requests_per_minute, 100_000)}\n"
    )


async def reconcile(folder: Path) -> tuple[float, int, int]:
    """Seconds, peak of the resident memory in bytes, and how many events were found."""
    began, peak = time.monotonic(), 0
    command = [sys.executable, "-m", "receiver", "reconcile", "--json", *WINDOW]
    with (folder / "found").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--config",
            str(folder / "config.toml"),
            stdout=output,
            stderr=asyncio.subprocess.DEVNULL,
        )
        waiting = asyncio.create_task(process.wait())
        while not waiting.done():
            with contextlib.suppress(psutil.Error):
                peak = max(peak, psutil.Process(process.pid).memory_info().rss)
            await asyncio.wait({waiting}, timeout=0.05)
    assert process.returncode == 0
    return time.monotonic() - began, peak, len((folder / "found").read_bytes().splitlines())


def requests_of(folder: Path) -> int:
    """What the latest comparison has needed."""
    with contextlib.closing(sqlite3.connect(folder / "klenhook.db")) as log:
        row = log.execute("SELECT requests FROM reconciliations ORDER BY 1 DESC").fetchone()
    return int(row[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--missed", type=int, default=1_000)
    parser.add_argument("--per-minute", type=int, default=60)
    options = parser.parse_args()
    asyncio.run(measure(options.missed, options.per_minute))
