"""The sandbox's listener: every answer in the vendor's shape, and nothing for web pages of others.

The rule easiest to break: its keys are public, so a page in somebody's browser could use them; what a browser
sends from another site, or by another name than this machine's, is refused before anything else.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from receiver import logs
from receiver.sandbox.errors import APIError, server_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

LARGEST_BODY: Final = 1_048_576

HTTP_CODES: Final = {
    404: ("not_found", "Requested resource not found"),
    405: ("method_not_allowed", "This method is not allowed here"),
    413: ("validation_error", "The request body is too large"),
}


def http_logger() -> logging.Logger:
    """For aiohttp's own lines: without a traceback for each thing that is no HTTP."""
    logger = logging.getLogger("klenhook.sandbox.http")
    logger.addFilter(_is_ours)
    return logger


def _is_ours(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def application(routes: Iterable[web.RouteDef], *, host: str) -> web.Application:
    """The application for a listener at `host`."""

    @web.middleware
    async def answer(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            _refuse_strangers(request, host)
            return await handler(request)
        except APIError as error:
            return _error(error.status, error.code, error.message, error.headers)
        except web.HTTPException as error:
            if error.status not in HTTP_CODES:
                raise
            allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return _error(error.status, *HTTP_CODES[error.status], allowed)
        except web.RequestPayloadError:
            return _error(400, "validation_error", "The request body cannot be read", {})
        except Exception as error:  # noqa: BLE001 -- the last resort, as the vendor would answer
            logs.get("sandbox").exception("a request failed", error=type(error).__name__)
            failure = server_error()
            return _error(failure.status, failure.code, failure.message, {})

    app = web.Application(middlewares=[answer], client_max_size=LARGEST_BODY)
    app.add_routes(routes)
    return app


def _error(status: int, code: str, message: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"error": code, "message": message}, status=status, headers=headers)


def _refuse_strangers(request: web.Request, host: str) -> None:
    name = _host_name(request)
    local = host in ("0.0.0.0", "::") or _is_loopback(name) or name in ("localhost", host.lower())  # noqa: S104 -- compared, not bound
    origin = request.headers.get("Origin")
    foreign = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site") or (
        origin is not None and origin.partition("://")[2] != request.headers.get("Host")
    )
    if not local or (foreign and request.method != "GET"):
        raise APIError(403, "permission_denied", "The sandbox answers programs and its own page only")


def _host_name(request: web.Request) -> str:
    try:
        return (URL(f"http://{request.headers.get('Host', '')}").host or "").lower()
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
