"""The client: one request, one whole answer, within a time and a size.

Redirects are not followed: what a stranger's server names is a stranger's URL again, for the caller to judge.
Proxies, .netrc and cookies are not used. The rule easiest to break: errors of aiohttp quote whole URLs, so
none of them may get out, not even as the cause of one of ours.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack

import aiohttp

from receiver.clock import SystemClock
from receiver.outbound.answer import Answer, retry_after_seconds
from receiver.outbound.errors import AnswerTooLarge, OutboundError, TimedOut, Unreachable, UnreadableAnswer
from receiver.outbound.guard import Guard, GuardedResolver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from yarl import URL

    from receiver.clock import Clock

CONNECT_SECONDS: Final = 10.0
"""For the name, the connection and TLS. Who is there answers much sooner; the rest is for the answer."""
KEEPALIVE_SECONDS: Final = 4.0
"""Common servers close an idle connection after 5 s, and a request that meets the closing is lost."""


class Options(TypedDict, total=False):
    """What `get`, `post` and the others take besides the URL."""

    json: Any
    """Sent as JSON."""
    data: bytes | str | Mapping[str, str] | None
    """Sent as it is, or as a form if it is a mapping."""
    headers: Mapping[str, str] | None
    """Sent besides those that HTTP needs."""
    params: Mapping[str, str | int | float] | None
    """Added to the URL's query."""
    timeout: float | None
    """Seconds for everything, instead of the client's own."""


class Outbound:
    """HTTP to the outside, as `ctx.http`: `answer = await ctx.http.post(url, json={...})`.

    It opens as many connections as it has requests at once; whoever calls it limits these. One for the
    service, as `async with Outbound(allow) as http`.
    """

    def __init__(
        self,
        allow: Sequence[str] = (),
        *,
        timeout_seconds: float = 30,
        max_answer_bytes: int = 1_048_576,
        clock: Clock | None = None,
    ) -> None:
        """`allow` is `outbound.allow` of the configuration; `max_answer_bytes` counts decompressed ones."""
        self._guard = Guard(allow)
        self._timeout_seconds = timeout_seconds
        self._max_answer_bytes = max_answer_bytes
        self._clock = clock or SystemClock()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        """Open it."""
        connector = aiohttp.TCPConnector(
            resolver=GuardedResolver(self._guard),
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=KEEPALIVE_SECONDS,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "klenhook"},
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS),
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close every connection."""
        await self._session.close()

    async def get(self, url: str, **options: Unpack[Options]) -> Answer:
        """See `request`."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Unpack[Options]) -> Answer:
        """See `request`."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Unpack[Options]) -> Answer:
        """See `request`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Unpack[Options]) -> Answer:
        """See `request`."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Unpack[Options]) -> Answer:
        """See `request`."""
        return await self.request("DELETE", url, **options)

    async def request(
        self,
        method: str,
        url: str,
        *,
        json: Any = None,
        data: bytes | str | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int | float] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 -- what people look for in an HTTP client
    ) -> Answer:
        """Send a request and read the answer, whatever its status; see `Answer.raise_for_status`.

        The options are those of `Options`.

        Raises:
            Refused: handlers may not reach the destination. Nothing was sent.
            Unreachable, TimedOut, AnswerTooLarge, UnreadableAnswer: there is no whole answer.
            OutboundError: method, headers, query or body are not what HTTP can carry.
        """
        target = self._guard.check(url)
        origin = str(target.origin())
        seconds = self._timeout_seconds if timeout is None else timeout
        options = {"json": json, "data": data, "headers": headers, "params": params}
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(method, target, origin, options)
        except TimeoutError:
            raise TimedOut(
                f"{origin} gave no answer within {seconds:g} s, "
                f"or no connection within {min(seconds, CONNECT_SECONDS):g} s."
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _translated(error, origin) from None

    async def _exchange(self, method: str, target: URL, origin: str, options: dict[str, Any]) -> Answer:
        async with self._session.request(method, target, allow_redirects=False, **options) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > self._max_answer_bytes:
                    response.close()
                    raise AnswerTooLarge(
                        f"{origin} answered {response.status} with more than {self._max_answer_bytes} bytes."
                    )
            return Answer(
                status=response.status,
                headers=response.headers,
                body=bytes(body),
                origin=origin,
                retry_after=retry_after_seconds(response.headers, self._clock.now_ms() / 1000),
            )


def _translated(error: Exception, origin: str) -> OutboundError:
    """Our error for one of aiohttp's or the system's."""
    if isinstance(error, (aiohttp.ClientConnectionError, OSError)):
        return Unreachable(f"{origin} cannot be reached: {_reason(error)}.")
    if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ClientResponseError)):
        return UnreadableAnswer(f"{origin} did not answer in whole and valid HTTP.")
    return OutboundError(
        f"This request to {origin} cannot be sent. Expected a method, headers and a query that HTTP can "
        "carry, and json or data, not both."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return getattr(error.certificate_error, "verify_message", "") or "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host's name does not resolve"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "it does not speak TLS as expected"
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.os_error.errno) if error.os_error.errno else "no connection"
    return "the connection was closed before an answer"
