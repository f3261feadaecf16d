"""What goes wrong in the sandbox on request, and that it goes wrong in the same way again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from receiver.sandbox import Faults, Sandbox, SandboxError
from tests.support.endpoint import Endpoint, endpoint
from tests.support.sandbox import THEN, Asker, asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "a-long-enough-test-secret"
HOUR = timedelta(hours=1)


@pytest.fixture(name="there")
async def _there() -> AsyncIterator[Endpoint]:
    async with endpoint() as there:
        yield there


async def play(there: Endpoint, seed: int = 7, **faults: Any) -> list[Any]:
    """A burst with these faults, and the two hours after it; the deliveries."""
    there.got.clear()
    async with asking(Sandbox(speed=0, start=THEN, seed=seed, faults=Faults(**faults))) as ask:
        ask.sandbox.register(there.url, secret=SECRET)
        answer = await ask("POST", "/sandbox/burst", {"count": 30, "changes": 2})
        assert answer.json == {"booked": 30}
        await ask.sandbox.jump(2 * HOUR)
        return [delivery.shown() for delivery in ask.sandbox.courier.deliveries]


def by_subject(there: Endpoint) -> dict[str, list[str]]:
    """The timestamps as they came, for each appointment."""
    came: dict[str, list[str]] = {}
    for got in there:
        came.setdefault(got.json.get("calendar_event", {}).get("uuid", ""), []).append(got.json["timestamp"])
    return came


async def test_no_faults(there: Endpoint) -> None:
    """Without faults everything arrives once and in order for each appointment, signed."""
    sent = await play(there)

    assert {one["state"] for one in sent} == {"delivered"}
    assert len(there.got) == len(sent) > 60
    assert all(got.is_signed_with(SECRET) for got in there)
    assert all(times == sorted(times) for times in by_subject(there).values())


async def test_duplicates(there: Endpoint) -> None:
    """A duplicate is the same request again: body, signature and delivery id."""
    sent = await play(there, duplicate=0.3)

    counts = Counter((got.headers["X-Klen-Delivery-ID"], got.body) for got in there)
    assert set(counts.values()) == {1, 2}
    assert len(counts) == len(sent)


async def test_reordering(there: Endpoint) -> None:
    """What is held back arrives after a later one about the same appointment, or a little later alone."""
    sent = await play(there, reorder=0.3)

    assert any(times != sorted(times) for times in by_subject(there).values())
    assert len(there.got) == len(sent)
    assert {one["state"] for one in sent} == {"delivered"}


async def test_drops(there: Endpoint) -> None:
    """What is dropped is never sent, and the delivery log says so."""
    sent = await play(there, drop=0.2)

    states = Counter(one["state"] for one in sent)
    assert set(states) == {"delivered", "dropped"}
    assert len(there.got) == states["delivered"]


async def test_bad_signatures(there: Endpoint) -> None:
    """A wrongly signed attempt has a signature of the right form; the attempts after it are drawn anew."""
    sent = await play(there, bad_signature=0.2)

    forged = [got for got in there if not got.is_signed_with(SECRET)]
    noted = [attempt for one in sent for attempt in one["attempts"] if attempt["fault"] == "bad signature"]
    assert len(forged) == len(noted) > 0
    assert all(len(got.headers["X-Klen-Signature"]) == 64 for got in forged)


async def test_unknown_kinds(there: Endpoint) -> None:
    """Webhooks of a kind that the vendor does not have come between the others, signed like them."""
    await play(there, unknown=0.2)

    strange = [got for got in there if not got.kind.startswith("calendar.")]
    assert 0 < len(strange) < len(there.got) / 2
    assert all(got.is_signed_with(SECRET) and got.headers["X-Klen-Event"] == got.kind for got in strange)


async def test_delay(there: Endpoint) -> None:
    """With a delay, everything leaves so much later, in real time."""
    loop = asyncio.get_running_loop()
    async with asking(Sandbox(seed=7, faults=Faults(delay=timedelta(milliseconds=200)))) as ask:
        ask.sandbox.register(there.url)
        began = loop.time()
        await ask.book()
        await ask.sandbox.idle()

    assert loop.time() - began >= 0.2
    assert there.kinds == ["calendar.created"]


EVERYTHING: dict[str, Any] = {
    "duplicate": 0.1,
    "reorder": 0.1,
    "drop": 0.05,
    "bad_signature": 0.05,
    "unknown": 0.02,
}


async def test_the_same_seed_fails_in_the_same_way(there: Endpoint) -> None:
    """The seed decides what is made up, sent, dropped and spoilt; another seed, something else."""

    def fates(sent: list[Any]) -> list[Any]:
        return [
            (one["delivery_id"], one["state"], [attempt["fault"] for attempt in one["attempts"]])
            for one in sent
        ]

    first = fates(await play(there, **EVERYTHING))
    bodies = Counter(got.body for got in there)

    assert fates(await play(there, **EVERYTHING)) == first
    assert Counter(got.body for got in there) == bodies
    assert fates(await play(there, seed=8, **EVERYTHING)) != first


async def test_an_outage(there: Endpoint) -> None:
    """In an outage nothing arrives; after more than 36 minutes of it, what was first is lost."""
    async with asking() as ask:
        ask.sandbox.register(there.url)
        said = await ask("POST", "/sandbox/outage", {"for": "40m"})
        assert said.json == {"outage_until": "2025-04-25T10:55:30.000Z"}
        booked = await ask.book()
        await ask.sandbox.jump(timedelta(minutes=39))
        await ask("PATCH", f"/events/{booked['id']}/update", {"title": "Late"})
        await ask.sandbox.jump(HOUR)
        states = [delivery.state for delivery in ask.sandbox.courier.deliveries]

    assert states == ["failed", "delivered"]
    assert [got.json["calendar_event"]["title"] for got in there] == ["Late"]


async def test_another_secret(there: Endpoint) -> None:
    """After a rotation everything is signed with the new secret, retries too."""
    async with asking() as ask:
        old = ask.sandbox.register(there.url)
        there.answers = [401]
        await ask.book()
        await ask.sandbox.idle()
        new = (await ask("POST", "/sandbox/rotate", {"webhook_id": old.id})).json["secret"]
        await ask.sandbox.jump(HOUR)

    assert new != old.secret
    assert [got.is_signed_with(old.secret) for got in there] == [True, False]
    assert there.got[1].is_signed_with(new)


@pytest.mark.parametrize("faults", [{"drop": 1.5}, {"unknown": -0.1}, {"delay": -HOUR}])
def test_impossible_faults(faults: dict[str, Any]) -> None:
    """A chance is from 0 to 1, and no delay is negative."""
    with pytest.raises(SandboxError, match="expected"):
        Faults(**faults)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/sandbox/outage", {"for": "soon"}, 400),
        ("/sandbox/outage", {}, 400),
        ("/sandbox/jump", {"for": "999999d"}, 400),
        ("/sandbox/burst", {"count": 10**9}, 400),
        ("/sandbox/burst", {"count": True}, 400),
        ("/sandbox/rotate", {"webhook_id": 9}, 404),
        ("/sandbox/rotate", [], 400),
    ],
)
async def test_nonsense(path: str, body: Any, status: int) -> None:
    """What cannot be done is refused and changes nothing."""
    async with asking() as ask:
        assert (await ask("POST", path, body)).status == status
        assert len(ask.sandbox.world) == 0


async def test_the_delivery_log(there: Endpoint) -> None:
    """`GET /sandbox/deliveries` has the newest, each with its attempts, and `GET /sandbox/status` the sums."""
    async with asking() as ask:
        ask.sandbox.register(there.url)
        there.answers = [500]
        await ask.book()
        await ask.book()
        await ask.sandbox.idle()
        everything = (await ask("GET", "/sandbox/deliveries?limit=0")).json
        newest = (await ask("GET", "/sandbox/deliveries?limit=1")).json
        status = (await ask("GET", "/sandbox/status")).json

    assert everything["count"] == newest["count"] == 2
    assert newest["deliveries"] == everything["deliveries"][-1:]
    [attempt] = everything["deliveries"][0]["attempts"]
    assert (attempt["status"], attempt["note"], attempt["fault"]) in [
        (500, "thank you", None),
        (200, "thank you", None),
    ]
    assert status["deliveries"] == {"delivered": 1, "waiting": 1}
    assert (status["appointments"], status["webhooks"], status["seed"]) == (2, 1, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
async def test_pages_of_others(headers: dict[str, str]) -> None:
    """A web page of another site can neither order anything here nor, by a rebound name, read."""
    async with asking() as ask:
        for path in ("/sandbox/outage", "/api/webhooks/create/", "/api/v1/calendar/events/create"):
            answer = await ask("POST", path, {"for": "1h"}, headers=headers | ask.headers)
            assert answer.error[:2] == (403, "permission_denied")
        read = await ask("GET", "/sandbox/status", headers=headers)

    assert read.status == (403 if "Host" in headers else 200)


class TestArchive:
    """`db=`: everything is there again."""

    @staticmethod
    async def first(ask: Asker, there: Endpoint) -> Any:
        ask.sandbox.register(there.url, secret=SECRET)
        there.answers = [500]
        booked = await ask.book(title="Zoë")
        await ask.sandbox.idle()
        return booked

    async def test_it_goes_on(self, there: Endpoint, tmp_path: Any) -> None:
        """Appointments, webhooks, the clock, the seed and what is still to be sent survive; numbers go on."""
        file = tmp_path / "sandbox.db"
        async with asking(Sandbox(speed=0, start=THEN, seed=3, db=file)) as ask:
            booked = await self.first(ask, there)
            await ask.sandbox.jump(timedelta(seconds=30))
        async with asking(Sandbox(speed=0, start=THEN, db=file)) as ask:
            assert (await ask("GET", f"/events/{booked['uuid']}")).json["title"] == "Zoë"
            assert ask.sandbox.seed == 3
            assert ask.sandbox.clock.now() - THEN >= timedelta(seconds=30)
            again = await ask.book()
            await ask.sandbox.jump(HOUR)

        assert again["id"] == booked["id"] + 1
        assert again["uuid"] != booked["uuid"]
        assert there.kinds == ["calendar.created"] * 3
        assert len({got.headers["X-Klen-Delivery-ID"] for got in there}) == 2
        assert all(got.is_signed_with(SECRET) for got in there)
        assert file.stat().st_mode & 0o77 == 0

    async def test_what_is_gone_stays_gone(self, there: Endpoint, tmp_path: Any) -> None:
        """A deleted webhook is not back after a restart, and a rotated secret is the new one."""
        file = tmp_path / "sandbox.db"
        async with asking(Sandbox(speed=0, db=file)) as ask:
            gone, kept = ask.sandbox.register(there.url), ask.sandbox.register(there.url)
            assert (await ask("POST", f"/api/v1/webhooks/{gone.id}/delete")).status == 200
            secret = ask.sandbox.rotate(kept).secret
        async with asking(Sandbox(speed=0, db=file)) as ask:
            assert [(one.id, one.secret) for one in ask.sandbox.webhooks] == [(kept.id, secret)]

    @pytest.mark.parametrize(
        "harm",
        [
            "UPDATE items SET value = '{}' WHERE kind = 'Appointment'",
            "UPDATE items SET value = 'x' WHERE kind = 'clock'",
            "DELETE FROM items WHERE kind = 'Delivery' AND id = 1",
        ],
    )
    async def test_a_damaged_file(self, there: Endpoint, tmp_path: Any, harm: str) -> None:
        """What no sandbox has written is refused, with what to do."""
        file = tmp_path / "sandbox.db"
        async with asking(Sandbox(speed=0, db=file)) as ask:
            await self.first(ask, there)
            await ask.book()
            await ask.sandbox.idle()
        with closing(sqlite3.connect(file)) as harmed, harmed:
            harmed.execute(harm)

        with pytest.raises(SandboxError, match="is damaged"):
            Sandbox(db=file)

    async def test_a_full_disk(self, there: Endpoint, tmp_path: Any) -> None:
        """When the file cannot be written any more, the sandbox goes on in memory."""
        async with asking(Sandbox(speed=0, db=tmp_path / "sandbox.db")) as ask:
            ask.sandbox.register(there.url)
            assert ask.sandbox._archive is not None
            ask.sandbox._archive._db.execute("PRAGMA query_only=ON")
            await ask.book()
            await ask.sandbox.jump(HOUR)

        assert there.kinds == ["calendar.created"]

    async def test_it_is_locked(self, tmp_path: Any) -> None:
        """A second sandbox on the same file is refused, and a file of somebody else's is left alone."""
        file, other = tmp_path / "sandbox.db", tmp_path / "other.db"
        other.write_bytes(b"not a database at all, but long enough to be taken for one" * 20)
        async with asking(Sandbox(db=file)):
            with pytest.raises(SandboxError, match="another sandbox"):
                Sandbox(db=file)
        with pytest.raises(SandboxError):
            Sandbox(db=other)
        with pytest.raises(SandboxError):
            Sandbox(db=tmp_path)
