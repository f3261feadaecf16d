"""Each example, copied into a plugins folder and given real events; servers are real, too."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from receiver import CalendarCancelled, CalendarCreated, CalendarUpdated, CallSummary
from receiver.config import load_config
from receiver.plugins import survey_handlers
from receiver.testing import ABSENT, deliver, deliver_twice_shuffled, load_handler, sample
from tests.support.klen import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from receiver.events import AnyEvent

EXAMPLES = Path(__file__).resolve().parents[2] / "handlers" / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
CHAT = "https://chat.example.com/hook"
ENVIRON = {"CRM_TOKEN": "crm-token", "CHAT_WEBHOOK_URL": CHAT}


def example(name: str) -> Callable[..., Any]:
    return load_handler(EXAMPLES / f"{name}.py")


def table(file: Path) -> str:
    """The part of config.toml that an example's first lines show."""
    lines = file.read_text("utf-8").partition('"""')[2].partition('"""')[0].splitlines()
    return "\n".join(line.strip() for line in lines if line.startswith("    "))


class Crm:
    """A REST API that keeps contacts, and the requests it got."""

    def __init__(self) -> None:
        self.contacts: dict[str, Any] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.status = 200
        self.url = ""

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.requests.append((request.method, request.raw_path, dict(request.headers)))
        if self.status == 200:
            self.contacts[request.path] = await request.json()
        return web.json_response({}, status=self.status)


@pytest.fixture(name="crm")
async def _crm() -> AsyncIterator[Crm]:
    crm = Crm()
    runner = web.ServerRunner(web.Server(crm.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    crm.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield crm
    await runner.cleanup()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_loads_with_the_table_it_shows(file: Path, tmp_path: Path) -> None:
    """Copied into plugins/, with its table in config.toml, it is a handler of its file's name."""
    (tmp_path / "plugins").mkdir()
    shutil.copy(file, tmp_path / "plugins")
    (tmp_path / "config.toml").write_text(f'[sources.klen]\nsecrets = ["{SECRET}"]\n{table(file)}\n')

    loaded, mistakes = survey_handlers(load_config(tmp_path / "config.toml", environ={}), environ=ENVIRON)

    assert (loaded.broken, mistakes) == ((), [])
    assert [handler.name for handler in loaded.handlers] == [file.stem]
    assert len(file.read_text("utf-8").splitlines()) <= 60


def test_every_example_is_in_the_table() -> None:
    """The README links each of them."""
    text = (EXAMPLES / "README.md").read_text("utf-8")
    assert [file.name for file in FILES if f"[{file.name}]({file.name})" not in text] == []


def test_the_test_in_the_readme_passes(tmp_path: Path) -> None:
    """What handlers/README.md shows of a plugin and of its test works as it stands there."""
    text = (EXAMPLES.parent / "README.md").read_text("utf-8")
    plugin, test = (text.partition(f"```{mark}\n")[2].partition("```")[0] for mark in ("python", "py"))
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "hello.py").write_text(plugin)
    (tmp_path / "test_hello.py").write_text(test)

    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert "1 passed" in run.stdout, run.stdout + run.stderr


async def test_crm_upsert(crm: Crm) -> None:
    """One contact per customer, with the newest data, whatever comes twice or late."""
    settings = {"url": f"{crm.url}/api/", "token": "secret-of-crm"}
    ada = {"name": "Ada", "email": "Ada+1@example.com", "phone": "+1"}
    events = [
        sample(CalendarCreated, customer=ada),
        sample(CalendarUpdated, customer=ada | {"name": "Ada Lovelace"}),
        sample(CalendarCreated),
    ]

    await deliver_twice_shuffled(
        example("crm_upsert"), events, settings=settings, observe=lambda: dict(crm.contacts), seed=1
    )

    assert crm.contacts["/api/contacts/ada+1@example.com"]["name"] == "Ada Lovelace"
    assert len(crm.contacts) == 2
    method, path, headers = crm.requests[0]
    assert (method, path) == ("PUT", "/api/contacts/ada%2B1@example.com")
    assert headers["Authorization"] == "Bearer secret-of-crm"
    assert headers["Idempotency-Key"] == f"{events[0].event_id}:crm_upsert"


async def test_crm_upsert_fails_with_the_crm(crm: Crm) -> None:
    """An error of the CRM is tried again; a customer without an address is nobody's business."""
    crm.status = 500
    handler, settings = example("crm_upsert"), {"url": crm.url, "token": "x"}

    failed = await deliver(handler, sample(CalendarCreated), settings=settings)
    for email in (None, "", "nobody", "a@" + "b" * 300, "a@b\n"):
        discarded = await deliver(
            handler, sample(CalendarCreated, customer={"email": email}), settings=settings
        )
        assert discarded.outcome == ("failed" if email == "a@b\n" else "discarded")

    assert (failed.outcome, failed.store) == ("failed", {})


async def test_no_show_follow_up() -> None:
    """One message per appointment that was missed, and none for other updates."""
    other = "0b7e2f0e-6b43-4c4f-8a8d-0a2f6f6f0a11"
    events: list[AnyEvent] = [
        sample("no_show"),
        sample("no_show", title="Renamed"),
        sample("moved"),
        sample("no_show", uuid=other, customer={"name": None}),
    ]

    results = await deliver_twice_shuffled(example("no_show_follow_up"), events, settings={"url": CHAT})

    assert [delivered.outcome for delivered in results] == ["done", "done", "ignored", "done"]
    assert [message.json["text"][:29] for delivered in results for message in delivered.messages] == [
        "We missed you, John Smith. Wo",
        "We missed you, dear customer.",
    ]
    nobody = await deliver(
        example("no_show_follow_up"), sample("no_show", customer={"email": None}), settings={"url": CHAT}
    )
    assert nobody.outcome == "discarded"


async def test_reschedule_alert() -> None:
    """Old and new time in the operator's zone; other updates say nothing."""
    settings = {"url": CHAT, "timezone": "Europe/Berlin"}
    events: list[AnyEvent] = [
        sample("rescheduled"),
        sample("retitled"),
        sample("rescheduled", previous_start=ABSENT),
    ]

    first, second, third = await deliver_twice_shuffled(
        example("reschedule_alert"), events, settings=settings
    )

    assert [message.json for message in first.messages] == [
        {"text": "Client Meeting with John Smith: Thu 01 May, 16:00 instead of Thu 01 May, 15:00"}
    ]
    assert second.outcome == "ignored"
    assert third.messages[0].json["text"].endswith("instead of an unknown time")


async def test_csv_row(tmp_path: Path) -> None:
    """A heading, then one row per event, which no spreadsheet runs as a formula."""
    file = tmp_path / "booked.csv"
    events = [
        sample(CalendarCreated, title='Lunch, "long"'),
        sample(CalendarCreated, title="=1+1", customer={"email": None}),
    ]

    await deliver_twice_shuffled(
        example("csv_row"), events, settings={"file": str(file)}, observe=lambda: file.read_text("utf-8")
    )

    with file.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.reader(opened))
    assert rows == [
        ["event_id", "start", "title", "name", "email", "phone"],
        [events[0].event_id, "2025-05-01T14:00:00+00:00", 'Lunch, "long"', "John Smith", "john.smith@example.com", "'+15551234567"],
        [events[1].event_id, "2025-05-01T14:00:00+00:00", "'=1+1", "John Smith", "", "'+15551234567"],
    ]  # fmt: skip


async def test_daily_agenda() -> None:
    """Each day's agenda follows bookings, moves to other days and cancellations."""
    lunch = "0b7e2f0e-6b43-4c4f-8a8d-0a2f6f6f0a11"
    friday = "2025-05-02T08:00:00.000Z"
    events: list[AnyEvent] = [
        sample(CalendarCreated),
        sample(CalendarCreated, uuid=lunch, title="Lunch", start_time="2025-05-01T10:00:00.000Z"),
        sample(CalendarUpdated, start_time=friday),
        sample(CalendarCancelled, uuid=lunch, title="Lunch", start_time="2025-05-01T10:00:00.000Z"),
    ]

    results = await deliver_twice_shuffled(example("daily_agenda"), events, settings={"url": CHAT})

    assert [[message.json["text"] for message in delivered.messages] for delivered in results] == [
        ["2025-05-01\n14:00 Client Meeting"],
        ["2025-05-01\n10:00 Lunch\n14:00 Client Meeting"],
        ["2025-05-01\n10:00 Lunch", "2025-05-02\n08:00 Client Meeting"],
        ["2025-05-01\nnothing"],
    ]


async def test_daily_agenda_in_any_zone() -> None:
    """The operator's zone decides the day."""
    delivered = await deliver(
        example("daily_agenda"),
        sample(CalendarCreated, start_time="2025-05-01T23:30:00.000Z"),
        settings={"url": CHAT, "timezone": "Asia/Tokyo"},
    )
    assert delivered.messages[0].json == {"text": "2025-05-02\n08:30 Client Meeting"}


async def test_call_summary() -> None:
    """The summary becomes a note; a call without one is discarded."""
    events: list[AnyEvent] = [
        sample(CallSummary),
        sample(CallSummary, summary=None),
        sample(CallSummary, contact=ABSENT),
    ]
    settings = {"url": "https://crm.example.com/notes", "token": "secret-of-crm"}

    first, second, third = await deliver_twice_shuffled(example("call_summary"), events, settings=settings)

    (note,) = first.messages
    assert note.json == {
        "about": "john.smith@example.com",
        "phone": "+15551234567",
        "title": "Outbound call, 4 min",
        "text": "John wants to meet on Thursday.",
        "call": "call_6789",
    }
    assert note.headers == {"Authorization": "Bearer secret-of-crm"}
    assert second.outcome == "discarded"
    assert third.messages[0].json["about"] is None
