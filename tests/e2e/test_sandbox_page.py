"""The sandbox's page: what its forms do, with and without scripts, and with the keyboard alone."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import receiver.sandbox.page
from receiver.sandbox import Sandbox
from tests.support.browser import EXECUTABLE, browser
from tests.support.endpoint import Endpoint, endpoint
from tests.support.sandbox import THEN, Answer, Asker, asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HTMX = "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de"
"""SHA-256 of dist/htmx.min.js in htmx.org 2.0.10."""
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}\x1b\u202e"


@pytest.fixture(name="there")
async def _there() -> AsyncIterator[Endpoint]:
    async with endpoint() as there:
        yield there


@pytest.fixture(name="ask")
async def _ask(there: Endpoint) -> AsyncIterator[Asker]:
    async with asking() as ask:
        ask.sandbox.register(there.url)
        yield ask


async def submit(ask: Asker, path: str, fields: dict[str, str], *, htmx: bool = False) -> Answer:
    headers = {"HX-Request": "true"} if htmx else {}
    return await ask("POST", f"/page/{path}", data=fields, headers=headers)


async def book(ask: Asker, **fields: str) -> str:
    """Book with the form; the appointment's UUID."""
    usual = {"title": "Visit", "start_time": "2025-05-01T14:00", "minutes": "30"}
    answer = await submit(ask, "book", usual | fields)
    assert answer.status == 200, answer.text
    return list(ask.sandbox.world)[-1].uuid


class Outline(HTMLParser):
    """What a reader of the page without eyes depends on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[dict[str, str | None]] = []
        self.unlabelled: list[str] = []
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self._labels = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.attributes |= set(named)
        self.ids += [named["id"] or ""] if "id" in named else []
        self._labels += tag == "label"
        if tag == "script":
            self.scripts.append(named)
        if tag == "input" and not self._labels:
            self.unlabelled.append(named.get("name") or "?")

    def handle_endtag(self, tag: str) -> None:
        self._labels -= tag == "label"


async def test_the_page_stands_alone(ask: Asker) -> None:
    """It loads nothing from elsewhere and runs nothing but htmx, and its policy forbids the rest."""
    answer = await ask("GET", "/")
    outline = Outline(answer.text)

    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert [script["src"] for script in outline.scripts] == ["/page/static/htmx-2.0.10.min.js"]
    assert re.findall(r'(?:src|href)="(?!/page/static/)', answer.text) == []
    assert not {name for name in outline.attributes if name.startswith("on") or name == "style"}
    assert outline.unlabelled == []


async def test_its_files(ask: Asker) -> None:
    """Htmx is the released file, byte for byte; nothing else can be had from its folder or above."""
    for name in ("htmx-2.0.10.min.js", "style.css", "icon.svg"):
        assert (await ask("GET", f"/page/static/{name}")).status == 200
    for name in ("..%2f__init__.py", "%2e%2e/__init__.py", "page.html"):
        assert (await ask("GET", f"/page/static/{name}")).status == 404
    script = Path(receiver.sandbox.page.__file__).parent / "static" / "htmx-2.0.10.min.js"

    assert hashlib.sha256(script.read_bytes()).hexdigest() == HTMX


async def test_booking_moving_and_no_show(ask: Asker, there: Endpoint) -> None:
    """The forms do what the API does, and the page shows each webhook with its answer."""
    uuid = await book(ask, customer_name="Ada Example", remind_before_minutes="15", location="")
    moved = await submit(ask, f"{uuid}/move", {"start_time": "2025-05-02T09:30", "minutes": "45"})
    done = await submit(ask, f"{uuid}/status", {"status": "no_show"})
    await ask.sandbox.idle()
    page = (await ask("GET", "/")).text

    assert "Moved Visit to 2025-05-02T09:30:00.000Z." in moved.text
    assert "Visit is now: No Show." in done.text
    appointment = ask.sandbox.world.find(uuid)
    assert appointment is not None
    assert (appointment.status, appointment.remind_before_minutes, appointment.location) == (
        "no_show",
        15,
        None,
    )
    assert appointment.end_time - appointment.start_time == timedelta(minutes=45)
    assert there.kinds == ["calendar.created", "calendar.updated", "calendar.updated"]
    assert page.count("200 thank you") == 3
    assert "Deliveries (3)" in page


async def test_cancelling_and_completing(ask: Asker, there: Endpoint) -> None:
    """A cancellation has its reason, and what is over offers no more changes."""
    first, second = await book(ask), await book(ask)
    await submit(ask, f"{first}/cancel", {"reason": "Fell ill"})
    await submit(ask, f"{second}/status", {"status": "completed"})
    await ask.sandbox.idle()
    page = (await ask("GET", "/")).text

    assert there.got[-2].json["calendar_event"]["reason"] == "Fell ill"
    assert there.kinds[-1] == "calendar.completed"
    assert "/move" not in page


async def test_registering_and_time(ask: Asker) -> None:
    """A webhook can be registered, its secret is shown once; and time can be let pass."""
    answer = await submit(ask, "webhooks", {"url": "http://127.0.0.1:9/hook"})
    secret = list(ask.sandbox.webhooks)[-1].secret
    later = await submit(ask, "jump", {"for": "1h"})

    assert secret in answer.text
    assert secret not in (await ask("GET", "/")).text
    assert "In the sandbox it is 2025-04-25 11:15:30 UTC" in later.text


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("book", {}, 400),
        ("book", {"title": "X", "start_time": "soon", "minutes": "5"}, 400),
        ("book", {"title": "X", "start_time": "2025-05-01T14:00", "minutes": "-5"}, 400),
        ("book", {"title": "X", "start_time": "9999-12-31T23:59", "minutes": "999999999"}, 400),
        ("book", {"title": "X", "start_time": "2025-05-01T14:00", "remind_before_minutes": "x"}, 400),
        ("nobody/move", {"start_time": "2025-05-01T14:00"}, 404),
        ("nobody/cancel", {}, 404),
        ("jump", {"for": "9999d"}, 400),
        ("webhooks", {"url": "javascript:alert(1)"}, 400),
    ],
)
@pytest.mark.parametrize("htmx", [True, False])
async def test_mistakes(ask: Asker, path: str, fields: dict[str, str], status: int, *, htmx: bool) -> None:
    """A mistake is told on the page, as an alert, and changes nothing."""
    answer = await submit(ask, path, fields, htmx=htmx)

    assert answer.status == status
    assert 'role="alert"' in answer.text
    assert answer.text.startswith("<h1>" if htmx else "<!doctype html>")
    assert len(ask.sandbox.world) == 0


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"xx"),
        ("multipart/form-data; boundary=x", b"xx"),
        ("application/x-www-form-urlencoded; charset=nonsense", b"title=%ff"),
        ("application/x-www-form-urlencoded; charset=ascii", b"title=\xff"),
    ],
)
async def test_no_forms(ask: Asker, content_type: str, body: bytes) -> None:
    """A body that is no form is refused on the page."""
    answer = await ask("POST", "/page/book", body, headers={"Content-Type": content_type})

    assert answer.status == 400
    assert "Expected a form" in answer.text


async def test_hostile_text(ask: Asker) -> None:
    """Markup in titles, names, reasons and answers is shown as text."""
    uuid = await book(ask, title=HOSTILE, customer_name=HOSTILE)
    ask.sandbox.register("http://127.0.0.1:9/'\"><script>x</script>")
    await submit(ask, f"{uuid}/cancel", {"reason": HOSTILE})
    page = (await ask("GET", "/")).text
    news = (await ask("GET", "/page/news")).text

    for text in (page, news):
        assert len(Outline(text).scripts) == ("doctype" in text)
        assert "<img" not in text
        assert "49" not in re.findall(r"alert\(1\)[^<]*", text)


async def test_pages_of_others_cannot_book(ask: Asker) -> None:
    """A form on somebody else's page is refused, though the browser would send it."""
    answer = await ask("POST", "/page/book", data={"title": "X"}, headers={"Origin": "https://evil.example"})

    assert answer.status == 403
    assert len(ask.sandbox.world) == 0


async def test_the_news_change_what_changed(ask: Asker) -> None:
    """What is asked for again and again has each status by its id, so that a completion shows by itself."""
    uuid = await book(ask)
    await ask.sandbox.jump(timedelta(days=10))
    news = (await ask("GET", "/page/news")).text

    assert f'<span id="status-{uuid}" hx-swap-oob="true">Completed</span>' in news
    assert f'id="status-{uuid}"' in (await ask("GET", "/")).text
    ids = Outline((await ask("GET", "/")).text).ids
    assert len(ids) == len(set(ids))


@pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed here")
async def test_with_the_keyboard_alone(tmp_path: Path, there: Endpoint) -> None:
    """In a real browser one books and cancels with Tab, Enter and typing; focus goes to what happened."""
    async with asking(Sandbox(speed=0, start=THEN, seed=1)) as ask, browser(tmp_path) as page:
        ask.sandbox.register(there.url)
        await page.open(f"{ask.sandbox.url}/")
        await page.evaluate("window.sameDocument = true")

        await page.tab_to("title")
        await page.type("Besuch bei Zoë")
        await page.press("Enter")
        await page.until(
            "document.getElementById('message')?.textContent.startsWith('Booked Besuch bei Zoë')"
        )
        assert await page.evaluate("document.activeElement.id") == "message"

        await page.tab_to("cancel-123")
        await page.press("Enter")
        await page.press("Tab")
        await page.type("Fell ill")
        await page.press("Enter")
        await page.until("document.getElementById('message')?.textContent.startsWith('Cancelled')")
        await page.until("[...document.querySelectorAll('#news tr.delivered')].length == 2")

        assert await page.evaluate("window.sameDocument") is True
        assert page.complaints == []

    assert there.kinds == ["calendar.created", "calendar.cancelled"]
    assert there.got[1].json["calendar_event"]["reason"] == "Fell ill"
    assert there.got[0].json["calendar_event"]["title"] == "Besuch bei Zoë"
