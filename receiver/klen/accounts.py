"""The clients of all configured accounts: one for each source, with one limit of requests for each key.

The rule easiest to break: these connections may reach the API hosts that the operator has configured, private
ones included, and nothing else may go through them.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, Self

from yarl import URL

from receiver.klen.client import Klen
from receiver.klen.errors import MissingKey
from receiver.klen.transport import TRIES, ApiTransport
from receiver.outbound import Outbound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from receiver.clock import Clock
    from receiver.config import Source
    from receiver.klen.transport import Request

LARGEST_ANSWER: Final = 16 * 1024 * 1024
ANSWER_SECONDS: Final = 30.0
HANDLER_PATIENCE: Final = 10.0
"""Seconds that a handler's request waits when there were too many; its run is better tried again later."""


class Accounts:
    """`async with Accounts(config.sources, clock) as accounts: accounts.of("klen")`."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        clock: Clock,
        *,
        patience_seconds: float = HANDLER_PATIENCE,
        tries: int = TRIES,
    ) -> None:
        """How long a request waits that was too many, and how often one is sent that may be repeated."""
        self._sources = sources
        self._clock = clock
        self._patience = patience_seconds
        self._tries = tries
        self._stack = AsyncExitStack()
        self._transports: dict[tuple[str, str, str, int], ApiTransport] = {}
        self._http: dict[str, Outbound] = {}

    async def __aenter__(self) -> Self:
        """Connections are made when they are needed."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Close them."""
        await self._stack.aclose()

    def replace(self, sources: Mapping[str, Source]) -> None:
        """Go by these from the next client on."""
        self._sources = sources

    async def _connected(self, host: str) -> Outbound:
        """What reaches this host, and no private one besides."""
        if host not in self._http:
            http = Outbound(
                [host],
                timeout_seconds=ANSWER_SECONDS,
                max_answer_bytes=LARGEST_ANSWER,
                clock=self._clock,
            )
            self._http[host] = await self._stack.enter_async_context(http)
        return self._http[host]

    def of(self, name: str, *, patience_seconds: float | None = None) -> Klen:
        """The client of a source. One that is not configured, or has no key, says so when it is used."""
        if name not in self._sources:
            return Klen(NoTransport(f"There is no source {name} any more."))
        transport = self.transport(name)
        return Klen(transport if patience_seconds is None else transport.patient(patience_seconds))

    @property
    def with_key(self) -> list[str]:
        """The sources whose API can be asked."""
        return [name for name, source in self._sources.items() if source.api_key.get_secret_value()]

    def transport(self, name: str) -> ApiTransport:
        """What sends requests for a source that is configured.

        Raises:
            KeyError: it is not.
        """
        source = self._sources[name]
        api_key = source.api_key.get_secret_value()
        # Without a key the name matters, which the error tells.
        key = (source.api_url, api_key, "" if api_key else name, source.api_requests_per_minute)
        if key not in self._transports:
            self._transports[key] = ApiTransport(
                partial(self._connected, URL(source.api_url).host or ""),
                source.api_url,
                api_key,
                source=name,
                per_minute=source.api_requests_per_minute,
                patience_seconds=self._patience,
                tries=self._tries,
            )
        return self._transports[key]


class NoTransport:
    """Where there is no API to ask, and why."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def send(self, request: Request) -> Any:
        """See `Transport.send`."""
        raise MissingKey(f"{request.method} {request.path} cannot be sent. {self._why}")
