"""Every example of the vendor's Calendar API pages, sent as printed, gets the printed answer.

Ids, UUIDs and times of recording are the sandbox's own. https://docs.klen.ai/api-reference/calendar/overview
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from icalendar import Calendar

from receiver.sandbox import APIKey, Sandbox
from tests.support.sandbox import THEN, Asker, asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST = {
    "title": "Client Meeting",
    "description": "Discuss project requirements and timeline",
    "start_time": "2025-05-01T14:00:00.000Z",
    "end_time": "2025-05-01T15:00:00.000Z",
    "event_type": "meeting",
    "status": "confirmed",
    "location": "Conference Room A",
    "customer_name": "John Smith",
    "customer_email": "john.smith@example.com",
    "customer_phone": "+15551234567",
    "customer_notes": "Prefers afternoon meetings",
    "has_video_conference": True,
    "video_conference_url": "https://meet.google.com/abc-defg-hij",
    "video_conference_provider": "Google Meet",
    "remind_before_minutes": 30,
    "ai_agent_id": 42,
    "team_id": 5,
    "created_by_ai_agent": True,
}
SECOND = {
    "title": "Project Review",
    "start_time": "2025-05-02T10:00:00.000Z",
    "end_time": "2025-05-02T11:30:00.000Z",
    "event_type": "video_call",
    "status": "confirmed",
    "customer_name": "Jane Doe",
    "customer_email": "jane.doe@example.com",
    "customer_phone": "+15557654321",
    "has_video_conference": True,
    "video_conference_url": "https://zoom.us/j/123456789",
}
DEMO = {
    "title": "Product Demo",
    "description": "Product demonstration for potential client",
    "start_time": "2025-05-15T14:00:00.000Z",
    "end_time": "2025-05-15T15:00:00.000Z",
    "event_type": "video_call",
    "status": "confirmed",
    "customer_name": "Jane Doe",
    "customer_email": "jane.doe@example.com",
    "customer_phone": "+15551234567",
    "has_video_conference": True,
    "video_conference_provider": "Zoom",
    "is_reminder_enabled": True,
    "remind_before_minutes": 15,
}

LISTED: list[dict[str, Any]] = [
    {
        "title": "Client Meeting",
        "event_type": "meeting",
        "status": "confirmed",
        "start_time": "2025-05-01T14:00:00.000Z",
        "end_time": "2025-05-01T15:00:00.000Z",
        "duration_minutes": 60,
        "location": "Conference Room A",
        "has_video_conference": True,
        "video_conference_url": "https://meet.google.com/abc-defg-hij",
        "created_by_ai_agent": True,
        "ai_agent": {"id": 42, "name": "Meeting Scheduler", "assistant_id": "asst_01234567890"},
        "customer": {"name": "John Smith", "email": "john.smith@example.com", "phone": "+15551234567"},
    },
    {
        "title": "Project Review",
        "event_type": "video_call",
        "status": "confirmed",
        "start_time": "2025-05-02T10:00:00.000Z",
        "end_time": "2025-05-02T11:30:00.000Z",
        "duration_minutes": 90,
        "location": None,
        "has_video_conference": True,
        "video_conference_url": "https://zoom.us/j/123456789",
        "created_by_ai_agent": False,
        "customer": {"name": "Jane Doe", "email": "jane.doe@example.com", "phone": "+15557654321"},
    },
]


@pytest.fixture(name="ask")
async def _ask() -> AsyncIterator[Asker]:
    async with asking() as ask:
        yield ask


def named(booked: Any) -> dict[str, Any]:
    """What only the sandbox knows of an appointment."""
    return {"id": booked["id"], "uuid": booked["uuid"]}


def link(booked: Any) -> dict[str, str]:
    return {"ics_url": f"/calendar/event/{booked['uuid']}/calendar.ics"}


async def test_create(ask: Asker) -> None:
    """The example of create-event is booked."""
    answer = await ask("POST", "/events/create", DEMO)

    assert answer.status == 201
    assert answer.json == {
        **named(answer.json),
        "title": "Product Demo",
        "start_time": "2025-05-15T14:00:00.000Z",
        "end_time": "2025-05-15T15:00:00.000Z",
        "status": "confirmed",
        **link(answer.json),
        "message": "Event created successfully",
    }
    assert list(answer.json)[:2] == ["id", "uuid"]


async def test_list(ask: Asker) -> None:
    """The example of get-events: 25 confirmed ones in May, three pages of ten, the first two as printed."""
    first, second = await ask.book(**FIRST), await ask.book(**SECOND)
    for day in range(8, 31):
        await ask.book(
            status="confirmed", start_time=f"2025-05-{day:02}T09:00:00", end_time=f"2025-05-{day:02}T10:00:00"
        )

    answer = await ask(
        "GET", "/events?start_date=2025-05-01&end_date=2025-05-31&status=confirmed&page=1&limit=10"
    )

    assert answer.status == 200
    assert {key: answer.json[key] for key in ("count", "page", "limit", "pages")} == {
        "count": 25,
        "page": 1,
        "limit": 10,
        "pages": 3,
    }
    assert len(answer.json["events"]) == 10
    assert answer.json["events"][:2] == [named(first) | LISTED[0], named(second) | LISTED[1]]


@pytest.mark.parametrize("key", ["id", "uuid"])
async def test_details(ask: Asker, key: str) -> None:
    """The example of get-event-details, by id and by UUID."""
    booked = await ask.book(**FIRST)

    answer = await ask("GET", f"/events/{booked[key]}")

    assert answer.status == 200
    assert answer.json == {
        **named(booked),
        **{name: value for name, value in LISTED[0].items() if name != "customer"},
        "description": "Discuss project requirements and timeline",
        "event_type_display": "Meeting",
        "status_display": "Confirmed",
        "video_conference_provider": "Google Meet",
        "is_reminder_enabled": True,
        "remind_before_minutes": 30,
        "created_at": "2025-04-25T10:15:30.000Z",
        "updated_at": "2025-04-25T10:15:30.000Z",
        "customer": {**LISTED[0]["customer"], "notes": "Prefers afternoon meetings"},
        "team": {"id": 5, "name": "Sales Team"},
        "external_calendars": {
            "google": f"google_event_id_{booked['id']}",
            "outlook": f"outlook_event_id_{booked['id']}",
        },
        **link(booked),
    }
    assert len(answer.json) == 25


UPDATED = {
    "title": "Updated Product Demo",
    "description": "Updated product demonstration for client",
    "start_time": "2025-05-16T15:00:00.000Z",
    "end_time": "2025-05-16T16:00:00.000Z",
    "event_type": "video_call",
    "status": "confirmed",
    "location": "Online",
    "customer_name": "Jane Doe",
    "customer_email": "jane.doe@example.com",
    "customer_phone": "+15551234567",
    "has_video_conference": True,
    "video_conference_provider": "Zoom",
    "is_reminder_enabled": True,
    "remind_before_minutes": 30,
    "send_notifications": True,
}
MOVED = {key: UPDATED[key] for key in ("start_time", "end_time", "send_notifications")}


@pytest.mark.parametrize(
    ("method", "body", "title"),
    [("PUT", UPDATED, "Updated Product Demo"), ("PATCH", MOVED, "Product Demo")],
)
async def test_update(ask: Asker, method: str, body: dict[str, Any], title: str) -> None:
    """Both examples of update-event."""
    booked = await ask.book(**DEMO)

    answer = await ask(method, f"/events/{booked['id']}/update", body)

    assert answer.status == 200
    assert answer.json == {
        **named(booked),
        "title": title,
        "start_time": "2025-05-16T15:00:00.000Z",
        "end_time": "2025-05-16T16:00:00.000Z",
        "status": "confirmed",
        "message": "Event updated successfully",
    }


async def test_cancel(ask: Asker) -> None:
    """The example of cancel-event; its notes say that the reason is added to the customer's notes."""
    booked = await ask.book(**DEMO)

    answer = await ask("POST", f"/events/{booked['id']}/cancel", {"reason": "Client requested to reschedule"})

    assert answer.status == 200
    assert answer.json == {**named(booked), "status": "cancelled", "message": "Event cancelled successfully"}
    details = (await ask("GET", f"/events/{booked['id']}")).json
    assert "Client requested to reschedule" in details["customer"]["notes"]


async def test_availability(ask: Asker) -> None:
    """The example of get-availability: hours of working days, in UTC."""
    answer = await ask("GET", "/availability?start_date=2025-05-01&end_date=2025-05-07&duration=60")

    assert answer.status == 200
    slots = answer.json["available_slots"]
    assert answer.json == {
        "available_slots": slots,
        "user_id": 123,
        "start_date": "2025-05-01",
        "end_date": "2025-05-07",
        "duration_minutes": 60,
        "count": len(slots),
    }
    for start, end in (
        ("2025-05-01T09:00:00.000Z", "2025-05-01T10:00:00.000Z"),
        ("2025-05-01T13:00:00.000Z", "2025-05-01T14:00:00.000Z"),
        ("2025-05-02T10:00:00.000Z", "2025-05-02T11:00:00.000Z"),
        ("2025-05-05T09:00:00.000Z", "2025-05-05T10:00:00.000Z"),
    ):
        assert {"start": start, "end": end, "duration_minutes": 60} in slots


@pytest.mark.parametrize("path", ["/api/webhooks/create/", "/api/v1/api/webhooks/create"])
async def test_create_a_webhook(ask: Asker, path: str) -> None:
    """The example of the webhooks' overview, and the quickstart's with its other address: a secret comes back."""
    wanted = {
        "name": "Call Events Webhook",
        "url": "https://example.com/webhooks/klen",
        "subscribed_events": ["call.started", "call.ended", "call.transcript"],
    }

    answer = await ask("POST", path, wanted)

    assert answer.status == 201
    assert wanted.items() <= answer.json.items()
    assert len(answer.json["secret"]) >= 32


CREATE, EVENTS = ("POST", "/events/create"), ("GET", "/events")
GONE = "Event not found or you do not have access"
BAD_TIME = "Invalid datetime format. Expected ISO 8601 format (YYYY-MM-DDTHH:MM:SS)"
BACKWARDS = {"start_time": "2025-05-15T15:00:00.000Z", "end_time": "2025-05-15T14:00:00.000Z"}
UNTITLED = {key: value for key, value in DEMO.items() if key != "title"}


@pytest.mark.parametrize(
    ("request_line", "body", "expected"),
    [
        (CREATE, UNTITLED, (400, "missing_parameter", "Missing required parameter: title")),
        (CREATE, DEMO | {"start_time": "tomorrow"}, (400, "invalid_datetime_format", BAD_TIME)),
        (CREATE, DEMO | BACKWARDS, (400, "invalid_time_range", "End time must be after start time")),
        (CREATE, DEMO | {"ai_agent_id": 1}, (404, "agent_not_found", "AI agent not found or you do not have access")),
        (CREATE, DEMO | {"team_id": 1}, (404, "team_not_found", "Team not found or you do not have access")),
        (("PATCH", "/events/{id}/update"), {"end_time": "soon"}, (400, "invalid_datetime_format", BAD_TIME)),
        (("PATCH", "/events/{id}/update"), BACKWARDS, (400, "invalid_time_range", "End time must be after start time")),
        (("PUT", "/events/{id}/update"), {"ai_agent_id": 1}, (404, "agent_not_found", "AI agent not found or you do not have access")),
        (("PUT", "/events/{id}/update"), {"team_id": 1}, (404, "team_not_found", "Team not found or you do not have access")),
        (("GET", "/events/999"), None, (404, "not_found", GONE)),
        (("PATCH", "/events/999/update"), {}, (404, "not_found", GONE)),
        (("POST", "/events/999/cancel"), {}, (404, "not_found", GONE)),
        (("GET", "/events?start_date=05/01/2025"), None, (400, "invalid_parameter", "Invalid date format. Expected YYYY-MM-DD")),
        (("GET", "/availability?end_date=2025-5-1"), None, (400, "invalid_parameter_format", "Invalid date format. Expected YYYY-MM-DD")),
        (("GET", "/availability?duration=0"), None, (400, "invalid_duration", "Duration must be between 1 and 180 minutes")),
        (("GET", "/availability?duration=181"), None, (400, "invalid_duration", "Duration must be between 1 and 180 minutes")),
    ],
)  # fmt: skip
async def test_errors(
    ask: Asker, request_line: tuple[str, str], body: Any, expected: tuple[int, str, str]
) -> None:
    """Each page's own errors come with their code and their very words, and nothing is changed."""
    booked = await ask.book(**DEMO)
    before = (await ask("GET", f"/events/{booked['id']}")).json

    answer = await ask(request_line[0], request_line[1].format(id=booked["id"]), body)

    assert answer.error == expected
    assert (await ask("GET", f"/events/{booked['id']}")).json == before
    assert len(ask.sandbox.world) == 1


ADDRESSES = [
    ("GET", "/events", "can_read_calendar"),
    ("GET", "/events/123", "can_read_calendar"),
    ("GET", "/availability", "can_read_calendar"),
    ("POST", "/events/create", "can_write_calendar"),
    ("PUT", "/events/123/update", "can_write_calendar"),
    ("PATCH", "/events/123/update", "can_write_calendar"),
    ("POST", "/events/123/cancel", "can_write_calendar"),
]


@pytest.mark.parametrize(("method", "path", "permission"), ADDRESSES)
async def test_authentication(ask: Asker, method: str, path: str, permission: str) -> None:
    """Every address asks for a key, refuses a wrong one, and one without the permission it needs."""
    missing = await ask(method, path, headers={})
    wrong = await ask.using("klen_abcdef123456789")(method, path)
    other = "klen_sandbox_write" if permission == "can_read_calendar" else "klen_sandbox_read"
    forbidden = await ask.using(other)(method, path)

    assert missing.error == (401, "authentication_required", "API key is required")
    assert wrong.error == (401, "invalid_key", "Invalid or inactive API key")
    assert forbidden.error == (
        403,
        "permission_denied",
        f"This API key does not have {permission} permission",
    )


async def test_three_ways_to_show_the_key(ask: Asker) -> None:
    """As a bearer token, as X-API-Key, and in the query."""
    for headers, query in (
        ({"Authorization": "Bearer klen_sandbox_read"}, ""),
        ({"X-API-Key": "klen_sandbox_read"}, ""),
        ({}, "?api_key=klen_sandbox_read"),
    ):
        assert (await ask("GET", f"/events{query}", headers=headers)).status == 200


async def test_a_failure(ask: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in the sandbox itself is the vendor's server error, without a word about the cause."""
    monkeypatch.setattr(ask.sandbox.world, "_by_id", None)
    answer = await ask("POST", "/events/create", DEMO)
    monkeypatch.undo()

    assert answer.error == (500, "server_error", "An unexpected server error occurred")


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_an_unreadable_body(ask: Asker, encoding: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A body that is not what its encoding says is refused, without a traceback in the terminal."""
    answer = await ask("POST", "/events/create", b"{]", headers=ask.headers | {"Content-Encoding": encoding})

    assert answer.error[:2] == (400, "validation_error")
    assert "Traceback" not in "".join(capfd.readouterr())


async def test_garbage(ask: Asker, capfd: pytest.CaptureFixture[str]) -> None:
    """What is no HTTP is answered with 400, without a traceback in the terminal."""
    for line in (b"GARBAGE", b"GET /\xff HTTP/1.1", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1"):
        reader, writer = await asyncio.open_connection("127.0.0.1", ask.sandbox.port)
        writer.write(line + b"\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()

    assert "Traceback" not in "".join(capfd.readouterr())


async def test_the_calendar_file(ask: Asker) -> None:
    """The link from the answer gives the appointment as iCalendar, to whoever has the UUID, and to nobody else."""
    booked = await ask.book(**FIRST)
    answer = await ask("GET", booked["ics_url"], headers={})
    [entry] = Calendar.from_ical(answer.text).walk("VEVENT")

    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
    assert (entry["uid"], str(entry["summary"])) == (booked["uuid"], "Client Meeting")
    assert entry["dtstart"].to_ical() == b"20250501T140000Z"
    for wrong in (booked["id"], "f47ac10b-58cc-4372-a567-0e02b2c3d479"):
        assert (await ask("GET", f"/calendar/event/{wrong}/calendar.ics", headers={})).error[1] == "not_found"


async def test_pages(ask: Asker) -> None:
    """Pages cover all events once; a page beyond the last is empty, and no page has more than a hundred."""
    for _ in range(23):
        await ask.book()
    path = "/events?start_date=2025-05-01&limit=10"
    pages = [(await ask("GET", f"{path}&page={number}")).json for number in (1, 2, 3, 4)]

    assert [event["id"] for page in pages for event in page["events"]] == list(range(123, 146))
    assert [len(page["events"]) for page in pages] == [10, 10, 3, 0]
    assert (await ask("GET", "/events?limit=1000")).json["limit"] == 100


async def test_what_a_list_is_by_default(ask: Asker) -> None:
    """Without dates a list is from today on for 30 days, of every status, ten at a time."""
    for start in ("2025-04-24T23:59:59", "2025-04-25T00:00:00", "2025-05-25T23:59:59", "2025-05-26T00:00:00"):
        await ask.book(start_time=start, end_time="2025-05-27T00:00:00")
    await ask("POST", "/events/124/cancel")
    answer = (await ask("GET", "/events")).json

    assert [(event["id"], event["status"]) for event in answer["events"]] == [
        (124, "cancelled"),
        (125, "scheduled"),
    ]
    assert (answer["page"], answer["limit"], answer["pages"]) == (1, 10, 1)


@pytest.mark.parametrize(
    "query",
    ["page=0", "page=x", "limit=0", "limit=-1", "status=open", "start_date=2025-05-02&end_date=2025-05-01"],
)
async def test_impossible_lists(ask: Asker, query: str) -> None:
    """What no list can be is an invalid parameter."""
    assert (await ask("GET", f"/events?{query}")).error[:2] == (400, "invalid_parameter")


async def test_webhooks(ask: Asker) -> None:
    """Webhooks are listed, shown and deleted, by any key, and the secret is told once."""
    wanted = {"name": "N", "url": "https://example.com/hook", "subscribed_events": ["calendar.created"]}
    made = (await ask("POST", "/api/webhooks/create/", wanted)).json
    reader = ask.using("klen_sandbox_read")
    listed = (await reader("GET", "/api/v1/webhooks")).json
    shown = (await reader("GET", f"/api/v1/webhooks/{made['id']}")).json
    deleted = await reader("POST", f"/api/v1/webhooks/{made['id']}/delete")

    assert listed == {"count": 1, "webhooks": [shown]}
    assert "secret" not in shown
    assert wanted.items() <= shown.items()
    assert deleted.status == 200
    for method, path in (("GET", "1"), ("POST", "1/delete"), ("GET", "x"), ("GET", "99999999999999999999")):
        gone = await reader(method, f"/api/v1/webhooks/{path}")
        assert gone.error == (404, "not_found", "Webhook not found or you do not have access")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_parameter"),
        ({"name": "N", "url": "https://example.com", "subscribed_events": []}, "missing_parameter"),
        ({"name": "N", "url": "example.com", "subscribed_events": ["calendar.created"]}, "invalid_parameter"),
        ({"name": "N", "url": "https://example.com", "subscribed_events": ["*"]}, "invalid_parameter"),
        ({"name": "N", "url": "https://example.com", "subscribed_events": "calendar.created"}, "invalid_parameter"),
        (b"{", "validation_error"),
    ],
)  # fmt: skip
async def test_impossible_webhooks(ask: Asker, body: Any, code: str) -> None:
    """A webhook needs a name, a URL and known events."""
    assert (await ask("POST", "/api/webhooks/create/", body)).error[:2] == (400, code)
    assert list(ask.sandbox.webhooks) == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/calendar/events/", 404),
        ("POST", "/api/webhooks/create", 404),
        ("GET", "/api/v1/nothing", 404),
        ("DELETE", "/api/v1/calendar/events/123", 405),
        ("GET", "/api/v1/calendar/events/create", 404),
        ("PUT", "/api/v1/calendar/events/create", 405),
    ],
)
async def test_other_addresses(ask: Asker, method: str, path: str, status: int) -> None:
    """Any other address or method is refused in the vendor's shape; addresses are as they are spelt."""
    assert (await ask(method, path)).error[0] == status


async def test_the_limit_of_requests() -> None:
    """The 61st request within a minute is told how long to wait, and answered after that."""
    async with asking(Sandbox(speed=0, start=THEN)) as ask:
        answers = [await ask("GET", "/events") for _ in range(60)]
        refused = await ask("GET", "/events")
        others = await ask.using("klen_sandbox_read")("GET", "/events")
        await ask.sandbox.jump(timedelta(seconds=int(refused.headers["Retry-After"])))
        again = await ask("GET", "/events")

    assert {answer.status for answer in answers} == {200}
    assert refused.error == (
        429,
        "rate_limit_exceeded",
        "Rate limit exceeded. Please try again after 60 seconds.",
    )
    assert (others.status, again.status) == (200, 200)


async def test_the_limit_of_creations() -> None:
    """The 51st creation within a day is refused; changing, cancelling and refused creations do not count."""
    key = APIKey("klen_busy", frozenset({"can_write_calendar"}), requests_per_minute=1_000)
    async with asking(Sandbox(speed=0, start=THEN, keys=[key])) as ask:
        busy = ask.using("klen_busy")
        booked = await busy.book()
        for _ in range(49):
            await busy.book()
            assert (await busy("POST", "/events/create", {})).status == 400
        refused = await busy("POST", "/events/create", DEMO)
        cancelled = await busy("POST", f"/events/{booked['id']}/cancel")

    assert refused.error[:2] == (429, "rate_limit_exceeded")
    assert refused.headers["Retry-After"] == str(24 * 3600)
    assert cancelled.status == 200
