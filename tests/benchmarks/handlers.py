"""How handlers are served: throughput by their number, delay of their start, answers beside bad ones, restarts.

Run as `python -m tests.benchmarks.handlers [--backlog 1000000]`; prints one line per figure, and takes five
minutes, more with waiting runs. Answers beside a bad handler are compared with those beside one that does
nothing at the same rate, so that the ratio is what the handler does to them and not what routing and recording
its runs costs; "no handler" tells that. Each has a new service, since bad handlers leave a backlog behind.

The rule easiest to break: what is compared takes turns, round after round, and the ratio is taken within the
round, since machines have better and worse minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from storage import open_log
from storage.records import NewEvent
from storage.work import NewRun, Routing, Subject
from tests.benchmarks.processes import CONFIG, NO_OP, free_port, service, serving
from tests.benchmarks.requests import SECRET, request
from tests.support.klen import read_answer

if TYPE_CHECKING:
    from tests.benchmarks.processes import Server

EVENTS: Final = 10_000
PER_SECOND: Final = 500
SECONDS: Final = 10
WARM_SECONDS: Final = 2
COMPARED_SECONDS: Final = 5
LINES: Final = 16

MANY: Final = "from receiver import AnyEvent, on\n" + "".join(
    f"@on(AnyEvent)\nasync def nothing{number}(event: AnyEvent) -> None: pass\n" for number in range(20)
)
NOTING: Final = """\
import time
from pathlib import Path
from receiver import AnyEvent, on

notes = Path(__file__).with_name("notes").open("a", buffering=1)

@on(AnyEvent)
async def note(event: AnyEvent) -> None:
    print(event.event_id, time.time(), file=notes)
"""
BAD: Final = """\
import time
from receiver import AnyEvent, on

@on(AnyEvent, {options})
def bad(event: AnyEvent) -> None:
    {body}
"""
SLEEPS: Final = "time.sleep(0.05)"
COMPUTES: Final = """until = time.thread_time() + 0.05
    while time.thread_time() < until: pass"""

COMPARED: Final = {
    "a handler that does nothing": NO_OP,
    "no handler": "",
    "threads that sleep 50 ms": BAD.format(options="", body=SLEEPS),
    "isolated, sleeps 50 ms": BAD.format(options="isolate=True, concurrency=2", body=SLEEPS),
    "isolated, computes 50 ms, one at once": BAD.format(options="isolate=True, concurrency=1", body=COMPUTES),
    "isolated, computes 50 ms, two at once": BAD.format(options="isolate=True, concurrency=2", body=COMPUTES),
    "two threads that compute 50 ms": BAD.format(options="concurrency=2", body=COMPUTES),
}
"""Plugins by name; the first is what the others are compared with."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Benchmarks of handlers.")
    parser.add_argument(
        "--backlog", type=int, default=0, help="waiting runs for the restart; 0 leaves it out"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of the comparison")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for number in (1, 5, 20):
            plugin = "\n".join(MANY.splitlines()[: 1 + 2 * number]) + "\n"
            with service(base / f"done{number}", plugin=plugin) as server:
                started = server.load(EVENTS)["started_at"]
                took = server.last_done(runs_per_event=number) - started
                print(f"events to done, {number} handlers: {EVENTS / took:,.0f}/s")
        with service(base / "delay", plugin=NOTING) as server:
            answered, _ = asyncio.run(paced(server, SECONDS))
            time.sleep(2)
            print_delays(server, answered)
        compare_answers(base, options.rounds)
        if options.backlog:
            asyncio.run(restart(base / "backlog", options.backlog))


async def paced(server: Server, seconds: int) -> tuple[dict[str, float], list[float]]:
    """Send 500 events a second; when each was answered, and how long each answer took, in seconds."""
    connections: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(LINES):
        connections.put_nowait(await asyncio.open_connection("127.0.0.1", server.port))
    answered: dict[str, float] = {}
    latencies: list[float] = []

    async def send(content: bytes) -> None:
        reader, writer = await connections.get()
        began = time.perf_counter()
        writer.write(content)
        answer = await read_answer(reader)
        latencies.append(time.perf_counter() - began)
        answered[answer.json["event_id"]] = time.time()
        connections.put_nowait((reader, writer))

    tasks = []
    contents = [request(server.sent + number) for number in range(PER_SECOND * seconds)]
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    for number, content in enumerate(contents):
        await asyncio.sleep(max(0.0, start + number / PER_SECOND - time.perf_counter()))
        tasks.append(asyncio.create_task(send(content)))
    await asyncio.gather(*tasks)
    gc.enable()
    server.sent += len(tasks)
    while not connections.empty():
        connections.get_nowait()[1].close()
    return answered, latencies


def print_delays(server: Server, answered: dict[str, float]) -> None:
    """From the answer 200 to the start of the handler."""
    lines = (server.folder / "plugins" / "notes").read_text().splitlines()
    begun = {event_id: float(moment) for event_id, moment in map(str.split, lines)}
    delays = [begun[event_id] - moment for event_id, moment in answered.items()]
    p50, p99 = percentiles(delays)
    print(f"200 to the handler's start at {PER_SECOND}/s: p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def compare_answers(base: Path, rounds: int) -> None:
    """The answers' p50 and p99 at 500 events a second beside each handler, medians of the rounds."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(rounds):
        for place, (title, plugin) in enumerate(COMPARED.items()):
            with service(base / f"beside-{number}-{place}", plugin=plugin) as server:
                asyncio.run(paced(server, WARM_SECONDS))
                found[title].append(percentiles(asyncio.run(paced(server, COMPARED_SECONDS))[1]))
    plain = found[next(iter(COMPARED))]
    for title, figures in found.items():
        p50, p99 = (statistics.median(column) for column in zip(*figures, strict=True))
        ratio = statistics.median(mine / other for (_, mine), (_, other) in zip(figures, plain, strict=True))
        print(
            f"answer at {PER_SECOND}/s, {title}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {ratio:.2f} of the first"
        )


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """The median and the 99th, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return cuts[49] * 1000, cuts[98] * 1000


async def restart(folder: Path, backlog: int) -> None:
    """Kill a service with a backlog, and start it again."""
    (folder / "plugins").mkdir(parents=True)
    (folder / "plugins" / "nothing.py").write_text(NO_OP)
    await fill(folder, backlog)
    port = free_port()
    (folder / "config.toml").write_text(CONFIG.format(port=port, ops_port=free_port(), secret=SECRET))
    with serving(folder, port) as server:
        await asyncio.sleep(2)
        server.process.kill()
        server.process.wait()
    began = time.perf_counter()
    with serving(folder, port) as server:
        ready = time.perf_counter() - began
        first = server.resident_mb()
        await asyncio.sleep(10)
        print(
            f"ready {ready:.2f} s after kill -9 with {backlog:,} runs waiting; "
            f"{first:.0f} MB then, {server.resident_mb():.0f} MB after 10 s of work"
        )


async def fill(folder: Path, backlog: int) -> None:
    """A log with so many events, each with one run that waits."""
    log = await open_log(f"sqlite:///{folder / 'klenhook.db'}")
    for first in range(0, backlog, 2_000):
        events = [event(number) for number in range(first, min(first + 2_000, backlog))]
        await asyncio.gather(*map(log.append, events))
        routings = [
            Routing(one.seq, one.source, Subject("calendar_event", None, one.seq), (NewRun("nothing"),))
            for one in await log.unrouted(len(events))
        ]
        await log.route(routings, now_ms=0)
    await log.aclose()


def event(number: int) -> NewEvent:
    """One of the events of the load, as intake would store it."""
    body = request(number).partition(b"\r\n\r\n")[2]
    key = (number + 1).to_bytes(8)
    return NewEvent(
        event_id=f"{number:036d}",
        source="klen",
        body=body,
        body_sha256=key * 4,
        content_digest=key,
        delivery_digest=key[::-1],
        received_at_ms=number,
        event_type=json.loads(body)["event_type"],
        calendar_event_id=number,
    )


if __name__ == "__main__":
    main()
