"""Klen's Calendar API, typed: `ctx.klen` in handlers.

https://docs.klen.ai/api-reference/calendar/overview. The rule easiest to break: creating is not repeatable.
When its answer is missing, the appointment is looked for before it is made again, and if that cannot be
decided the caller is told, since two bookings are worse than an error.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from receiver import reading
from receiver.events.base import Model
from receiver.klen.errors import KlenError, NoAnswer, OddAnswer, ServerError
from receiver.klen.models import Availability, EventDetails, EventPage, Made
from receiver.klen.transport import Request
from receiver.klen.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from receiver.klen.transport import Transport

M = TypeVar("M", bound=Model)

PAGE: Final = 100
"""Events on a page: the most there can be."""
MOST_PAGES: Final = 10_000
"""A list that never ends is none."""
LOOK_AGAIN_SECONDS: Final = 2.0
"""What the vendor gets to show an appointment whose booking went unanswered."""
CLOCK_SLACK: Final = timedelta(minutes=5)
"""How far its clock and ours may be apart."""
STATUSES: Final = ("scheduled", "confirmed", "cancelled", "completed", "no_show")


class EventFields(TypedDict, total=False):
    """What an appointment can be made of. Times without an offset are sent as they are."""

    title: str
    start_time: datetime | str
    end_time: datetime | str
    description: str
    kind: str
    """`meeting`, `appointment`, `busy`, `voice_call` or `video_call`."""
    status: str
    """`scheduled` or `confirmed`; for `update` any of the five."""
    location: str
    customer_name: str
    customer_email: str
    customer_phone: str
    customer_notes: str
    has_video_conference: bool
    video_conference_url: str
    video_conference_provider: str
    is_reminder_enabled: bool
    remind_before_minutes: int
    ai_agent_id: int
    team_id: int
    created_by_ai_agent: bool
    """When creating only."""
    sync_external_calendars: bool
    send_notifications: bool


class Klen:
    """The API of one Klen account: `event = await ctx.klen.event(uuid)`.

    Every method raises a `KlenError` when it cannot do what it says.
    """

    def __init__(self, transport: Transport) -> None:
        """Whoever shares a transport shares its limit of requests."""
        self._transport = transport
        self.webhooks = Webhooks(transport)
        """The account's registered webhooks."""

    async def send(self, request: Request) -> Any:
        """A request that has no method here; the JSON of its answer."""
        return await self._transport.send(request)

    async def events(
        self, start: date, end: date, *, status: str | None = None
    ) -> AsyncIterator[EventDetails]:
        """Every appointment between two days, page by page; without `status`, as the vendor chooses."""
        for number in range(1, MOST_PAGES + 1):
            page = await self.page(start, end, status=status, page=number)
            for event in page.events:
                yield event
            more = number < page.pages if page.pages is not None else len(page.events) == PAGE
            if not more or not page.events:
                return

    async def page(
        self, start: date, end: date, *, status: str | None = None, page: int = 1, limit: int = PAGE
    ) -> EventPage:
        """One page of them.

        https://docs.klen.ai/api-reference/calendar/get-events
        """
        params: dict[str, str | int | float] = {
            "start_date": start.isoformat(),
            "end_date": end.isoformat(),
            "page": page,
            "limit": limit,
        }
        if status is not None:
            params["status"] = status
        answer = await self._transport.send(Request("GET", "/calendar/events", params=params))
        if not isinstance(answer, dict) or not isinstance(answer.get("events"), list):
            raise OddAnswer('Expected a page with a list "events", found other JSON.')
        with_raw = [item | {"raw": item} if isinstance(item, dict) else item for item in answer["events"]]
        return _read(EventPage, answer | {"events": with_raw})

    async def event(self, event_id: str | int) -> EventDetails:
        """One appointment whole, by its uuid or number.

        https://docs.klen.ai/api-reference/calendar/get-event-details
        """
        answer = await self._transport.send(Request("GET", _path(event_id)))
        return _read(EventDetails, answer | {"raw": answer} if isinstance(answer, dict) else answer)

    async def availability(self, start: date, end: date, *, duration_minutes: int = 30) -> Availability:
        """When there is room.

        https://docs.klen.ai/api-reference/calendar/get-availability
        """
        days = {"start_date": start.isoformat(), "end_date": end.isoformat()}
        params = {**days, "duration": str(duration_minutes)}
        return _read(
            Availability, await self._transport.send(Request("GET", "/calendar/availability", params=params))
        )

    async def create(self, **fields: Unpack[EventFields]) -> Made:
        """Book an appointment.

        https://docs.klen.ai/api-reference/calendar/create-event

        Raises:
            NoAnswer: whether it was booked is not known, and could not be found out.
        """
        body, began = _body(fields), datetime.now(UTC)
        request = Request("POST", "/calendar/events/create", json=body, repeatable=False)
        try:
            return _read(Made, await self._transport.send(request))
        except (NoAnswer, ServerError):
            found = await self._booked(body, began)
            return found or _read(Made, await self._transport.send(request))

    async def _booked(self, body: dict[str, Any], began: datetime) -> Made | None:
        """The appointment that a request without an answer has made; None if it has made none."""
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        start = reading.instant(body.get("start_time"))
        unknown = NoAnswer(
            "Klen gave no answer, and whether the appointment was booked cannot be found out. Look for it "
            "before it is booked again."
        )
        if start is None:
            raise unknown
        day = timedelta(days=1)
        try:
            for status in STATUSES[:2]:
                async for event in self.events(start.date() - day, start.date() + day, status=status):
                    if _is_that(event, body):
                        details = await self.event(event.uuid or event.id or "")
                        if details.created_at is None:
                            raise unknown
                        if details.created_at >= began - CLOCK_SLACK:
                            return _read(Made, details.raw)
        except KlenError:
            raise unknown from None
        return None

    async def update(self, event_id: str | int, **fields: Unpack[EventFields]) -> Made:
        """Change some of it, and leave the rest.

        https://docs.klen.ai/api-reference/calendar/update-event
        """
        request = Request("PATCH", f"{_path(event_id)}/update", json=_body(fields))
        return _read(Made, await self._transport.send(request))

    async def cancel(self, event_id: str | int, reason: str | None = None) -> Made:
        """Call it off; the customer is told.

        https://docs.klen.ai/api-reference/calendar/cancel-event

        Without an answer it is looked up first, so that nobody is told twice.
        """
        body = {} if reason is None else {"reason": reason}
        request = Request("POST", f"{_path(event_id)}/cancel", json=body, repeatable=False)
        try:
            return _read(Made, await self._transport.send(request))
        except (NoAnswer, ServerError):
            found = await self.event(event_id)
            if found.status == "cancelled":
                return _read(Made, found.raw)
            return _read(Made, await self._transport.send(request))


def _path(event_id: str | int) -> str:
    """Where an appointment is.

    Raises:
        KlenError: such an id would lead elsewhere.
    """
    if not str(event_id).strip("."):
        raise KlenError("Expected the uuid or the number of a calendar event, found none.")
    return f"/calendar/events/{quote(str(event_id), safe='')}"


def _body(fields: EventFields) -> dict[str, Any]:
    """The fields as the API names and writes them."""
    named = {"event_type" if name == "kind" else name: value for name, value in fields.items()}
    return {name: _written(value) if isinstance(value, datetime) else value for name, value in named.items()}


def _written(moment: datetime) -> str:
    if moment.tzinfo is None:
        return moment.isoformat(timespec="milliseconds")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_that(event: EventDetails, body: dict[str, Any]) -> bool:
    """Whether this is the appointment that was asked for, by all that the list shows of it."""
    pairs: list[tuple[object, object]] = [
        (event.title, body.get("title")),
        (event.start_time, reading.instant(body.get("start_time"))),
        (event.end_time, reading.instant(body.get("end_time"))),
    ]
    asked = {name: body.get(f"customer_{name}") for name in ("name", "email", "phone")}
    pairs += [(getattr(event.customer, name), value) for name, value in asked.items() if value]
    return all(found == wanted for found, wanted in pairs)


def _read(kind: type[M], answer: object) -> M:
    if not isinstance(answer, dict):
        raise OddAnswer("Expected a JSON object, found other JSON.")
    try:
        return kind.model_validate(answer)
    except ValueError:
        raise OddAnswer("Expected an object such as the vendor's pages show, found another one.") from None
