"""The vendor's Calendar API over HTTP: what each address reads, does and answers.

https://docs.klen.ai/api-reference/calendar/overview. Addresses have no slash at their end. The rule easiest
to break: the key is checked before anything of the request is looked at, and a refusal changes nothing.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from receiver.errors import InvalidJSON
from receiver.jsonbody import parse_json
from receiver.sandbox.appointment import STATUSES
from receiver.sandbox.availability import DURATIONS, MOST_DAYS, availability
from receiver.sandbox.calendar_file import calendar_file
from receiver.sandbox.errors import DATE_FORMAT, APIError, invalid_parameter, not_found, validation_error
from receiver.sandbox.fields import read_day, read_number
from receiver.sandbox.keys import READ, WRITE

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from receiver.sandbox.account import Account
    from receiver.sandbox.keys import KeyRing

BASE: Final = "/api/v1/calendar"
LIST_DAYS: Final = 30
AVAILABLE_DAYS: Final = 7
LIMIT: Final = 10
MOST_LISTED: Final = 100


class CalendarAPI:
    """The seven addresses of the calendar."""

    def __init__(self, account: Account, keys: KeyRing) -> None:
        self._account = account
        self._world = account.world
        self._clock = account.clock
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        """The table for the application."""
        return [
            web.get(f"{BASE}/events", self._list),
            web.post(f"{BASE}/events/create", self._create),
            web.get(f"{BASE}/events/{{event_id}}", self._get),
            web.put(f"{BASE}/events/{{event_id}}/update", self._update),
            web.patch(f"{BASE}/events/{{event_id}}/update", self._update),
            web.post(f"{BASE}/events/{{event_id}}/cancel", self._cancel),
            web.get(f"{BASE}/availability", self._availability),
            web.get("/calendar/event/{uuid}/calendar.ics", self._calendar_file),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        self._keys.admit(request.headers, request.query, READ)
        first, last = self._days(request, LIST_DAYS, invalid_parameter)
        status = request.query.get("status") or None
        if status is not None and status not in STATUSES:
            raise invalid_parameter(f"Invalid status. Expected one of: {', '.join(STATUSES)}")
        page = _positive(request, "page", 1)
        limit = min(_positive(request, "limit", LIMIT), MOST_LISTED)
        found = self._world.between(first, last, status)
        return web.json_response(
            {
                "count": len(found),
                "page": page,
                "limit": limit,
                "pages": -(-len(found) // limit),
                "events": [one.listed() for one in found[(page - 1) * limit : page * limit]],
            }
        )

    async def _get(self, request: web.Request) -> web.Response:
        self._keys.admit(request.headers, request.query, READ)
        return web.json_response(self._account.find(request.match_info["event_id"]).detailed())

    async def _create(self, request: web.Request) -> web.Response:
        key = self._keys.admit(request.headers, request.query, WRITE)
        body = await read_object(request)
        booked = self._account.book(body, allowed=partial(self._keys.admit_creation, key))
        answer = {**booked.brief(), "ics_url": booked.ics_url, "message": "Event created successfully"}
        return web.json_response(answer, status=201)

    async def _update(self, request: web.Request) -> web.Response:
        self._keys.admit(request.headers, request.query, WRITE)
        body, whole = await read_object(request), request.method == "PUT"
        updated = self._account.update(request.match_info["event_id"], body, whole=whole)
        return web.json_response({**updated.brief(), "message": "Event updated successfully"})

    async def _cancel(self, request: web.Request) -> web.Response:
        self._keys.admit(request.headers, request.query, WRITE)
        cancelled = self._account.cancel(request.match_info["event_id"], await read_object(request))
        return web.json_response(
            {
                "id": cancelled.id,
                "uuid": cancelled.uuid,
                "status": "cancelled",
                "message": "Event cancelled successfully",
            }
        )

    async def _availability(self, request: web.Request) -> web.Response:
        self._keys.admit(request.headers, request.query, READ)

        def malformed(message: str) -> APIError:
            return APIError(400, "invalid_parameter_format", message)

        first, last = self._days(request, AVAILABLE_DAYS, malformed)
        if (last - first).days >= MOST_DAYS:
            raise malformed(f"Invalid date range. Expected at most {MOST_DAYS} days")
        duration = read_number(request.query.get("duration") or "30")
        if duration is None:
            raise malformed("Invalid duration. Expected a number of minutes")
        if duration not in DURATIONS:
            raise APIError(400, "invalid_duration", "Duration must be between 1 and 180 minutes")
        return web.json_response(availability(self._world, first, last, duration, self._clock.now()))

    async def _calendar_file(self, request: web.Request) -> web.Response:
        """Without a key: whoever has the link from a webhook or a mail may add the appointment."""
        appointment = self._account.find(request.match_info["uuid"])
        if appointment.uuid != request.match_info["uuid"].lower():
            raise not_found("Event")
        return web.Response(
            body=calendar_file(appointment),
            content_type="text/calendar",
            charset="utf-8",
            headers={"Content-Disposition": 'attachment; filename="calendar.ics"'},
        )

    def _days(self, request: web.Request, span: int, error: Callable[[str], APIError]) -> tuple[date, date]:
        """The first and the last day that are asked for."""
        text = request.query.get("start_date") or self._clock.now().date().isoformat()
        first = read_day(text)
        if first is None:
            raise error(DATE_FORMAT)
        try:
            text = request.query.get("end_date") or (first + timedelta(days=span)).isoformat()
        except OverflowError:  # the last days of the year 9999
            text = first.max.isoformat()
        last = read_day(text)
        if last is None:
            raise error(DATE_FORMAT)
        if last < first:
            raise error("Invalid date range. end_date must not be before start_date")
        return first, last


async def read_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in a request's body; an empty one if it has no body.

    Raises:
        APIError: it is no JSON object.
    """
    body = await request.read()
    if not body.strip():
        return {}
    try:
        value = parse_json(body)
    except InvalidJSON:
        raise validation_error("Invalid request body. Expected a JSON object") from None
    if not isinstance(value, dict):
        raise validation_error("Invalid request body. Expected a JSON object")
    return value


def _positive(request: web.Request, name: str, default: int) -> int:
    number = read_number(request.query.get(name) or str(default))
    if number is None or number < 1:
        raise invalid_parameter(f"Invalid {name}. Expected a positive integer")
    return number
