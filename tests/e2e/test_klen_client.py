"""The client of Klen's API, over HTTP against a stand-in that answers as its pages say, or worse."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web
from tenacity import wait_random_exponential

import receiver.klen.client
import receiver.klen.transport
from receiver.clock import SystemClock
from receiver.klen import (
    Accounts,
    AgentNotFound,
    FailedRequest,
    InvalidRequest,
    KlenError,
    MissingKey,
    NoAnswer,
    NotFound,
    OddAnswer,
    PermissionDenied,
    RateLimited,
    ServerError,
    TeamNotFound,
    Unauthorized,
)
from tests.support.klen import UUID
from tests.support.vendor import API_KEY, Vendor, client

MAY = date(2025, 5, 1), date(2025, 5, 31)
EVENT: dict[str, Any] = {
    "id": 123,
    "uuid": UUID,
    "title": "Client Meeting",
    "event_type": "meeting",
    "status": "confirmed",
    "start_time": "2025-05-01T14:00:00.000Z",
    "end_time": "2025-05-01T15:00:00.000Z",
    "location": None,
    "customer": {"name": "John Smith", "email": "john.smith@example.com", "phone": "+15551234567"},
}
NEW: dict[str, Any] = {"title": "Client Meeting", "start_time": "2025-05-01T14:00:00Z"}
BUSY = 500, {"error": "server_error", "message": "An unexpected server error occurred"}
BROKEN = ConnectionError()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are a matter of milliseconds here."""
    quick = wait_random_exponential(multiplier=0.001, max=0.01)
    monkeypatch.setattr(receiver.klen.transport, "_backoff", quick)
    monkeypatch.setattr(receiver.klen.client, "LOOK_AGAIN_SECONDS", 0.0)


def page(*events: Any, number: int = 1, pages: int = 1) -> dict[str, Any]:
    return {"count": 3, "page": number, "limit": 100, "pages": pages, "events": list(events)}


async def test_a_list_is_read_page_by_page() -> None:
    """Each page is asked for once, 100 events each, and unknown or missing keys are no matter."""
    vendor = Vendor([page(EVENT, {"id": 124, "new": 1}, pages=2), page({"id": "125"}, 7, number=2, pages=2)])
    async with client(vendor) as klen:
        found = [event async for event in klen.events(*MAY, status="confirmed")]
    assert [event.id for event in found] == [123, 124, 125]
    assert found[0].start_time == datetime(2025, 5, 1, 14, tzinfo=UTC)
    assert (found[0].kind, found[0].customer.email, found[0].raw) == (
        "meeting",
        "john.smith@example.com",
        EVENT,
    )
    usual = {"start_date": "2025-05-01", "end_date": "2025-05-31", "limit": "100", "status": "confirmed"}
    assert [asked.query for asked in vendor.asked] == [usual | {"page": "1"}, usual | {"page": "2"}]
    assert vendor.lines == ["GET /api/v1/calendar/events"] * 2
    assert vendor.asked[0].headers["Authorization"] == f"Bearer {API_KEY}"


async def test_every_method_asks_as_the_pages_say() -> None:
    """Paths, bodies and times are the vendor's; a uuid is one part of a path, whatever is in it."""
    vendor = Vendor()
    async with client(vendor) as klen:
        await klen.event("a/../b?c")
        await klen.create(title="T", start_time=datetime(2025, 5, 1, 16, tzinfo=UTC), kind="busy")
        await klen.update(7, status="no_show")
        await klen.cancel(UUID, "Fell ill")
        await klen.availability(*MAY, duration_minutes=60)
    assert vendor.lines == [
        "GET /api/v1/calendar/events/a/../b?c",
        "POST /api/v1/calendar/events/create",
        "PATCH /api/v1/calendar/events/7/update",
        f"POST /api/v1/calendar/events/{UUID}/cancel",
        "GET /api/v1/calendar/availability",
    ]
    created = {"title": "T", "start_time": "2025-05-01T16:00:00.000Z", "event_type": "busy"}
    assert [asked.json for asked in vendor.asked[1:4]] == [
        created,
        {"status": "no_show"},
        {"reason": "Fell ill"},
    ]
    assert vendor.asked[4].query["duration"] == "60"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_time_range", InvalidRequest),
        (401, "authentication_required", Unauthorized),
        (403, "permission_denied", PermissionDenied),
        (404, "not_found", NotFound),
        (404, "agent_not_found", AgentNotFound),
        (404, "team_not_found", TeamNotFound),
        (409, "something_new", FailedRequest),
        (500, "server_error", ServerError),
        (302, "elsewhere", FailedRequest),
    ],
)
async def test_an_error_is_one_of_ours(status: int, code: str, kind: type[FailedRequest]) -> None:
    """It has the vendor's status, code and text, and never the key, even when the vendor repeats it."""
    vendor = Vendor([(status, {"error": code, "message": f"The key {API_KEY} may not"})])
    async with client(vendor) as klen:
        with pytest.raises(kind) as caught:
            await klen.event(UUID)
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (status, code)
    assert API_KEY not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(body=b"<html>"),
        web.Response(body=b"[1]"),
        web.Response(body=b""),
        web.Response(body=b'{"events": {}}'),
        web.Response(body=b"\xff", content_type="application/json"),
    ],
)
async def test_an_odd_answer_is_said_to_be_one(answer: web.Response) -> None:
    """What has another shape than the vendor's pages show ends in one error, whatever it is."""
    async with client(Vendor([lambda _asked: answer])) as klen:
        with pytest.raises(OddAnswer):
            await klen.page(*MAY)


async def test_an_error_of_another_shape_is_one_all_the_same() -> None:
    """A proxy's page instead of the vendor's JSON has its status, and nothing of its text."""
    vendor = Vendor([lambda _asked: web.Response(status=404, text="<h1>secret page</h1>")])
    async with client(vendor) as klen:
        with pytest.raises(NotFound, match=r"^Klen answered 404 without a code\.$"):
            await klen.event(UUID)


async def test_what_may_be_repeated_is_tried_again() -> None:
    """Failures of the vendor, broken connections and 429 are tried again, up to five times in all."""
    limited = web.json_response(
        {"error": "rate_limit_exceeded", "message": ""}, status=429, headers={"Retry-After": "0"}
    )
    vendor = Vendor([BUSY, BROKEN, lambda _asked: limited, EVENT])
    async with client(vendor) as klen:
        assert (await klen.event(UUID)).title == "Client Meeting"
    assert len(vendor.asked) == 4
    vendor = Vendor([BUSY])
    async with client(vendor) as klen:
        with pytest.raises(ServerError):
            await klen.event(UUID)
    assert len(vendor.asked) == 5


async def test_a_long_wait_is_the_callers() -> None:
    """Who is told to wait longer than a handler should gets the error at once, with the time."""
    vendor = Vendor([lambda _asked: web.json_response({}, status=429, headers={"Retry-After": "30"})])
    async with client(vendor) as klen:
        with pytest.raises(RateLimited) as caught:
            await klen.event(UUID)
    assert (caught.value.retry_after, len(vendor.asked)) == (30, 1)


async def test_the_limit_is_kept() -> None:
    """Requests at the same time are spread so that no minute has more than the limit."""
    vendor = Vendor([EVENT])
    async with client(vendor, api_requests_per_minute=605) as klen:
        began = time.monotonic()
        for _ in range(15):
            await klen.event(UUID)
        assert time.monotonic() - began > 0.8


async def test_a_booking_without_an_answer_is_looked_for() -> None:
    """If it was made, that one is the answer, and no second one is made."""
    details = EVENT | {"created_at": datetime.now(UTC).isoformat()}
    vendor = Vendor([BROKEN, page(), page(EVENT), details])
    async with client(vendor) as klen:
        made = await klen.create(
            title="Client Meeting",
            start_time="2025-05-01T14:00:00.000Z",
            end_time="2025-05-01T15:00:00.000Z",
            customer_email="john.smith@example.com",
        )
    assert made.uuid == UUID
    assert vendor.lines.count("POST /api/v1/calendar/events/create") == 1


@pytest.mark.parametrize(
    "listed",
    [
        page(),
        page(EVENT | {"title": "Another"}),
        page(EVENT | {"customer": {"email": "other@example.com"}}),
    ],
)
async def test_a_booking_that_is_not_there_is_made_again(listed: Any) -> None:
    """Nothing like it among the appointments: it is sent once more."""
    vendor = Vendor([BUSY, listed, page(), EVENT])
    async with client(vendor) as klen:
        await klen.create(**NEW, end_time="2025-05-01T15:00:00Z", customer_email="john.smith@example.com")
    assert vendor.lines.count("POST /api/v1/calendar/events/create") == 2


async def test_an_older_twin_is_not_taken_for_it() -> None:
    """An equal appointment that was there before is another one."""
    old = EVENT | {"created_at": (datetime.now(UTC) - timedelta(days=1)).isoformat()}
    vendor = Vendor([BROKEN, page(EVENT), old, page(), EVENT | {"id": 999}])
    async with client(vendor) as klen:
        made = await klen.create(**NEW, end_time="2025-05-01T15:00:00Z")
    assert made.id == 999


@pytest.mark.parametrize("unclear", [[page(EVENT), EVENT], [BUSY]])
async def test_what_cannot_be_decided_is_said(unclear: list[Any]) -> None:
    """Neither found nor excluded: an error, and never a second booking."""
    vendor = Vendor([BROKEN, *unclear])
    async with client(vendor) as klen:
        with pytest.raises(NoAnswer, match="Look for it"):
            await klen.create(**NEW, end_time="2025-05-01T15:00:00Z")
    assert vendor.lines.count("POST /api/v1/calendar/events/create") == 1


async def test_a_cancellation_without_an_answer_is_looked_up() -> None:
    """Nobody is told twice that it was called off."""
    vendor = Vendor([BROKEN, EVENT | {"status": "cancelled"}])
    async with client(vendor) as klen:
        assert (await klen.cancel(UUID)).status == "cancelled"
    vendor = Vendor([BROKEN, EVENT, {"status": "cancelled"}])
    async with client(vendor) as klen:
        assert (await klen.cancel(UUID)).status == "cancelled"
    assert vendor.lines.count(f"POST /api/v1/calendar/events/{UUID}/cancel") == 2


async def test_webhooks_are_made_listed_and_deleted() -> None:
    """Any shape that holds them will do; the secret is handed over once, and kept in nothing else."""
    made = {
        "id": 5,
        "url": "https://x.example/h",
        "subscribed_events": ["calendar.created"],
        "secret": "s3cret-s3cret",
    }
    vendor = Vendor([{"webhook": made}, {"webhooks": [made, 1]}, [made], made, {}])
    async with client(vendor) as klen:
        webhook, secret = await klen.webhooks.create(
            name="n", url="https://x.example/h", events=["calendar.created"]
        )
        assert (webhook.id, secret, "s3cret" in repr(webhook)) == (5, "s3cret-s3cret", False)
        assert [[one.url for one in await klen.webhooks.list()] for _ in range(2)] == [
            ["https://x.example/h"]
        ] * 2
        await klen.webhooks.delete(5)
    assert vendor.lines == [
        "POST /api/webhooks/create/",
        "GET /api/v1/webhooks",
        "GET /api/v1/webhooks",
        "GET /api/v1/webhooks/5",
        "POST /api/v1/webhooks/5/delete",
    ]
    assert vendor.asked[0].json == {
        "name": "n",
        "url": "https://x.example/h",
        "subscribed_events": ["calendar.created"],
    }


async def test_registering_is_never_sent_twice() -> None:
    """Without an answer nobody knows whether there is one, and a second one would double every delivery."""
    vendor = Vendor([BROKEN])
    async with client(vendor) as klen:
        with pytest.raises(NoAnswer):
            await klen.webhooks.create(name="n", url="https://x.example/h", events=[])
    assert len(vendor.asked) == 1


async def test_without_a_key_nothing_is_sent() -> None:
    """The error names the key of the configuration; a source that is gone is an error of the same kind."""
    vendor = Vendor()
    async with client(vendor, api_key="") as klen:
        with pytest.raises(MissingKey, match=r"sources\.klen\.api_key"):
            await klen.event(UUID)
        async with Accounts({}, SystemClock()) as accounts:
            with pytest.raises(KlenError, match="no source gone"):
                await accounts.of("gone").event(UUID)
    assert vendor.asked == []


async def test_accounts_share_what_belongs_to_one_key() -> None:
    """Two sources with one key have one limit; another key has its own."""
    vendor = Vendor()
    async with vendor.running():
        sources = {
            "a": vendor.source(),
            "b": vendor.source(),
            "c": vendor.source(api_key="klen_other_key_000"),
        }
        async with Accounts(sources, SystemClock()) as accounts:
            assert accounts.transport("a") is accounts.transport("b")
            assert accounts.transport("a") is not accounts.transport("c")
