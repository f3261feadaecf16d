"""What is known of appointments, in a log that the real service has filled over HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from receiver.testing import local_service
from storage.records import Selection
from tests.support.story import UUID, WHOLE, body

if TYPE_CHECKING:
    from pathlib import Path

    from receiver.testing import LocalService
    from storage.records import EventRecord


async def receive(running: LocalService, *bodies: Any) -> list[EventRecord]:
    """Have the vendor send them, one after the other; all events of the log, in its order."""
    for one in bodies:
        answer = await running.vendor.post(json.dumps(one).encode())
        assert answer.status == 200
        await running.settled()
    return [record async for record in running.service.log.stream(Selection(after_seq=0, limit=0))]


async def known(running: LocalService, name: str = UUID) -> dict[str, Any]:
    [found] = await running.service.log.calendar_events(name)
    calendar_event = json.loads(found.calendar_event)
    assert isinstance(calendar_event, dict)
    return calendar_event


MOVED = {**WHOLE, "start_time": "2025-05-01T16:00:00.000Z", "end_time": "2025-05-01T17:00:00.000Z"}
STORY = (
    body("created", 0, **WHOLE),
    body("updated", 1, **MOVED),
    body("cancelled", 2, **{**MOVED, "status": "cancelled", "reason": "ill"}),
)


async def test_events_in_any_order_end_in_the_same_state(tmp_path: Path) -> None:
    """Verdicts and changes tell how each came; what is known afterwards does not depend on it."""
    async with local_service(tmp_path / "in order") as running:
        records = await receive(running, *STORY)
        assert [(record.verdict, record.changes) for record in records] == [
            ("fresh", ["created"]),
            ("fresh", ["rescheduled"]),
            ("fresh", ["cancelled"]),
        ]
        truth = await known(running)
    async with local_service(tmp_path / "shuffled") as running:
        records = await receive(running, STORY[2], STORY[0], STORY[1])
        assert [(record.verdict, record.changes) for record in records] == [
            ("fresh", ["cancelled"]),
            ("stale", ["created"]),
            ("stale", []),
        ]
        assert await known(running) == truth

    assert (truth["status"], truth["start_time"], truth["reason"]) == (
        "cancelled",
        MOVED["start_time"],
        "ill",
    )


async def test_one_calendar_event_by_uuid_and_by_number(tmp_path: Path) -> None:
    """Events that bring the uuid, the number or both are about the same, and add to the same state."""
    async with local_service(tmp_path) as running:
        await receive(
            running,
            body("created", 0, id=123, title="A"),
            body("updated", 1, id=123, uuid=UUID, location="B"),
            body("updated", 2, uuid=UUID, title="C"),
        )
        assert (
            await known(running)
            == await known(running, "123")
            == {"id": 123, "uuid": UUID, "title": "C", "location": "B"}
        )


async def test_what_has_no_calendar_event_has_no_verdict(tmp_path: Path) -> None:
    """A call, an unknown webhook, and JSON of any other shape pass, and are not judged."""
    async with local_service(tmp_path) as running:
        records = await receive(
            running,
            {"event_type": "call.ended", "call": {"id": 1}},
            {"event_type": "agent.created"},
            [1, 2],
            {"event_type": "calendar.created", "calendar_event": "none"},
        )
        assert [(record.verdict, record.changes) for record in records] == [(None, [])] * 4


async def test_hostile_content_stays_content(tmp_path: Path) -> None:
    """Half characters, huge numbers, zeros in text and deep nesting are known, stored and asked for."""
    text = (
        '{"event_type":"calendar.created","timestamp":"2025-05-01T10:00:00Z","calendar_event":{"id":5,'
        '"title":"a\\u0000\\ud800","n":1e999,"deep":'
        + "[" * 400
        + "1e999"
        + "]" * 400
        + ',"customer":{"\\ud800":1,"x.y":2}}}'
    )
    async with local_service(tmp_path) as running:
        assert (await running.vendor.post(text.encode())).status == 200
        assert (await running.vendor.post(text.replace("created", "updated").encode())).status == 200
        await running.settled()
        records = await receive(running)
        assert [record.verdict for record in records] == ["fresh", "same"]
        assert (await known(running, "5"))["title"] == "a\0\N{REPLACEMENT CHARACTER}"
        _, rows = await running.service.log.sql(
            "SELECT title, json_extract(calendar_event, '$.n') FROM calendar_events"
        )
        assert [row[1] for row in rows] == ["inf"]
