"""What the calendar costs: routing with its fold, bytes on disk, and questions to a log of a million events.

Run as `python -m tests.benchmarks.calendar [--events 10000 100000 1000000] [--folder DIR]`. The log is made once
for each size, from a seed, and kept if a folder is given. The rule easiest to break: events go through the
same intake, router and writer as in the service, and questions through the same reader as the commands'.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from receiver import logs
from receiver.clock import SystemClock
from receiver.counts import Counts
from receiver.history import in_order_of_time, state_at
from receiver.intake import Delivery, read_event
from receiver.route import Router
from receiver.words import terms_of
from storage import open_log, open_reader
from storage.records import Selection
from tests.benchmarks.machine import facts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from storage.reader import EventReader

SEED: Final = 2025
OPEN: Final = 2_000
"""Appointments whose events come in between each other's."""
LATE: Final = 0.03
"""The part of events that come after something newer."""
START_MS: Final = 1_746_094_530_000
EVERY_MS: Final = 2_000
QUESTIONS: Final = 200
ROUNDS: Final = 15
ROUND_EVENTS: Final = 500
FIRST_NAMES: Final = (
    "Ada",
    "Alan",
    "Barbara",
    "Edsger",
    "Grace",
    "John",
    "Ken",
    "Margaret",
    "Niklaus",
    "Tony",
)


def stories(rng: random.Random) -> Iterator[tuple[str, dict[str, Any], int]]:
    """Webhooks of appointments without end: each begins, may change, and ends; some come late.

    With each, its place in the life of its appointment.
    """
    lives = [_life(rng, number) for number in range(1, OPEN)]
    number = OPEN
    while True:
        place = rng.randrange(len(lives))
        life = lives[place]
        late = len(life) > 1 and rng.random() < LATE
        yield life.pop(1 if late else 0)
        if not life:
            lives[place] = _life(rng, number)
            number += 1


def _life(rng: random.Random, number: int) -> list[tuple[str, dict[str, Any], int]]:
    uuid = str(UUID(int=rng.getrandbits(128), version=4))
    name, day, hour = rng.choice(FIRST_NAMES), rng.randrange(1, 28), rng.randrange(8, 17)
    event = {
        "id": number,
        "uuid": uuid,
        "title": f"Meeting with {name} about {rng.choice(('sales', 'support', 'renewal'))}",
        "event_type": "meeting",
        "status": "confirmed",
        "start_time": f"2025-06-{day:02}T{hour:02}:00:00.000Z",
        "end_time": f"2025-06-{day:02}T{hour + 1:02}:00:00.000Z",
        "duration_minutes": 60,
        "location": f"Room {rng.randrange(9)}",
        "has_video_conference": True,
        "video_conference_url": f"https://meet.example.com/{uuid[:8]}",
        "created_by_ai_agent": True,
        "ai_agent": {"id": 42, "name": "Meeting Scheduler", "assistant_id": "asst_01234567890"},
        "customer": {
            "name": f"{name} Customer",
            "email": f"{name.lower()}{number % 50_000}@example.com",
            "phone": f"+1555{number % 10_000_000:07}",
        },
        "ics_url": f"/calendar/event/{uuid}/calendar.ics",
    }
    life = [("created", dict(event))]
    if rng.random() < 0.4:
        before = event["start_time"], event["end_time"]
        event |= {"start_time": f"2025-07-{day:02}T{hour:02}:30:00.000Z"}
        event |= {"end_time": f"2025-07-{day:02}T{hour + 1:02}:30:00.000Z"}
        told = {"time_changed": True, "previous_start": before[0], "previous_end": before[1]}
        life.append(("updated", {**event, **told}))
    if rng.random() < 0.2:
        event["location"] = "Annex"
        life.append(("updated", dict(event)))
    life += [("reminder", dict(event))] * (rng.random() < 0.8)
    end = rng.choices(("completed", "cancelled", "no_show"), (80, 18, 2))[0]
    event["status"] = end
    if end == "cancelled":
        event["reason"] = "Client requested to reschedule"
    life.append(("updated" if end == "no_show" else end, dict(event)))
    return [(kind, told, place) for place, (kind, told) in enumerate(life)]


async def make(path: Path, events: int) -> dict[str, float]:
    """A log with so many events, routed by the service's router; how fast, and how large."""
    rng = random.Random(SEED)  # noqa: S311 -- a load, not a secret
    told = stories(rng)
    log = await open_log(f"sqlite:///{path}")
    router = Router(log, [], SystemClock(), counts=Counts())
    raw = taken = routed = cpu = 0.0
    for first in range(0, events, 5_000):
        bodies = []
        for number in range(first, min(first + 5_000, events)):
            kind, event, place = next(told)
            # The appointment's number and the place in its life are the time: what was let wait comes late.
            seconds = START_MS / 1000 + event["id"] * 10 + place * 3_600
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            content = {"event_type": f"calendar.{kind}", "calendar_event": event, "timestamp": f"{at}.000Z"}
            bodies.append((number, json.dumps(content, separators=(",", ":")).encode()))
        raw += sum(len(body) for _, body in bodies)
        began = time.perf_counter()
        deliveries = [
            read_event(Delivery("klen", body, START_MS + number * EVERY_MS, "0f0f", f"d-{number}"))
            for number, body in bodies
        ]
        await asyncio.gather(*(log.append(event) for event in deliveries))
        taken += time.perf_counter() - began
        began, began_cpu = time.perf_counter(), time.process_time()
        while await router._batch():
            pass
        routed += time.perf_counter() - began
        cpu += time.process_time() - began_cpu
    await log.aclose()
    return {
        "intake events/s": events / taken,
        "routing events/s": events / routed,
        "routing CPU us/event": cpu / events * 1e6,
        "bytes on disk / raw body": path.stat().st_size / raw,  # noqa: ASYNC240 -- nothing else runs
    }


def add_runs(path: Path) -> None:
    """Runs of two handlers as they would be after a while: one wants all, some of whose runs are dead."""
    with closing(sqlite3.connect(path)) as log, log:
        log.execute("INSERT INTO handler (name) VALUES ('every'), ('rare')")
        log.execute(
            "INSERT INTO run (seq, handler_id, subject_id, state) "
            "SELECT seq, 1, subject_id, iif(seq % 5000 = 7, 'dead', 'done') FROM routing"
        )
        log.execute(
            "INSERT INTO run (seq, handler_id, subject_id, state) "
            "SELECT seq, 2, subject_id, 'done' FROM routing WHERE seq % 20000 = 9"
        )


def questions(
    rng: random.Random, ids: list[tuple[str, str]]
) -> dict[str, Callable[[EventReader], Awaitable[Any]]]:
    """What is asked, each time about something else."""

    def listed(**filters: Any) -> Callable[[EventReader], Awaitable[Any]]:
        return lambda log: log.page(Selection(**filters))

    async def timeline(log: EventReader) -> object:
        [found] = await log.calendar_events(rng.choice(ids)[1])
        await log.rebookings(found.subject)
        return in_order_of_time(await log.history(found.subject))

    async def state(log: EventReader) -> object:
        [found] = await log.calendar_events(rng.choice(ids)[1])
        return state_at(await log.history(found.subject), time_ms=None)

    last_ms = START_MS + len(ids) * EVERY_MS
    middle_ms = START_MS + len(ids) * EVERY_MS // 2
    return {
        "list": listed(),
        "list --type (exact)": listed(type_glob="calendar.cancelled"),
        "list --type (glob)": listed(type_glob="calendar.*"),
        "list --type (none such)": listed(type_glob="agent.*"),
        "list --since 1h": listed(since_ms=last_ms - 3_600_000),
        "list --since (all)": listed(since_ms=0),
        "list --until (middle)": listed(until_ms=middle_ms),
        "list --until (start)": listed(until_ms=START_MS + 100_000),
        "list --after": lambda log: log.page(Selection(after_seq=rng.randrange(len(ids)))),
        "list --calendar-event": lambda log: log.page(Selection(calendar_event=rng.choice(ids)[1])),
        "list --source": listed(source="klen"),
        "list --source (none such)": listed(source="other"),
        "list --verdict fresh": listed(verdict="fresh"),
        "list --verdict stale": listed(verdict="stale"),
        "list --verdict impossible": listed(verdict="impossible"),
        "list --verdict conflicting": listed(verdict="conflicting"),
        "list --change rescheduled": listed(change="rescheduled"),
        "list --change no_show": listed(change="no_show"),
        "list --change retitled": listed(change="retitled"),
        "list --status done": listed(run_state="done"),
        "list --status dead": listed(run_state="dead"),
        "list --status pending": listed(run_state="pending"),
        "list --handler every": listed(handler="every"),
        "list --handler rare": listed(handler="rare"),
        "list --handler every --status dead": listed(handler="every", run_state="dead"),
        "list --handler rare --status done": listed(handler="rare", run_state="done"),
        "list --handler rare --status dead": listed(handler="rare", run_state="dead"),
        "show": lambda log: log.get(rng.choice(ids)[0]),
        "timeline": timeline,
        "state": state,
        "search (a common word)": listed(words=terms_of("meeting")),
        "search (a customer)": lambda log: log.page(
            Selection(words=terms_of(f"ada{rng.randrange(50_000)}@example.com"))
        ),
    }


async def compare_intake(full: Path, folder: Path) -> float:
    """Intake on the full log by intake on an empty one: rounds of both in turn. What was added is removed."""
    empty = folder / "empty.db"
    logs_open = [await open_log(f"sqlite:///{path}") for path in (full, empty)]
    last = (await logs_open[0].status()).last_seq
    ratios = []
    for _ in range(ROUNDS):
        spent = []
        for log in logs_open:
            events = [read_event(_delivery()) for _ in range(ROUND_EVENTS)]
            began = time.perf_counter()
            await asyncio.gather(*(log.append(event) for event in events))
            spent.append(time.perf_counter() - began)
        ratios.append(spent[1] / spent[0])
    for log in logs_open:
        await log.aclose()
    for path in folder.glob("empty.db*"):  # noqa: ASYNC240 -- nothing else runs
        path.unlink()
    with closing(sqlite3.connect(full)) as database, database:
        database.execute("DELETE FROM event WHERE seq > ?", (last,))
        database.execute("DELETE FROM identity WHERE seq > ?", (last,))
    return statistics.median(ratios)


def _delivery() -> Delivery:
    """One that no log has."""
    uuid = str(uuid4())
    event = {
        "id": uuid4().int % 2**40,
        "uuid": uuid,
        "title": "New",
        "status": "confirmed",
        "location": "x" * 500,
    }
    body = json.dumps({"event_type": "calendar.created", "calendar_event": event}).encode()
    return Delivery("klen", body, time.time_ns() // 1_000_000, "0f0f", uuid)


async def ask(path: Path) -> dict[str, tuple[float, float]]:
    """The median and the 99th percentile of each question, in milliseconds."""
    rng = random.Random(SEED)  # noqa: S311 -- as above
    with closing(sqlite3.connect(path)) as log:
        ids = log.execute("SELECT event_id, calendar_event_uuid FROM event").fetchall()
    reader = await open_reader(f"sqlite:///{path}")
    found = {}
    for name, question in questions(rng, ids).items():
        spent = []
        for _ in range(QUESTIONS):
            began = time.perf_counter()
            await question(reader)
            spent.append((time.perf_counter() - began) * 1000)
            if sum(spent) > 5_000:
                break
        spent.sort()
        found[name] = statistics.median(spent), spent[int(len(spent) * 0.99)]
    await reader.aclose()
    return found


async def measure(folder: Path, sizes: list[int]) -> None:
    """Print the tables."""
    print(json.dumps(facts(folder)))
    answers: dict[int, dict[str, tuple[float, float]]] = {}
    for size in sizes:
        path = folder / f"calendar-{size}.db"
        if not path.exists():
            made = await make(path, size)
            print(
                f"{size} events: " + ", ".join(f"{name} {value:.4g}" for name, value in made.items()),
                flush=True,
            )
            add_runs(path)
        answers[size] = await ask(path)
        print(
            f"{size} events: intake by intake on an empty log {await compare_intake(path, folder):.3f}",
            flush=True,
        )
    print(f"{'ms: median, p99':40}" + "".join(f"{size:>20}" for size in sizes))
    for name in answers[sizes[0]]:
        cells = (answers[size][name] for size in sizes)
        print(f"{name:40}" + "".join(f"{median:>11.2f} {most:>8.2f}" for median, most in cells))


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    logs.configure("error", "json")
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        asyncio.run(measure(options.folder, options.events))
        return
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), options.events))


if __name__ == "__main__":
    main()
