"""The private listener: what changes the log or asks it, and metrics, for the operator on this machine.

Whatever reaches it may replay a year of events, so every request passes the same three checks first: the
`Host` it asks for is ours (a web page whose name was rebound to 127.0.0.1 comes with its own), the token
fits if there is one, and a POST says that it is JSON (which a page of another origin may not send unasked).
The rule easiest to break: a new route goes into the table, so that it is behind these checks.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, TypeVar

from aiohttp import ClientError, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from yarl import URL

from receiver.errors import InvalidJSON
from receiver.forget import NotRoutedError, Person, forget
from receiver.jsonbody import parse_json
from receiver.klen.reconcile import Window
from receiver.listener import Handler, error_response, json_response
from receiver.metrics import CONTENT_TYPE_LATEST
from receiver.quarantine import NotKeptError, StillUnreadableError, release
from receiver.rebuild import rebuild
from receiver.replay import report
from storage.errors import StorageError
from storage.records import Selection
from storage.states import RunState

if TYPE_CHECKING:
    from receiver.clock import Clock
    from receiver.klen.schedule import Reconciler
    from receiver.metrics import Metrics
    from receiver.replay import Replayer
    from receiver.retention import Retention
    from storage.log import EventLog

LARGEST_BODY: Final = 65_536
BODY_SECONDS: Final = 5.0
MOST_REPLAYS: Final = 100
"""Of a listing, the newest."""

_NUMBERED: Final = re.compile(r"(?P<parent>/[a-z]+)/(?P<number>[0-9]{1,18})(?P<action>(?:/[a-z]+)?)")
"""The path of something that has a number; 18 digits are what a row's number can have."""

M = TypeVar("M", bound=BaseModel)
Route = Callable[[web.BaseRequest], Awaitable[web.Response]]


class _Filters(BaseModel):
    """`Selection`, as a request has it: the filters of `log list`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type_glob: str | None = None
    calendar_event: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    run_state: RunState | None = None
    handler: str | None = None
    verdict: str | None = None
    change: str | None = None
    source: str | None = None
    code_version: str | None = None
    after_seq: int | None = None


class _NewReplay(BaseModel):
    """The body of `POST /replays`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    selection: _Filters
    target: str | None = None


class _NewErasure(BaseModel):
    """The body of `POST /erasures`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    customers: list[str] = Field(min_length=1)


class _NewPruning(BaseModel):
    """The body of `POST /prunings`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    older_than_ms: int | None = Field(default=None, ge=0)


class _NewReconciliation(BaseModel):
    """The body of `POST /reconciliations`."""

    model_config = ConfigDict(extra="forbid")

    source: str
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True)
class Doers:
    """Who does what is asked for here."""

    replayer: Replayer
    retention: Retention
    reconciler: Reconciler


class Ops(Mapping[str, Mapping[str, Handler]]):
    """The table of the private listener."""

    def __init__(
        self,
        log: EventLog,
        doers: Doers,
        handlers: Callable[[], set[str]],
        metrics: Metrics,
        clock: Clock,
        *,
        token: str,
        hosts: Iterable[str],
    ) -> None:
        """`handlers` names those that run; an empty token is not asked for.

        `hosts` is where it listens, then further names that it may be asked by.
        """
        self._log = log
        self._replayer = doers.replayer
        self._retention = doers.retention
        self._reconciler = doers.reconciler
        self._handlers = handlers
        self._metrics = metrics
        self._clock = clock
        self._token = token.encode()
        self._hosts = [host.lower() for host in hosts]
        self._table: dict[str, Mapping[str, Handler]] = {
            "/healthz": self._methods(GET=self._healthz),
            "/metrics": self._methods(GET=self._page),
            "/replays": self._methods(GET=self._replays, POST=self._start),
            "/erasures": self._methods(POST=self._forget),
            "/prunings": self._methods(POST=self._prune),
            "/reconciliations": self._methods(POST=self._reconcile),
        }
        self._numbered = {
            "/replays": self._methods(GET=self._replay),
            "/quarantine/release": self._methods(POST=self._release),
            "/states/rebuild": self._methods(POST=self._rebuild),
        }

    def __getitem__(self, path: str) -> Mapping[str, Handler]:
        if match := _NUMBERED.fullmatch(path):
            return self._numbered[f"{match['parent']}{match['action']}"]
        return self._table[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def _methods(self, **routes: Route) -> Mapping[str, Handler]:
        return {method: self._guarded(route) for method, route in routes.items()}

    def _guarded(self, route: Route) -> Handler:
        async def guarded(request: web.BaseRequest) -> web.StreamResponse:
            refusal = self._refusal(request)
            if refusal is not None:
                refusal.force_close()  # its body was not read
                return refusal
            try:
                return await route(request)
            except StorageError as error:
                return error_response(503, "unavailable", f"{error}")

        return guarded

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return error_response(403, "wrong_host", "Ask for this listener by the address it listens on.")
        if self._token and not self._is_authorized(request.headers.getall("Authorization", [])):
            response = error_response(401, "unauthorized", "Expected ops.token as Authorization: Bearer.")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        if request.method == "POST" and request.content_type != "application/json":
            return error_response(415, "unsupported_media_type", "Expected Content-Type: application/json.")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = (URL(f"http://{host}").host or "").lower()
        except ValueError:
            return False
        if name in ("localhost", *self._hosts):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        # Only a name can be rebound, so whoever listens everywhere may be asked by any address.
        return address.is_loopback or self._hosts[0] in ("0.0.0.0", "::")  # noqa: S104 -- compared, not bound

    def _is_authorized(self, given: list[str]) -> bool:
        scheme, _, token = (given[0] if len(given) == 1 else "").partition(" ")
        matches = hmac.compare_digest(token.strip().encode("utf-8", "surrogateescape"), self._token)
        return matches and scheme.lower() == "bearer"

    async def _healthz(self, _request: web.BaseRequest) -> web.Response:
        return json_response(200, {"status": "ok"})

    async def _page(self, _request: web.BaseRequest) -> web.Response:
        return web.Response(body=await self._metrics.page(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _replays(self, _request: web.BaseRequest) -> web.Response:
        records = (await self._log.replays())[:MOST_REPLAYS]
        return json_response(200, {"replays": [await report(self._log, record) for record in records]})

    async def _replay(self, request: web.BaseRequest) -> web.Response:
        number = _number(request)
        records = await self._log.replays(number)
        if not records:
            return error_response(404, "not_found", f"There is no replay {number}.")
        return json_response(200, await report(self._log, records[0]))

    async def _rebuild(self, request: web.BaseRequest) -> web.Response:
        return json_response(200, {"rebuilt": await rebuild(self._log, _number(request))})

    async def _release(self, request: web.BaseRequest) -> web.Response:
        try:
            appended = await release(self._log, _number(request))
        except NotKeptError as error:
            return _refused(404, "not_found", f"{error}")
        except StillUnreadableError as error:
            return _refused(409, "unreadable", f"{error}")
        status = "duplicate" if appended.duplicate else "accepted"
        return json_response(200, {"status": status, "event_id": appended.event_id})

    async def _forget(self, request: web.BaseRequest) -> web.Response:
        wanted = await _read(request, _NewErasure)
        if isinstance(wanted, web.Response):
            return wanted
        try:
            person = Person.of(wanted.customers)
        except ValueError as error:
            return _refused(400, "invalid_request", f"{error}.")
        try:
            report = await forget(self._log, person, self._clock)
        except NotRoutedError as error:
            return error_response(503, "unavailable", f"{error}")
        return json_response(200, report)

    async def _prune(self, request: web.BaseRequest) -> web.Response:
        wanted = await _read(request, _NewPruning)
        if isinstance(wanted, web.Response):
            return wanted
        return json_response(200, await self._retention.prune(wanted.older_than_ms))

    async def _reconcile(self, request: web.BaseRequest) -> web.Response:
        wanted = await _read(request, _NewReconciliation)
        if isinstance(wanted, web.Response):
            return wanted
        if wanted.source not in self._reconciler.sources:
            return _refused(400, "unknown_source", "The running service has no api_key for such a source.")
        window = Window(wanted.first_day, wanted.last_day)
        return json_response(201, {"reconciliation_id": await self._reconciler.start(wanted.source, window)})

    async def _start(self, request: web.BaseRequest) -> web.Response:
        wanted = await _read(request, _NewReplay)
        if isinstance(wanted, web.Response):
            return wanted
        if wanted.target is not None and wanted.target not in self._handlers():
            return _refused(400, "unknown_handler", "The running service has no handler of this name.")
        selection = Selection(**wanted.selection.model_dump(), limit=0)
        replay_id = await self._replayer.start(selection, wanted.target)
        return json_response(201, {"replay_id": replay_id})


async def _read(request: web.BaseRequest, model: type[M]) -> M | web.Response:
    """The body of a request, or the answer that refuses it."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return model.model_validate(parse_json(await request.read()))
    except web.HTTPRequestEntityTooLarge:
        return _refused(413, "payload_too_large", f"Expected at most {LARGEST_BODY} bytes.")
    except (InvalidJSON, TimeoutError, ClientError, web.RequestPayloadError, OSError):
        return _refused(400, "invalid_json", "Expected a JSON object.")
    except ValidationError as error:
        keys = sorted({".".join(map(str, mistake["loc"])) or "the body" for mistake in error.errors()})
        return _refused(400, "invalid_request", f"Wrong or unknown: {', '.join(keys)}.")


def _number(request: web.BaseRequest) -> int:
    """The one in its path."""
    match = _NUMBERED.fullmatch(request.path)
    assert match is not None  # noqa: S101 -- the table found it by that
    return int(match["number"])


def _refused(status: int, code: str, message: str) -> web.Response:
    response = error_response(status, code, message)
    response.force_close()
    return response
