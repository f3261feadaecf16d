"""One request to Klen's API and its answer: the key, the limit of requests, and trying again.

What is tried again is what the vendor did not take (429), and, for requests that may be repeated, failures
of its own and missing answers. The rule easiest to break: after a missing answer the request may have taken
effect, so only the caller knows whether it may be sent once more.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential
from yarl import URL

from receiver.klen.errors import (
    FailedRequest,
    KlenError,
    MissingKey,
    NoAnswer,
    OddAnswer,
    RateLimited,
    ServerError,
    failure,
)
from receiver.outbound import AnswerTooLarge, OutboundError, UnreadableAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from receiver.outbound import Answer, Outbound

PER_MINUTE: Final = 60
"""`requests_per_minute_limit`: https://docs.klen.ai/api-reference/authentication"""
BURST: Final = 5
"""Requests that may follow each other at once. Together with the steady rate below, no minute has more than
the limit, however the vendor counts minutes."""
TRIES: Final = 5
LONGEST_PAUSE: Final = 30.0
"""Seconds between tries when the vendor names none."""
LONGEST_SILENCE: Final = 900.0
"""Seconds without any request, when there were too many. What asks for more is rather wrong."""
LONGEST_TEXT: Final = 300
_code = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked."""

    method: str
    path: str
    """Below the API's base address."""
    params: Mapping[str, str | int | float] | None = None
    json: Any = None
    repeatable: bool = True
    """Whether it may be sent again when it is unknown whether it took effect."""
    from_root: bool = False
    """The path is the whole one, beside the base address and not below it."""


class Transport(Protocol):
    """What the client needs of the network."""

    async def send(self, request: Request) -> Any:
        """The JSON of the answer.

        Raises:
            KlenError: there is none, or it is an error.
        """
        ...


class ApiTransport:
    """Requests with the API key of one source. All who use that key share one, for its limit."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Outbound]],
        api_url: str,
        api_key: str,
        *,
        source: str = "klen",
        per_minute: int = PER_MINUTE,
        patience_seconds: float = 10,
        tries: int = TRIES,
    ) -> None:
        """`connect` gives the connections; a wait longer than `patience_seconds` is left to the caller."""
        self._connect = connect
        self._base = api_url
        self._root = str(URL(api_url).origin())
        self._key = api_key
        self._source = source
        self._patience = patience_seconds
        self._tries = tries
        burst = min(BURST, per_minute)
        steady = max(per_minute - burst, 1)
        self._limiter = AsyncLimiter(burst, 60 * burst / steady)
        self._resume_at = 0.0
        self.requests = 0
        """How many were sent."""
        self.server_date: str | None = None
        """The vendor's time in its latest answer, as HTTP writes it."""

    def patient(self, seconds: float) -> Transport:
        """The same, for somebody with more time: with the same limit of requests."""
        return _Patient(self, seconds)

    async def send(self, request: Request, *, patience_seconds: float | None = None) -> Any:
        """See `Transport.send`."""
        patience = self._patience if patience_seconds is None else patience_seconds
        if not self._key:
            raise MissingKey(
                f"sources.{self._source}.api_key is not set, so Klen's API cannot be asked. "
                'Make a key in its dashboard and set it, such as "env:KLEN_API_KEY".'
            )
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: _worthwhile(error, request, patience)),
            wait=_pause,
            stop=stop_after_attempt(self._tries),
            reraise=True,
        )
        return await retrying(self._once, request, patience)

    async def _once(self, request: Request, patience: float) -> Any:
        loop = asyncio.get_running_loop()
        wait = self._resume_at - loop.time()
        if wait > patience:  # no use in asking: the vendor has said so
            raise failure(429, "rate_limit_exceeded", "This was asked too often before.", wait)
        await asyncio.sleep(wait)
        async with self._limiter:
            self.requests += 1
            answer = await self._answer(request)
        if answer.ok:
            return _json(answer)
        error = self._failure(answer)
        if isinstance(error, RateLimited):
            self._resume_at = loop.time() + min(error.retry_after or 1, LONGEST_SILENCE)
        raise error

    async def _answer(self, request: Request) -> Answer:
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        try:
            http = await self._connect()
            answer = await http.request(
                request.method,
                (self._root if request.from_root else self._base) + request.path,
                params=request.params,
                json=request.json,
                headers=headers,
            )
        except (AnswerTooLarge, UnreadableAnswer) as error:
            raise OddAnswer(str(error)) from None
        except OutboundError as error:
            raise NoAnswer(str(error)) from None
        self.server_date = answer.headers.get("Date")
        return answer

    def _failure(self, answer: Answer) -> FailedRequest:
        """The vendor's error, as much of it as can be read."""
        try:
            said = answer.json()
        except OutboundError:
            said = None
        said = said if isinstance(said, dict) else {}
        code, text = said.get("error"), said.get("message")
        text = text[:LONGEST_TEXT].replace(self._key, "********") if isinstance(text, str) else ""
        known = isinstance(code, str) and _code.fullmatch(code)
        return failure(answer.status, str(code) if known else "without a code", text, answer.retry_after)


@dataclass(frozen=True, slots=True)
class _Patient:
    """Sends by another one, and waits longer."""

    transport: ApiTransport
    seconds: float

    async def send(self, request: Request) -> Any:
        """See `Transport.send`."""
        return await self.transport.send(request, patience_seconds=self.seconds)


def _worthwhile(error: BaseException, request: Request, patience_seconds: float) -> bool:
    """Whether to try again."""
    if isinstance(error, RateLimited):
        return (error.retry_after or 0) <= patience_seconds
    return request.repeatable and isinstance(error, (ServerError, NoAnswer))


def _json(answer: Answer) -> Any:
    if not answer.body:
        return None
    try:
        return answer.json()
    except OutboundError as error:
        raise OddAnswer(str(error)) from None


_backoff = wait_random_exponential(multiplier=1, max=LONGEST_PAUSE)


def _pause(state: RetryCallState) -> float:
    """Seconds until the next try: what the vendor asked for, and a random time more each time."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, KlenError) else None
    jitter = _backoff(state)
    return jitter if asked is None else asked + min(jitter, 1.0)
