"""Too many, too slow, too much: good requests are served, the others are closed or refused, memory stays bounded."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.faults import ledger
from tests.faults.shim import Shim
from tests.faults.trial import Trial
from tests.support.klen import distinct, post, request, signature, webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.faults.conftest import Figure, Size
    from tests.support.service import Process

MEBIBYTE = 2**20
BEGINNINGS = {
    "idle": b"",
    "slow headers": b"POST /webhooks/klen HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "slow body": request(b"", {"X-Klen-Signature": signature(webhook())}, length=60_000) + b'{"a": "',
    "unsigned slow body": request(b"", {}, length=60_000) + b"x" * 30_000,
}
"""How the connections begin that then send one byte every two seconds, or nothing."""


class Slow:
    """Connections that take their time."""

    def __init__(self, port: int, *, longest: float = 25) -> None:
        self._port = port
        self._longest = longest
        self.refused = 0
        self.forgotten = 0
        """Those that the system took, and the service never saw."""
        self.lives: list[float] = []
        """How many seconds each was kept."""

    async def one(self, kind: str) -> None:
        """Send a byte now and then until the other side has had enough."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self.refused += 1
            return
        started = time.monotonic()
        with suppress(OSError):
            writer.write(BEGINNINGS[kind])
            ended = asyncio.ensure_future(reader.read())
            while not ended.done() and time.monotonic() - started < self._longest:
                await asyncio.wait([ended], timeout=2)
                if kind != "idle" and not ended.done():
                    writer.write(b"x")
            self.forgotten += not ended.done()
            ended.cancel()
            with suppress(OSError, asyncio.CancelledError):
                await ended
        writer.close()
        self.lives.append(time.monotonic() - started)


async def good(port: int, stop: asyncio.Event, *, patience: float) -> list[float]:
    """Deliver one event after the other, again when the connection is lost; the seconds each took."""
    seconds = []
    while not stop.is_set():
        started, body, answer = time.monotonic(), distinct(), None
        async with asyncio.timeout(patience):
            while answer is None:
                with suppress(OSError, asyncio.IncompleteReadError):
                    answer = await post(port, body)
        assert answer.status == 200
        seconds.append(time.monotonic() - started)
        await asyncio.sleep(0.02)
    return seconds


@asynccontextmanager
async def watching(process: Process, peaks: list[int]) -> AsyncIterator[None]:
    """Note the most memory that the service takes meanwhile."""

    async def watch() -> None:
        while True:
            peaks.append(process.resident_bytes())
            await asyncio.sleep(0.2)

    watcher = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        watcher.cancel()


@pytest.mark.timeout(600)
async def test_slow_clients_are_closed_and_hurt_nobody(tmp_path: Path, size: Size, figure: Figure) -> None:
    """Idle, half-open and dripping connections are gone in time, while good requests are answered."""
    number = size(400, 5_000)
    trial = Trial(tmp_path, plugin="")
    slow, peaks, stop = Slow(trial.port), [0], asyncio.Event()
    with trial.service() as process:
        await asyncio.to_thread(process.wait_ready)
        genuine = asyncio.ensure_future(good(trial.port, stop, patience=10))
        async with watching(process, peaks):
            await asyncio.gather(*(slow.one(kind) for kind in list(BEGINNINGS) * (number // len(BEGINNINGS))))
        stop.set()
        seconds = sorted(await genuine)
    p99 = statistics.quantiles(seconds, n=100)[98]
    assert (slow.refused, slow.forgotten) == (0, 0)
    assert max(slow.lives) < 20
    assert max(peaks) < 400 * MEBIBYTE
    assert len(seconds) > 50
    figure(
        f"{number:,} slow connections, each closed in {max(slow.lives):.1f} s, "
        f"good p99 {p99 * 1000:.0f} ms, {max(peaks) // MEBIBYTE} MiB"
    )


@pytest.mark.timeout(600)
async def test_more_connections_than_descriptors_are_survived(tmp_path: Path, figure: Figure) -> None:
    """With idle connections for every descriptor, good requests are answered, and the log is no flood."""
    trial = Trial(tmp_path)
    limited = ["bash", "-c", 'ulimit -n 128; exec "$@"', "-", sys.executable, "-m", "receiver"]
    slow, stop = Slow(trial.port, longest=12), asyncio.Event()
    with trial.service(command=limited) as process:
        await asyncio.to_thread(process.wait_ready)
        genuine = asyncio.ensure_future(good(trial.port, stop, patience=5))
        await asyncio.gather(*(slow.one("idle") for _ in range(400)))
        stop.set()
        seconds = await genuine
        assert await asyncio.to_thread(process.terminate) == 0
    output = process.output.read_text()
    assert "Traceback" not in output
    assert output.count("\n") < 100, output[:2000]
    figure(f"400 idle connections with 128 descriptors, good requests in at most {max(seconds):.1f} s")


@pytest.mark.timeout(600)
def test_overload_is_refused_honestly(tmp_path: Path, library: Path, size: Size, figure: Figure) -> None:
    """With far more senders than it can serve, and then a disk that hardly works: 200 or 503 with `Retry-After`."""
    seconds = size(3, 60)
    trial = Trial(tmp_path, plugin="")
    with Shim(library, trial.log) as shim:
        environ = shim.env | {"KLENHOOK_SERVER__STORE_TIMEOUT_SECONDS": "1"}
        with trial.service(env=environ) as process:
            process.wait_ready()
            with trial.sending("book", "--connections", "512"):
                peak = _peak(process, seconds)
                shim.delay_syncs(3)
                peak = max(peak, _peak(process, 5))
                shim.delay_syncs(0)
                healed = time.time() + 5
                peak = max(peak, _peak(process, 7))
    book = trial.book()
    refused = [answer for answer in book.answers if answer["status"] != 200]
    assert {(answer["status"], bool(answer["retry_after"])) for answer in refused} == {(503, True)}
    late = [answer for answer in book.answers if answer["at"] > healed]
    assert late
    assert all(answer["status"] == 200 for answer in late)
    assert peak < 256 * MEBIBYTE
    assert not ledger.check(book, trial.log)
    times = sorted(answer["ms"] for answer in book.answers if answer["status"] == 200)
    figure(
        f"512 senders for {seconds} s: {len(book.acked):,} accepted, p99 {times[len(times) * 99 // 100]:.0f} ms, "
        f"{len(refused):,} refused, {peak // MEBIBYTE} MiB"
    )


def _peak(process: Process, seconds: float) -> int:
    """The most memory that the service takes in that time."""
    peak, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        peak = max(peak, process.resident_bytes())
        time.sleep(0.1)
    return peak
