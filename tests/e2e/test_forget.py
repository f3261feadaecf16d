"""`klenhook log forget`: after it, no file of the log has the person's data, and the log goes on as before."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.klen import post, webhook
from tests.support.logs import new_refused
from tests.support.ops import PLUGIN, TOKEN, ask, listening
from tests.support.service import klenhook, records, running, write_plugin

if TYPE_CHECKING:
    from pathlib import Path

    from receiver.service import Service

EMAIL = "quentin.xavier@example.com"
PHONE = "+1 (555) 867-5309"
SECRETS = [
    b"quentin",
    b"xavier",
    b"5558675309",
    b"867-5309",
    b"prostate",
    b"riverside drive",
    b"feeling ill",
    b"likes tea",
    b"blood type",
]
"""What only this person's events say, in lower case."""

QUENTIN = {"name": "Quentin Xavier", "email": EMAIL, "phone": PHONE, "notes": "Likes tea"}
MARY = {"name": "Mary Poppins", "email": "mary@example.org", "phone": "+15550001111"}
U1, U2, U3 = (f"f47ac10b-58cc-4372-a567-0e02b2c3d40{n}" for n in (1, 2, 3))


def call(event_type: str, **fields: Any) -> bytes:
    about = {"id": 6789, "klen_call_id": "call_6789", "status": "completed", "phone_number": "+15558675309"}
    body = {"event_type": event_type, "call": about | fields, "timestamp": "2025-05-01T10:15:30Z"}
    return json.dumps(body).encode()


BODIES = [
    webhook(uuid=U1, id=1, title="Prostate check", customer=QUENTIN, location="Riverside Drive 12"),
    webhook(
        "calendar.updated",
        uuid=U1,
        id=1,
        title="Prostate check-up",
        customer=QUENTIN,
        extra={"blood type": ["A", 42]},
        timestamp="2025-05-01T10:16:30.000Z",
    ),
    webhook(
        "calendar.cancelled",
        uuid=U1,
        id=1,
        title="Prostate check-up",
        customer=None,
        status="cancelled",
        reason="Feeling ill",
        timestamp="2025-05-01T10:17:30.000Z",
    ),
    webhook(uuid=U2, id=2, title="Tea with Mary", customer=MARY),
    webhook(
        "calendar.updated",
        uuid=U2,
        id=2,
        title=f"Tea, ask {EMAIL}",
        customer=MARY,
        timestamp="2025-05-01T10:16:30.000Z",
    ),
    call("call.started"),
    call(
        "call.ended",
        summary="Quentin Xavier is feeling ill",
        contact={"id": 7, "name": "Quentin", "email": EMAIL},
    ),
    json.dumps({"event_type": "contact.merged", "who": [EMAIL, "kept"]}).encode(),
    webhook(uuid=U3, id=3, title="Another", customer={"name": "Zed", "email": None, "phone": "5558675309"}),
]


async def fill(service: Service) -> None:
    """Everything that a person can be in: events, a repetition, a failed run, a message, a store, quarantine."""
    log = service.log
    for body in [*BODIES, BODIES[0]]:
        assert (await post(service.port, body)).status == 200
    await log.quarantine(new_refused(f"{{no JSON of {EMAIL}".encode("utf-16")))
    await log.quarantine(new_refused(b"{no JSON of anybody"))
    while await log.unrouted(1):
        await asyncio.sleep(0.01)


PLUGINS = """
import receiver
@receiver.on(receiver.AnyCalendarEvent)
async def fails(event, ctx: receiver.Context):
    raise receiver.Discard(f"cannot reach {event.calendar_event.customer.email}")
@receiver.on(receiver.AnyCalendarEvent)
async def tells(event, ctx: receiver.Context):
    who = event.calendar_event.customer.email or "nobody"
    ctx.store.set(f"last of {who}", {"name": event.calendar_event.customer.name})
    seen = await ctx.store.get("seen", [])
    ctx.store.set("seen", [*seen, who])
    ctx.outbox.post(f"https://127.0.0.1:1/?who={who}", json={"who": who}, headers={"X-Who": who})
"""


async def prepared(folder: Path) -> None:
    """A log with everything in it, and no service."""
    write_plugin(folder, PLUGINS.replace("AnyCalendarEvent", "CalendarCreated"))
    async with running(folder) as service:
        await fill(service)
        while (await service.log.status()).runs.keys() & {"pending", "running", "retrying"}:
            await asyncio.sleep(0.02)


def leftovers(folder: Path) -> dict[str, list[bytes]]:
    """What any file of the folder still says of the person, however SQLite keeps it."""
    found = {}
    for file in folder.glob("klenhook.db*"):
        content = file.read_bytes().lower()
        found[file.name] = [secret for secret in SECRETS if secret in content]
    return {name: secrets for name, secrets in found.items() if secrets}


def test_nothing_is_left_in_any_file(tmp_path: Path) -> None:
    """Every file of the log is searched byte by byte: bodies, columns, indexes, free space, the write-ahead file."""
    asyncio.run(prepared(tmp_path))
    assert set(leftovers(tmp_path)["klenhook.db"]) == set(SECRETS)

    done = klenhook(tmp_path, "log", "forget", "--customer", EMAIL, "--yes", "--json")

    assert leftovers(tmp_path) == {}
    assert json.loads(done.stdout) == {
        "calendar_events": 2,
        "calls": 1,
        "events": 6,
        "mentions": 2,
        "quarantined": 1,
        "stored": 2,
        "under_way": 0,
        "left_in_wal": False,
    }
    assert done.stderr.startswith("Looking through the log ...\nThis cannot be taken back.\n")
    assert EMAIL not in done.stderr


def kept(folder: Path) -> list[dict[str, Any]]:
    """The records of all events, oldest first."""
    return records(folder)[::-1]


def test_ids_kinds_times_statuses_and_counts_stay(tmp_path: Path) -> None:
    """Each event has the same record as before, verdict, changes and runs included."""
    asyncio.run(prepared(tmp_path))
    before = kept(tmp_path)
    assert [record["changes"] for record in before[:3]] == [
        ["created"],
        ["retitled"],
        ["customer_changed", "cancelled"],
    ]

    klenhook(tmp_path, "log", "forget", "--customer", EMAIL, "--yes")

    assert kept(tmp_path) == before
    state = json.loads(
        klenhook(
            tmp_path,
            "log",
            "sql",
            "--json",
            f"SELECT * FROM calendar_events WHERE calendar_event_uuid = '{U1}'",  # noqa: S608 -- a constant
        ).stdout
    )
    assert (state["status"], state["start_time"], state["events"]) == (
        "cancelled",
        "2025-05-01T14:00:00.000Z",
        3,
    )
    shown = json.loads(klenhook(tmp_path, "log", "show", "--json", "2").stdout)
    assert shown["flags"] == ["forgotten"]
    assert shown["headers"] == {}
    assert shown["body"]["calendar_event"]["title"].startswith("forgotten-")
    assert shown["runs"] == []
    [erasure] = [
        json.loads(line)
        for line in klenhook(tmp_path, "log", "sql", "--json", "SELECT * FROM erasures").stdout.splitlines()
    ]
    assert erasure["events"] == 6
    klenhook(tmp_path, "db", "check")
    klenhook(tmp_path, "db", "rebuild", "--check")


def test_others_are_left_alone(tmp_path: Path) -> None:
    """Events about somebody else keep all but the texts that mention the person."""
    asyncio.run(prepared(tmp_path))

    klenhook(tmp_path, "log", "forget", "--customer", EMAIL, "--yes")

    first, second = (json.loads(klenhook(tmp_path, "log", "show", "--json", str(n)).stdout) for n in (4, 5))
    assert first["flags"] == []
    assert first["body"] == json.loads(BODIES[3])
    assert second["body"]["calendar_event"]["customer"] == MARY
    assert second["body"]["calendar_event"]["title"] == second["title"] == "forgotten"
    found = klenhook(tmp_path, "log", "search", "--json", "poppins").stdout.splitlines()
    assert [json.loads(line)["seq"] for line in found] == [5, 4]
    rows = sqlite3.connect(tmp_path / "klenhook.db").execute("SELECT key, value FROM store").fetchall()
    stores = {key: json.loads(value) for key, value in rows}
    assert sorted(stores.pop("seen")) == ["forgotten", "mary@example.org", "nobody"]
    assert stores == {"last of mary@example.org": {"name": "Mary Poppins"}, "last of nobody": {"name": "Zed"}}


@pytest.mark.parametrize("typed", ["quentin", "xavier", "prostate", EMAIL, PHONE, "riverside"])
def test_search_finds_nothing_of_them(tmp_path: Path, typed: str) -> None:
    """No word of theirs leads to an event any more."""
    asyncio.run(prepared(tmp_path))
    assert klenhook(tmp_path, "log", "search", "--json", typed).stdout

    klenhook(tmp_path, "log", "forget", "--customer", EMAIL, "--yes")

    assert klenhook(tmp_path, "log", "search", "--json", typed).stdout == ""


async def test_the_running_service_forgets(tmp_path: Path) -> None:
    """While a service has the log, it does the work, and takes events in meanwhile."""
    async with listening(tmp_path, token=TOKEN, plugin=PLUGIN) as (service, port):
        await fill(service)
        answer = await ask(port, "POST", "/erasures", {"customers": [EMAIL]}, token=f"Bearer {TOKEN}")
        assert (answer.status, json.loads(answer.body)["events"]) == (200, 6)
        assert leftovers(tmp_path) == {}
        again = await post(service.port, BODIES[0])
        assert json.loads(again.body)["status"] == "duplicate"
        event = await service.log.get(json.loads(again.body)["event_id"])
        assert event is not None
        assert event.record.deliveries == 3
        wrong: list[dict[str, Any]] = [{"customers": []}, {"customers": ["x"]}, {"customers": 3}, {}]
        for body in wrong:
            assert (await ask(port, "POST", "/erasures", body, token=f"Bearer {TOKEN}")).status == 400
        assert (await ask(port, "POST", "/erasures", {"customers": [EMAIL]})).status == 401


async def test_the_command_has_the_service_do_it(tmp_path: Path) -> None:
    """Nothing has to be stopped for it."""
    async with listening(tmp_path, plugin=PLUGIN) as (service, _):
        await fill(service)
        done = await asyncio.to_thread(klenhook, tmp_path, "log", "forget", "--customer", EMAIL, "--yes")
        assert "Forgotten." in done.stderr
        assert leftovers(tmp_path) == {}


async def test_a_handler_under_way_is_waited_for(tmp_path: Path) -> None:
    """What a run that had the old content leaves is taken out as well."""
    plugin = """
import asyncio, receiver
@receiver.on(receiver.CalendarCancelled)
async def slow(event):
    await asyncio.sleep(2)
    raise receiver.Discard(f"too late for {event.calendar_event.reason}")
"""
    async with listening(tmp_path, plugin=plugin) as (service, port):
        await fill(service)
        while not (await service.log.status()).runs.get("running"):
            await asyncio.sleep(0.02)
        answer = await ask(port, "POST", "/erasures", {"customers": [EMAIL]})

        assert json.loads(answer.body)["under_way"] == 0
        _, rows = await service.log.sql("SELECT outcome, error FROM attempts")
        assert rows == [("discarded", "(forgotten)")]
        assert leftovers(tmp_path) == {}


def test_it_asks(tmp_path: Path) -> None:
    """Without a terminal and without --yes nothing is changed; --dry-run counts and changes nothing."""
    asyncio.run(prepared(tmp_path))
    before = (tmp_path / "klenhook.db").read_bytes()

    assert "--yes" in klenhook(tmp_path, "log", "forget", "--customer", PHONE, status=2).stderr
    dry = klenhook(tmp_path, "log", "forget", "--customer", PHONE, "--dry-run", "--json")
    assert json.loads(dry.stdout)["events"] == 6
    klenhook(tmp_path, "log", "forget", "--customer", "somebody", "--yes", status=2)
    klenhook(tmp_path, "log", "forget", "--yes", status=2)
    nobody = klenhook(tmp_path, "log", "forget", "--customer", "nobody@example.com", "--yes")

    assert nobody.stderr.endswith("\nThe log has nothing of them.\n")
    assert (tmp_path / "klenhook.db").read_bytes() == before


def test_forgetting_again_after_new_events(tmp_path: Path) -> None:
    """What comes later is new, and is forgotten when asked again; what was forgotten stays as it is."""
    asyncio.run(prepared(tmp_path))
    klenhook(tmp_path, "log", "forget", "--customer", EMAIL, "--yes")
    before = json.loads(klenhook(tmp_path, "log", "show", "--json", "1").stdout)["body"]

    async def more() -> None:
        async with running(tmp_path) as service:
            body = webhook(
                "calendar.updated",
                uuid=U1,
                id=1,
                title="Prostate again",
                customer=QUENTIN,
                timestamp="2025-05-01T11:16:30.000Z",
            )
            await post(service.port, body)
            while await service.log.unrouted(1):
                await asyncio.sleep(0.01)

    asyncio.run(more())
    [*_, last] = kept(tmp_path)
    done = klenhook(tmp_path, "log", "forget", "--customer", EMAIL, "--yes", "--json")

    assert json.loads(done.stdout)["calendar_events"] == 1
    assert leftovers(tmp_path) == {}
    assert kept(tmp_path)[-1] == last
    assert json.loads(klenhook(tmp_path, "log", "show", "--json", "1").stdout)["body"] == before


def test_messages_that_wait_are_not_sent(tmp_path: Path) -> None:
    """What a handler has left to be sent about them is dead, and empty."""
    asyncio.run(prepared(tmp_path))

    klenhook(tmp_path, "log", "forget", "--customer", EMAIL, "--yes")

    rows = (
        sqlite3.connect(tmp_path / "klenhook.db")
        .execute(
            "SELECT e.seq, m.state, m.url, m.headers, m.body, m.error, m.due_at "
            "FROM message m JOIN run USING (run_id) JOIN event e USING (seq) ORDER BY 1"
        )
        .fetchall()
    )
    assert rows[0] == (1, "dead", "https://127.0.0.1:1/", "{}", b"", "(forgotten)", None)
    assert rows[1][:3] == (4, "retrying", "https://127.0.0.1:1/?who=mary@example.org")


def test_quarantine_forgets(tmp_path: Path) -> None:
    """A body that mentions them is emptied, and cannot be shown or released; others stay."""
    asyncio.run(prepared(tmp_path))

    klenhook(tmp_path, "log", "forget", "--customer", EMAIL, "--yes")

    listed = [
        json.loads(line) for line in klenhook(tmp_path, "log", "quarantine", "--json").stdout.splitlines()
    ]
    assert [(one["id"], one["state"], one["size"]) for one in listed] == [
        (2, "kept", 19),
        (1, "forgotten", 0),
    ]
    klenhook(tmp_path, "log", "quarantine", "release", "1", status=1)
    klenhook(tmp_path, "log", "quarantine", "show", "1", status=1)
