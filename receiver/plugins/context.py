"""What a handler may ask for besides the event: its optional second parameter.

The rule easiest to break: everything here belongs to one attempt of one run, so nothing of it is shared
between handlers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic

from typing_extensions import TypeVar

from receiver.plugins.settings import Settings

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable

    from structlog.typing import FilteringBoundLogger

    from receiver.effects import Outbox, Store
    from receiver.klen import Klen
    from receiver.outbound import Outbound

T = TypeVar("T")
S_co = TypeVar("S_co", bound=Settings, default=Settings, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Context(Generic[S_co]):
    """Write `ctx: Context`, or `ctx: Context[MySettings]` to get settings of your own."""

    event_id: str
    """Which event this is, as in `klenhook log show EVENT_ID`."""
    attempt: int
    """Which call for this event this is: 1 for the first, more after a failure or a crash."""
    handler: str
    """The handler's name."""
    settings: S_co
    """Your `Settings`, filled from `[handlers.<name>]`."""
    log: FilteringBoundLogger
    """A structured logger that adds the handler, the event and the attempt: `ctx.log.info("sent", to=3)`."""
    store: Store
    """A key-value store of this handler's own; what is set takes effect when the run is done."""
    outbox: Outbox
    """Messages to other services, sent after the run is done, each exactly once in effect."""
    http: Outbound
    """An HTTP client that cannot be talked into reaching private addresses."""
    klen: Klen
    """The API of the Klen account that the event came from; needs `api_key` of its source."""
    replayed: bool = False
    """True when somebody asked for this event again: it is not news."""
    loop: AbstractEventLoop = field(default_factory=asyncio.get_running_loop, repr=False)
    """The service's event loop, which `wait` uses."""

    def wait(self, awaitable: Awaitable[T]) -> T:
        """In a plain function: run something async on the service's loop and give its result.

        `count = ctx.wait(ctx.store.get("count", 0))`. An async handler writes `await` instead.

        Raises:
            RuntimeError: called from an async handler, which it would block for ever.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self.loop:
            raise RuntimeError("ctx.wait is for plain functions; in an async handler write `await ...`")

        async def waited() -> T:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(waited(), self.loop).result()

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt: hand it to services that recognise a repeated request by such a key."""
        return f"{self.event_id}:{self.handler}"
