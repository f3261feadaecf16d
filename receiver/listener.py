"""An HTTP listener over aiohttp's low-level server: exact paths, and every answer in one shape.

Requests go straight from the parser to a handler by path and method. There is no router, so nothing
redirects, adds a slash or decodes twice. The rule easiest to break: what a stranger sends must come back as
one of our own short answers and at most a sampled log line, never as the parser's message, which quotes it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from receiver import logs
from receiver.connection import Connection

if TYPE_CHECKING:
    import asyncio
    from collections import Counter

    from aiohttp import StreamReader
    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from multidict import CIMultiDictProxy

    from receiver.answers import Answer

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Take = Callable[["CIMultiDictProxy[str]", bytes, Callable[["Answer"], None]], None]
"""Takes a request that is here whole: its headers, its body, and what is to be called with the answer."""
Routes = Mapping[str, Mapping[str, Handler]]

KEEPALIVE_SECONDS: Final = 10.0
"""An idle connection, or one that does not finish its headers, is closed after this."""
LINGER_SECONDS: Final = 1.0
"""How long the rest of a refused body is still read, so that the sender gets to see the answer."""

_BUSY: Final = b'{"error": "unavailable", "message": "There are too many connections. Please try again."}'
_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 30\r\nConnection: close\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BUSY), _BUSY)
)


class Listener(web.Server):
    """Serves a table of paths and methods."""

    def __init__(
        self,
        routes: Routes,
        counts: Counter[str],
        *,
        max_body_bytes: int,
        most_connections: int,
    ) -> None:
        """`counts` is told of malformed requests and of those for other paths and methods.

        Of more than `most_connections` the oldest that is waiting for its sender is closed; if none is, the
        newest is refused.
        """
        super().__init__(
            self._serve,
            request_factory=self._request,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEPALIVE_SECONDS,
            lingering_time=LINGER_SECONDS,
        )
        self._max_body_bytes = max_body_bytes
        self._most_connections = most_connections
        self._open: dict[Connection, None] = {}
        """The connections, oldest first."""
        self._routes = routes
        self._counts = counts
        self._logger = logs.get("http")
        self._sampler = logs.Sampler()

    def __call__(self) -> web.RequestHandler:
        """A protocol for one new connection."""
        return Connection(self, loop=self._loop, **self._kwargs)

    def opened(self, protocol: Connection) -> None:
        """Count a new connection in; if there are too many, let one go."""
        self._open[protocol] = None
        if len(self._open) <= self._most_connections:
            return
        waiting = next((known for known in self._open if known is not protocol and known.is_waiting()), None)
        if waiting is not None:
            self.closed(waiting)
            waiting.let_go()
        else:
            self.closed(protocol)
            protocol.let_go(_TOO_MANY)
        if (suppressed := self._sampler.admit()) is not None:
            self._logger.warning(
                "too many connections",
                most=self._most_connections,
                closed="oldest" if waiting else "newest",
                suppressed=suppressed,
            )

    def closed(self, protocol: Connection) -> None:
        """A connection has ended."""
        self._open.pop(protocol, None)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=self._max_body_bytes
        )

    def taker(self, method: str, path: str) -> Take | None:
        """What takes such requests without a task, if anything does: a handler's method `take`."""
        handler = self._routes.get(path, {}).get(method)
        return getattr(handler, "take", None)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        methods = self._routes.get(request.raw_path) or self._routes.get(request.path)
        if methods is None:
            return self._refuse(404, "not_found", "There is nothing at this path.")
        handler = methods.get(request.method)
        if handler is None:
            allowed = ", ".join(methods)
            response = self._refuse(405, "method_not_allowed", f"Expected one of the methods {allowed}.")
            response.headers["Allow"] = allowed
            return response
        return await handler(request)

    def _refuse(self, status: int, code: str, message: str) -> web.Response:
        self._counts[code] += 1
        response = error_response(status, code, message)
        # A body that nobody reads would be taken for the next request.
        response.force_close()
        return response

    def malformed(self, status: int, error: BaseException | None) -> web.Response:
        """The answer to what is no HTTP request, or to a failure of our own; both are counted and logged."""
        code = "server_error" if status == HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request"
        self._counts[code] += 1
        if (suppressed := self._sampler.admit()) is not None:
            self._logger.warning(code, status=status, error=type(error).__name__, suppressed=suppressed)
        ours = code == "server_error"
        text = "Something went wrong here." if ours else "This is not a valid HTTP request."
        response = error_response(status, code, text)
        response.force_close()
        return response


def error_response(status: int, code: str, message: str) -> web.Response:
    """An error in the vendor's own shape (https://docs.klen.ai/api-reference/introduction)."""
    return web.json_response({"error": code, "message": message}, status=status)


def json_response(status: int, report: Mapping[str, Any]) -> web.Response:
    """A report as JSON."""
    return web.Response(text=json.dumps(report), status=status, content_type="application/json")
