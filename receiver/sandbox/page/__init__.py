"""The sandbox's face for people: one page to book, move, cancel and complete, and to see the webhooks go out.

Rendered here, on the server; htmx (2.0.10, Zero-Clause BSD, unchanged in `static/`) replaces parts of it, and
without scripts the same forms load the page anew. The rule easiest to break: everything on it came from
outside, so nothing gets into the markup but through the templates' escaping, and no script runs but htmx.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from receiver.events import EVENT_TYPES
from receiver.sandbox.appointment import STATUSES, text_of
from receiver.sandbox.durations import parse_duration
from receiver.sandbox.errors import (
    APIError,
    invalid_parameter,
    missing_parameter,
    not_found,
    validation_error,
)
from receiver.sandbox.fields import read_instant, read_number
from receiver.sandbox.webhooks import read_webhook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from receiver.sandbox.sandbox import Sandbox

    Action = Callable[[web.Request, Mapping[str, str]], Awaitable[str]]

SHOWN: Final = 50
"""Rows of each table, the newest."""
JUMPS: Final = ("1m", "5m", "30m", "1h", "1d")
STATIC: Final = {
    "htmx-2.0.10.min.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "style.css": "text/css",
}
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_templates: Final = Environment(
    loader=PackageLoader("receiver.sandbox.page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["instant"] = lambda moment: text_of(moment).replace("T", " ").partition(".")[0]


class Page:
    """The page, its actions and its files."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[web.RouteDef]:
        """The table for the application."""
        actions: dict[str, Action] = {
            "book": self._book,
            "{uuid}/move": self._move,
            "{uuid}/cancel": self._cancel,
            "{uuid}/status": self._status,
            "jump": self._jump,
            "webhooks": self._register,
        }
        return [
            web.get("/", self._whole),
            web.get("/page/news", self._news),
            web.get("/page/static/{name}", self._file),
            *(web.post(f"/page/{path}", self._acting(action)) for path, action in actions.items()),
        ]

    async def _whole(self, _request: web.Request) -> web.Response:
        return self._rendered("page.html")

    async def _news(self, _request: web.Request) -> web.Response:
        """What changes by itself: the clock, the deliveries and the status of each appointment."""
        return self._rendered("poll.html")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in STATIC:
            raise not_found("File")
        body = (Path(__file__).parent / "static" / name).read_bytes()
        return web.Response(
            body=body,
            content_type=STATIC[name],
            charset="utf-8",
            headers=HEADERS | {"Cache-Control": "max-age=300"},
        )

    def _acting(self, action: Action) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def act(request: web.Request) -> web.Response:
            try:
                message, status = await action(request, await _form(request)), 200
            except APIError as error:
                message, status = f"{error.code}: {error.message}", error.status
            part = "content.html" if "HX-Request" in request.headers else "page.html"
            return self._rendered(part, message=message, failed=status != 200, status=status)  # noqa: PLR2004 -- HTTP's OK

        return act

    async def _book(self, _request: web.Request, form: Mapping[str, str]) -> str:
        body: dict[str, Any] = {name: value for name, value in form.items() if value}
        if "start_time" in body:
            body["end_time"] = _end(body["start_time"], body.pop("minutes", ""))
        if "remind_before_minutes" in body:
            body["remind_before_minutes"] = _minutes(body["remind_before_minutes"])
        booked = self._sandbox.account.book(body)
        return f"Booked {booked.title} as number {booked.id}."

    async def _move(self, request: web.Request, form: Mapping[str, str]) -> str:
        start = form.get("start_time", "")
        if not start:
            raise missing_parameter("start_time")
        times = {"start_time": start, "end_time": _end(start, form.get("minutes", ""))}
        moved = self._sandbox.account.update(request.match_info["uuid"], times)
        return f"Moved {moved.title} to {text_of(moved.start_time)}."

    async def _cancel(self, request: web.Request, form: Mapping[str, str]) -> str:
        cancelled = self._sandbox.account.cancel(request.match_info["uuid"], form)
        return f"Cancelled {cancelled.title}."

    async def _status(self, request: web.Request, form: Mapping[str, str]) -> str:
        status = {"status": form.get("status", "")}
        changed = self._sandbox.account.update(request.match_info["uuid"], status)
        return f"{changed.title} is now: {STATUSES[changed.status]}."

    async def _jump(self, _request: web.Request, form: Mapping[str, str]) -> str:
        if form.get("for") not in JUMPS:
            raise invalid_parameter(f"Expected one of: {', '.join(JUMPS)}")
        await self._sandbox.jump(parse_duration(form["for"]))
        return f"It is {text_of(self._sandbox.clock.now())} now."

    async def _register(self, _request: web.Request, form: Mapping[str, str]) -> str:
        name, url, events = read_webhook(
            {"name": "Page", "url": form.get("url"), "subscribed_events": list(EVENT_TYPES)}
        )
        webhook = self._sandbox.register(url, events, name=name)
        return f"Registered webhook {webhook.id}. Its secret is {webhook.secret}"

    def _rendered(
        self, template: str, *, message: str = "", failed: bool = False, status: int = 200
    ) -> web.Response:
        sandbox = self._sandbox
        now = sandbox.clock.now()
        until = sandbox.courier.outage_until
        text = _templates.get_template(template).render(
            message=message,
            failed=failed,
            now=now,
            speed=f"{sandbox.clock.speed:g}",
            outage_until=until if until and until > now else None,
            proposed=(now + timedelta(days=1)).strftime("%Y-%m-%dT%H:00"),
            jumps=JUMPS,
            statuses=STATUSES,
            appointments=list(islice(reversed(list(sandbox.world)), SHOWN)),
            total=len(sandbox.world),
            webhooks=list(sandbox.webhooks),
            deliveries=sandbox.courier.deliveries[: -SHOWN - 1 : -1],
            sent=len(sandbox.courier.deliveries),
            shown=SHOWN,
        )
        return web.Response(text=text, content_type="text/html", headers=HEADERS, status=status)


async def _form(request: web.Request) -> dict[str, str]:
    try:
        return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    except (ValueError, LookupError):  # no boundary, an unknown charset, bytes that are not of it
        raise validation_error("Invalid request body. Expected a form") from None


def _minutes(text: str) -> int:
    minutes = read_number(text)
    if minutes is None or minutes < 0:
        raise invalid_parameter("Expected a number of minutes")
    return minutes


def _end(start: str, minutes: str) -> str:
    try:
        return (read_instant(start) + timedelta(minutes=_minutes(minutes or "60"))).isoformat()
    except OverflowError:
        raise invalid_parameter("Expected an end before the year 10000") from None
