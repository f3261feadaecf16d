"""What nobody can ask of the real vendor: outages, jumps of the clock, bursts, secrets, the delivery log.

Addresses under `/sandbox/`, in JSON, for the commands and the page of a running sandbox. No key is asked for;
`application` keeps pages of other sites away. The rule easiest to break: nothing here is under `/api/`, so no
client of the vendor can come to rely on it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from receiver.sandbox.api import read_object
from receiver.sandbox.appointment import text_of
from receiver.sandbox.burst import burst
from receiver.sandbox.durations import parse_duration
from receiver.sandbox.errors import invalid_parameter, not_found
from receiver.sandbox.fields import read_number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from receiver.sandbox.sandbox import Sandbox

MOST_AT_ONCE: Final = 100_000
LONGEST: Final = parse_duration("366d")


class Control:
    """The addresses, for one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[web.RouteDef]:
        """The table for the application."""
        return [
            web.get("/sandbox/status", self._status),
            web.get("/sandbox/deliveries", self._deliveries),
            web.post("/sandbox/outage", self._outage),
            web.post("/sandbox/jump", self._jump),
            web.post("/sandbox/burst", self._burst),
            web.post("/sandbox/rotate", self._rotate),
        ]

    async def _status(self, _request: web.Request) -> web.Response:
        sandbox = self._sandbox
        until = sandbox.courier.outage_until
        return web.json_response(
            {
                "now": text_of(sandbox.clock.now()),
                "speed": sandbox.clock.speed,
                "seed": sandbox.seed,
                "outage_until": text_of(until) if until and until > sandbox.clock.now() else None,
                "appointments": len(sandbox.world),
                "requests": sandbox.keys.requests,
                "webhooks": len(list(sandbox.webhooks)),
                "deliveries": Counter(delivery.state for delivery in sandbox.courier.deliveries),
            }
        )

    async def _deliveries(self, request: web.Request) -> web.Response:
        """The newest last; `limit` 0 is all of them."""
        limit = read_number(request.query.get("limit") or "100")
        if limit is None or limit < 0:
            raise invalid_parameter("limit: expected a number")
        deliveries = self._sandbox.courier.deliveries
        shown = [delivery.shown() for delivery in deliveries[-limit:]]
        return web.json_response({"count": len(deliveries), "deliveries": shown})

    async def _outage(self, request: web.Request) -> web.Response:
        until = self._sandbox.outage(_span(await read_object(request)))
        return web.json_response({"outage_until": text_of(until)})

    async def _jump(self, request: web.Request) -> web.Response:
        await self._sandbox.jump(_span(await read_object(request)))
        return web.json_response({"now": text_of(self._sandbox.clock.now())})

    async def _burst(self, request: web.Request) -> web.Response:
        body = await read_object(request)
        count, changes = (_count(body, name) for name in ("count", "changes"))
        return web.json_response({"booked": len(burst(self._sandbox, count, changes))}, status=201)

    async def _rotate(self, request: web.Request) -> web.Response:
        number = (await read_object(request)).get("webhook_id")
        webhook = self._sandbox.webhooks.find(number) if isinstance(number, int) else None
        if webhook is None:
            raise not_found("Webhook")
        webhook = self._sandbox.rotate(webhook)
        return web.json_response({**webhook.shown(), "secret": webhook.secret})


def _span(body: Mapping[str, Any]) -> timedelta:
    try:
        span = parse_duration(body.get("for"))
    except ValueError as error:
        raise invalid_parameter(f"for: {error}") from None
    if span > LONGEST:
        raise invalid_parameter("for: expected at most 366d")
    return span


def _count(body: Mapping[str, Any], name: str) -> int:
    number = body.get(name, 0)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MOST_AT_ONCE:
        raise invalid_parameter(f"{name}: expected a number up to {MOST_AT_ONCE}")
    return number
