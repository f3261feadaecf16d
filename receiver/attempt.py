"""One call of a handler, guarded: an event goes in, an `Ending` comes out, whatever the handler does.

The rule easiest to break: an async handler is awaited directly inside the guard, never in a task of its own
(`asyncio.wait_for` makes one on Python 3.11). SystemExit in a task ends the whole service, whatever the
waiting code catches.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from receiver import logs
from receiver.clock import to_datetime
from receiver.effects import Outbox, Staged, Store
from receiver.events import parse_event
from receiver.isolation.klen import answer_for
from receiver.klen.errors import KlenError
from receiver.outbound import FailedAnswer
from receiver.plugins import Context
from receiver.retry import Discard, Retry
from receiver.state import encode
from receiver.threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from receiver.asof import StatesAsOf
    from receiver.events import AnyEvent
    from receiver.isolation.pool import Isolated
    from receiver.isolation.reply import Reply
    from receiver.klen import Accounts
    from receiver.outbound import Outbound
    from receiver.plugins import Handler
    from storage.reader import EventReader
    from storage.work import Claimed, Effects

LONGEST_ERROR: Final = 4_000
"""Characters of an attempt's error that are kept: its head, and the end of the traceback."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What every handler may use."""

    log: EventReader
    states: StatesAsOf
    http: Outbound
    accounts: Accounts
    isolated: Isolated


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended."""

    state: Literal["done", "retrying", "postponed", "discarded", "dead"]
    """`postponed` is a retry that the handler asked for: it spends no try."""
    error: str | None = None
    wait: float | None = None
    """Seconds until the next attempt, for `retrying` and `postponed`."""
    effects: Effects | None = None
    """What to commit, for `done`."""


class Attempt:
    """A claimed run and its handler."""

    def __init__(self, handler: Handler, run: Claimed, tools: Tools, randomness: Callable[[], float]) -> None:
        self._handler = handler
        self._run = run
        self._tools = tools
        self._staged = Staged()
        self._randomness = randomness
        self.thread: ThreadCall | None = None
        """The call of a plain function. It may still run after the attempt has ended."""

    async def make(self, *, stopping: Callable[[], bool]) -> Ending:  # noqa: PLR0911 -- one per way to end
        """Call the handler.

        Raises:
            CancelledError: only when `stopping` says that the cancellation is the service's own.
        """
        if self._run.tries > self._handler.retry.tries:
            return Ending("dead", f"Each of its {self._handler.retry.tries} tries ended with the process.")
        try:
            return await self._call()
        except Retry as verb:
            return self._postponed(verb.after, verb.reason)
        except Discard as verb:
            return Ending("discarded", verb.reason or None)
        except asyncio.CancelledError:
            if stopping():
                raise
            return self._failed("CancelledError: the handler cancelled itself.")
        except (FailedAnswer, KlenError) as error:
            return self._failed(self._describe(error), least_wait=error.retry_after or 0)
        except BaseException as error:  # noqa: BLE001 -- a handler may raise anything, SystemExit included
            return self._failed(self._describe(error))

    async def _call(self) -> Ending:
        handler = self._handler
        if handler.isolate:
            run = self._run._replace(state=await self._state())
            return self._ended(await self._tools.isolated.call(handler, run, services=self._serve))
        events = handler.given(self._event(), self._run.changes, self._run.verdict, self._state_now)
        if not events:
            wanted = ", ".join(kind.__name__ for kind in handler.events)
            return Ending("discarded", f"The body cannot be read as {wanted}.")
        context = (self._context(),) if handler.takes_context else ()
        async with asyncio.timeout(handler.timeout):
            for event in events:
                if handler.is_async:
                    await handler.function(event, *context)
                else:
                    self.thread = ThreadCall(
                        handler.function, event, *context, name=f"klenhook-{handler.name}"
                    )
                    await self.thread.result()
        return Ending("done", effects=self._staged.effects())

    async def _state(self) -> str | None:
        """What was known of the calendar event after this event, as JSON."""
        run = self._run
        if run.state is not None:
            return run.state
        known = await self._tools.states.of(run)
        return None if known is None else encode(known)

    def _state_now(self) -> dict[str, Any] | None:
        """The same, when a handler asks for `event.state`; at the last event about it, it is at hand."""
        run = self._run
        if run.state is None:
            return self._tools.states.now(run)
        known: dict[str, Any] = json.loads(run.state)
        return known

    def _ended(self, reply: Reply) -> Ending:
        """What the end of a call in another process means for the run."""
        if reply.ending == "retry":
            return self._postponed(reply.after, reply.text)
        if reply.ending == "discard":
            return Ending("discarded", reply.text)
        if reply.ending == "done":
            return Ending("done", effects=reply.effects)
        return self._failed(reply.text or "The process ended.", least_wait=reply.after or 0)

    async def _serve(self, name: str, arguments: dict[str, Any]) -> Any:
        """What a handler in another process asks for: the keys of its store, and requests to Klen."""
        if name == "klen.send":
            return await answer_for(self._tools.accounts.of(self._run.source), arguments)
        if name != "store.get":
            raise LookupError(f"there is no {name}")
        found = await self._tools.log.stored(self._run.handler, str(arguments["key"]))
        return found._asdict()

    def _postponed(self, after: float | None, reason: str | None) -> Ending:
        wait = after if after is not None else self._next_wait()
        return Ending("postponed", reason or None, self._handler.retry.cap if wait is None else wait)

    def _event(self) -> AnyEvent:
        run = self._run
        return parse_event(
            run.body,
            event_id=run.event_id,
            source=run.source,
            received_at=to_datetime(run.received_at_ms),
            origin=run.origin,
            delivery_id=run.delivery_id,
        )

    def _context(self) -> Context:
        run = self._run
        return Context(
            event_id=run.event_id,
            attempt=run.attempt,
            handler=run.handler,
            settings=self._handler.settings,
            log=logs.get("handler").bind(handler=run.handler, event_id=run.event_id, attempt=run.attempt),
            store=Store(self._staged, lambda key: self._tools.log.stored(run.handler, key)),
            outbox=Outbox(self._staged),
            http=self._tools.http,
            klen=self._tools.accounts.of(run.source),
            replayed=run.replay_id is not None,
        )

    def _next_wait(self) -> float | None:
        return self._handler.retry.delay(self._run.tries, self._randomness)

    def _failed(self, error: str, *, least_wait: float = 0) -> Ending:
        """A failure. The other side may have said how long to leave it alone (`Retry-After`)."""
        wait = self._next_wait()
        return Ending("dead", error) if wait is None else Ending("retrying", error, max(wait, least_wait))

    def _describe(self, error: BaseException) -> str:
        """Its type and text, then where it came from. It may quote personal data: for the log alone."""
        if isinstance(error, TimeoutError) and not str(error):
            return f"TimeoutError: it took longer than {self._handler.timeout:g} s."
        try:
            head = f"{type(error).__name__}: {error}"
            trace = "".join(traceback.format_exception(error))
        except BaseException as second:  # noqa: BLE001 -- an exception's own __str__ may raise, too
            return f"{type(error).__name__}: (its text cannot be shown: {type(second).__name__})"
        half = LONGEST_ERROR // 2
        return f"{head[:half]}\n{trace[-half:]}".encode("utf-8", "backslashreplace").decode()
