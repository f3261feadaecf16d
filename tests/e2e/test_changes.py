"""Handlers of what really changed, called by the real service."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from receiver.testing import LocalService, local_service
from storage.records import Selection
from tests.support.story import WHOLE, body

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOTES = """
import json
from pathlib import Path
from receiver import *

def note(ctx, event, **more):
    told = {"class": type(event).__name__, "webhook": event.event_type, "state": event.state.status, **more}
    with (Path(__file__).parent / f"{ctx.handler}.txt").open("a") as file:
        file.write(json.dumps(told) + "\\n")
"""
MOVED = {**WHOLE, "start_time": "2025-05-01T16:00:00.000Z", "end_time": "2025-05-01T17:00:00.000Z"}


async def called(folder: Path, handlers: str, bodies: Sequence[Any], **config: Any) -> dict[str, list[Any]]:
    """Send the bodies, one after the other; what each handler noted, by its name."""
    async with local_service(folder, plugins={"noting.py": NOTES + handlers}, config=config) as running:
        await send(running, bodies)
        assert {run.state for run in await running.settled()} <= {"done", "skipped"}
    return noted(folder)


async def send(running: LocalService, bodies: Sequence[Any]) -> None:
    for one in bodies:
        assert (await running.vendor.post(json.dumps(one).encode())).status == 200
        await running.settled()


def noted(folder: Path) -> dict[str, list[Any]]:
    return {
        file.stem: [json.loads(line) for line in file.read_text().splitlines()]
        for file in sorted((folder / "plugins").glob("*.txt"))
    }


async def test_a_change_is_told_whichever_webhook_carried_it(tmp_path: Path) -> None:
    """A handler of a change gets it with what was before and after; one of a base class gets each change."""
    handlers = """
@on(Rescheduled)
async def moved(event, ctx: Context): note(ctx, event, by=event.by.total_seconds(), before=str(event.before.start_time))
@on(NoShow)
def no_show(event, ctx: Context): note(ctx, event, before=event.before.status, after=event.after.status)
@on(Cancelled)
async def cancelled(event, ctx: Context): note(ctx, event, reason=event.reason)
@on(StatusChanged)
async def status(event, ctx: Context): note(ctx, event, change=event.change)
@on(AnyChange)
async def every(event, ctx: Context): note(ctx, event)
@on(Changed("customer.email", "location"))
async def fields(event, ctx: Context): note(ctx, event, fields=event.fields, email=event.after.customer.email)
"""
    found = await called(
        tmp_path,
        handlers,
        [
            body("created", 0, **WHOLE),
            body("updated", 1, **{**MOVED, "location": "B", "customer": {"email": "new@example.com"}}),
            body("updated", 2, **{**MOVED, "status": "no_show"}),
            body("updated", 3, **{**MOVED, "status": "cancelled", "reason": "ill"}),
        ],
    )

    assert found["moved"] == [
        {
            "class": "Rescheduled",
            "webhook": "calendar.updated",
            "state": "confirmed",
            "by": 7200.0,
            "before": "2025-05-01 14:00:00+00:00",
        }
    ]
    assert [(one["before"], one["after"], one["state"]) for one in found["no_show"]] == [
        ("confirmed", "no_show", "no_show")
    ]
    assert [one["reason"] for one in found["cancelled"]] == ["ill"]
    assert [(one["class"], one["change"]) for one in found["status"]] == [
        ("NoShow", "no_show"),
        ("Cancelled", "cancelled"),
    ]
    classes = [one["class"] for one in found["every"]]
    assert classes[:3] == ["Rescheduled", "Moved", "CustomerChanged"]
    [first, *_] = found["fields"]
    assert (first["class"], first["fields"], first["email"]) == (
        "Changed('customer.email', 'location')",
        ["location", "customer.email"],
        "new@example.com",
    )


async def test_a_webhook_that_was_named_is_given_once(tmp_path: Path) -> None:
    """A handler of both a webhook and a change gets the webhook, and a change that comes by another one."""
    handlers = """
@on(CalendarCancelled, NoShow, Cancelled)
async def ended(event, ctx: Context): note(ctx, event)
"""
    found = await called(
        tmp_path,
        handlers,
        [
            body("created", 0, **WHOLE),
            body("updated", 1, **{**WHOLE, "status": "no_show"}),
            body("cancelled", 2, **{**WHOLE, "status": "cancelled"}),
        ],
    )

    assert [one["class"] for one in found["ended"]] == ["NoShow", "CalendarCancelled"]


async def test_where_chooses_among_changes(tmp_path: Path) -> None:
    """It is asked with what the handler would be called with."""
    handlers = """
@on(Moved, where=lambda event: event.after.location == "C" and event.state.title == "Client Meeting")
async def to_c(event, ctx: Context): note(ctx, event)
"""
    rooms = [body("updated", n, id=123, location=room) for n, room in enumerate("ABCD", 1)]
    found = await called(tmp_path, handlers, [body("created", 0, **WHOLE), *rooms])

    assert len(found["to_c"]) == 1


async def test_what_is_stale_is_skipped_run_or_merged(tmp_path: Path) -> None:
    """By the handler's `stale=`: recorded as skipped, called with what came, or with all that is known."""
    handlers = """
@on(CalendarUpdated)
async def skips(event, ctx: Context): note(ctx, event, title=event.calendar_event.title)
@on(CalendarUpdated, stale="run")
async def runs(event, ctx: Context): note(ctx, event, title=event.calendar_event.title)
@on(CalendarUpdated, stale="merge")
async def merges(event, ctx: Context): note(ctx, event, title=event.calendar_event.title)
@on(CalendarUpdated)
async def configured(event, ctx: Context): note(ctx, event, title=event.calendar_event.title)
"""
    late = body("updated", 1, **{**WHOLE, "title": "Old"})
    async with local_service(
        tmp_path,
        plugins={"noting.py": NOTES + handlers},
        config={"handlers": {"configured": {"stale": "run"}}},
    ) as running:
        await send(running, [body("cancelled", 5, **{**WHOLE, "title": "New", "status": "cancelled"}), late])
        states = {run.handler: run.state for run in await running.settled()}

    assert states == {"skips": "skipped", "runs": "done", "merges": "done", "configured": "done"}
    assert {name: [one["title"] for one in notes] for name, notes in noted(tmp_path).items()} == {
        "runs": ["Old"],
        "merges": ["New"],
        "configured": ["Old"],
    }


async def test_the_state_is_as_of_the_event(tmp_path: Path) -> None:
    """A handler that comes to an event late sees what was known when it came, in its thread and in a process."""
    handlers = """
from receiver import Retry
@on(CalendarCreated)
async def late(event, ctx: Context):
    if not (Path(__file__).parent / "go").exists(): raise Retry(after=0.05)
    note(ctx, event)
@on(Retitled, isolate=True)
def apart(event, ctx: Context): note(ctx, event, before=event.before.title, title=event.state.title)
"""
    async with local_service(tmp_path, plugins={"noting.py": NOTES + handlers}) as running:
        for one in (
            body("created", 0, **{**WHOLE, "title": "First"}),
            body("updated", 1, **{**WHOLE, "title": "Second"}),
            body("cancelled", 2, **{**WHOLE, "status": "cancelled", "title": "Third"}),
        ):
            assert (await running.vendor.post(json.dumps(one).encode())).status == 200
        (tmp_path / "plugins" / "go").touch()
        await running.settled(30)

    found = noted(tmp_path)
    assert [one["state"] for one in found["late"]] == ["confirmed"]
    assert [(one["before"], one["title"], one["class"]) for one in found["apart"]] == [
        ("First", "Second", "Retitled"),
        ("Second", "Third", "Retitled"),
    ]


async def test_replay_gives_changes_to_a_new_handler(tmp_path: Path) -> None:
    """A handler that is new gets recorded changes as it would have then, what was stale skipped."""
    story = [
        body("created", 0, **WHOLE),
        body("updated", 5, **MOVED),
        body("updated", 3, **{**WHOLE, "location": "late"}),
    ]
    async with local_service(tmp_path) as running:
        await send(running, story)
    handlers = """
@on(Rescheduled, CalendarUpdated)
async def fresh(event, ctx: Context): note(ctx, event)
@on(Rescheduled)
async def moved(event, ctx: Context): note(ctx, event, state=event.state.start_time.hour)
"""
    async with local_service(tmp_path, plugins={"noting.py": NOTES + handlers}) as running:
        for target in ("fresh", "moved"):
            await running.service.replayer.start(Selection(after_seq=0, limit=0), target)
        async with asyncio.timeout(60):
            while not all(record.filled_at for record in await running.service.log.replays()):
                await asyncio.sleep(0.05)
        states = [(run.event_type, run.handler, run.state) for run in await running.settled()]

    assert sorted(states) == [
        ("calendar.updated", "fresh", "done"),
        ("calendar.updated", "fresh", "skipped"),
        ("calendar.updated", "moved", "done"),
    ]
