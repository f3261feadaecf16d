"""One call of a handler, made as the service makes it, with everything it did as a value.

The rule easiest to break: what a handler raises is a result, and what it staged counts only when it is done.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from yarl import URL

from receiver import logs
from receiver.config import Dispatch, resolve_secret
from receiver.effects import Outbox, Staged, Store
from receiver.errors import ConfigError
from receiver.events import AnyCalendarEvent
from receiver.klen import Klen, NoTransport
from receiver.outbound import Answer, FailedAnswer, Outbound, Refused
from receiver.plugins import Context, Settings
from receiver.plugins.api import mark_of
from receiver.plugins.handler import handler_from
from receiver.plugins.settings import SettingsError, fill
from receiver.retry import Discard, Retry
from receiver.threads import ThreadCall
from storage.work import StoredValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from receiver.events import AnyEvent
    from receiver.plugins import Handler

LOOPBACK: Final = ("127.0.0.0/8", "::1")


@dataclass(frozen=True, slots=True)
class Message:
    """A message that the outbox would send."""

    url: str
    json: Any
    """The body."""
    headers: Mapping[str, str]
    """Those the handler gave."""
    key: str
    """Tells the message from every other, and is the same whenever the event is delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """How a call ended, and what it did."""

    outcome: Literal["done", "retry", "discarded", "failed", "ignored"]
    """`retry` and `discarded` are what the handler asked for, `failed` is anything else it raised, a timeout
    included. `ignored`: it was not called, since the event is none it marked, or `where` says no."""
    error: BaseException | None = None
    """What was raised."""
    retry_after: float | None = None
    """Seconds: what `Retry` named, or for `failed`, what the server asked for whose answer was raised."""
    store: dict[str, Any] = field(default_factory=dict)
    """What the handler's store holds afterwards; as before, unless it is done."""
    writes: dict[str, Any] = field(default_factory=dict)
    """What it set; None for a key it deleted. Empty unless it is done."""
    messages: tuple[Message, ...] = ()
    """What would be sent. Empty unless it is done."""


class LocalHttp(Outbound):
    """`ctx.http` that reaches servers on this machine and nothing else."""

    def __init__(self) -> None:
        super().__init__(LOOPBACK, timeout_seconds=5)

    async def request(self, method: str, url: str, **options: Any) -> Answer:
        """See `Outbound.request`.

        Raises:
            Refused: the host is not a loopback address or localhost, too.
        """
        if not _is_local(url):
            raise Refused(
                "In a test, ctx.http reaches this machine only; start a server on 127.0.0.1 and set its "
                "address in the handler's settings, or hand deliver(...) another http=."
            )
        return await super().request(method, url, **options)


async def deliver(
    handler: Callable[..., object],
    event: AnyEvent,
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    store: Mapping[str, Any] | None = None,
    attempt: int = 1,
    replayed: bool = False,
    http: Outbound | None = None,
    klen: Klen | None = None,
) -> Delivered:
    """Call a handler for an event once, as the service would, and tell how that ended.

    Args:
        handler: A function marked with `@on(...)`. Its `where` is asked and its timeout kept.
        event: What `sample` gives, or any typed event.
        settings: The handler's own, or the table `[handlers.<name>]` as a dict, checked as at the start.
        store: What its store holds; `Delivered.store` of one call is the next one's.
        attempt: Which call for the event this is.
        replayed: Whether somebody asked for the event again.
        http: An opened client for `ctx.http`. By default one that reaches this machine only.
        klen: A client for `ctx.klen`, over a transport of the test's own. By default there is no API to ask.

    Raises:
        TypeError: it is no handler, or `settings` are of another class.
        ConfigError: the table does not fit the handler's Settings.
    """
    marked = _handler(handler, settings)
    given = _given(marked, event)
    if not given:
        return Delivered(outcome="ignored", store=dict(store or {}))
    before = {key: json.dumps(value, allow_nan=False) for key, value in (store or {}).items()}

    async def read(key: str) -> StoredValue:
        return StoredValue(before.get(key), 1 if key in before else None)

    staged = Staged()
    async with AsyncExitStack() as stack:
        client: Outbound = http if http is not None else await stack.enter_async_context(LocalHttp())
        context: Context[Any] = Context(
            event_id=event.event_id,
            attempt=attempt,
            handler=marked.name,
            settings=marked.settings,
            log=logs.get("handler").bind(handler=marked.name, event_id=event.event_id, attempt=attempt),
            store=Store(staged, read),
            outbox=Outbox(staged),
            http=client,
            klen=klen or Klen(NoTransport("Hand deliver(...) a client as klen=, such as of a local Klen.")),
            replayed=replayed,
        )
        ending = await _call(marked, given, context)
    if ending.outcome != "done":
        return replace(ending, store=_values(before))
    return replace(
        ending,
        store=_values({**before, **staged.writes}),
        writes={key: None if text is None else json.loads(text) for key, text in staged.writes.items()},
        messages=_messages(staged, context.idempotency_key),
    )


def _handler(function: Callable[..., object], settings: Settings | Mapping[str, Any] | None) -> Handler:
    """The handler that the service would make of a function."""
    mark = mark_of(function)
    if mark is None:
        raise TypeError("deliver(...) takes a function with @on(...) above it, as a plugin has them.")
    function_of_mark: Any = function
    handler = handler_from(
        function_of_mark,
        mark,
        origin="plugins",
        file=Path(function_of_mark.__code__.co_filename),
        code_version="",
        dispatch=Dispatch(),
    )
    if isinstance(settings, Settings):
        if not isinstance(settings, handler.settings_class):
            raise TypeError(
                f"settings: expected {handler.settings_class.__name__}, found {type(settings).__name__}"
            )
        return replace(handler, settings=settings)
    resolve = partial(resolve_secret, base=Path.cwd(), environ=os.environ)
    try:
        filled = fill(handler.settings_class, settings or {}, table=f"handlers.{mark.name}", resolve=resolve)
    except SettingsError as error:
        raise ConfigError(error.mistakes, source="settings=") from None
    return replace(handler, settings=filled)


def _given(handler: Handler, event: AnyEvent) -> list[AnyEvent]:
    """What the service would call the handler with; it does when `where` fails."""
    if isinstance(event, AnyCalendarEvent):
        given = handler.given(event, event.changes, known=event.known)
    else:
        given = handler.given(event)
    try:
        return given if handler.where is None or any(handler.where(one) for one in given) else []
    except Exception:  # noqa: BLE001 -- the plugin's code; rather one event too many
        return given


async def _call(handler: Handler, events: Sequence[AnyEvent], context: Context[Any]) -> Delivered:
    more = (context,) if handler.takes_context else ()
    task = asyncio.current_task()
    try:
        async with asyncio.timeout(handler.timeout):
            for event in events:
                if handler.is_async:
                    await handler.function(event, *more)
                else:
                    await ThreadCall(handler.function, event, *more, name=f"klenhook-{handler.name}").result()
    except Retry as verb:
        return Delivered(outcome="retry", error=verb, retry_after=verb.after)
    except Discard as verb:
        return Delivered(outcome="discarded", error=verb)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and task and task.cancelling():
            raise  # it is the test that is being stopped
        return Delivered(
            outcome="failed",
            error=error,
            retry_after=error.retry_after if isinstance(error, FailedAnswer) else None,
        )
    return Delivered(outcome="done")


def _values(texts: Mapping[str, str | None]) -> dict[str, Any]:
    return {key: json.loads(text) for key, text in texts.items() if text is not None}


def _messages(staged: Staged, key: str) -> tuple[Message, ...]:
    return tuple(
        Message(
            url=message.url,
            json=json.loads(message.body),
            headers=json.loads(message.headers),
            key=f"{key}:{number}",
        )
        for number, message in enumerate(staged.messages, 1)
    )


def _is_local(url: str) -> bool:
    try:
        host = URL(url).host or ""
        return host == "localhost" or ip_address(host).is_loopback
    except (ValueError, TypeError):
        return False
