"""One call in the child: the event and the context are made, the handler is called, a `Reply` comes out.

Async functions run in the child's loop and plain ones in a thread, as they do in the service. The rule
easiest to break: a handler may fork, and the copy must end with the handler instead of answering as well.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import pickle
import traceback
from typing import TYPE_CHECKING, Any, Final, cast

from receiver import logs
from receiver.clock import to_datetime
from receiver.effects import Outbox, Staged, Store
from receiver.errors import ReceiverError
from receiver.events import parse_event
from receiver.isolation.channel import remote
from receiver.isolation.reply import Reply
from receiver.plugins import Context
from receiver.retry import Discard, Retry
from receiver.threads import ThreadCall
from storage.calendar import ChangeRecord
from storage.work import StoredValue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from receiver.isolation.messages import Message
    from receiver.klen import Klen
    from receiver.outbound import Outbound
    from receiver.plugins import Handler, Settings

LONGEST_TEXT: Final = 4_000
"""Characters that are told of an error or a reason."""
RESERVE_BYTES: Final = 4 * 2**20

_reserve = [bytearray(RESERVE_BYTES)]
"""Given back when a handler has used up the memory, so that there is enough to say so."""


async def make(handler: Handler, request: Message, http: Callable[[], Awaitable[Outbound]]) -> Reply:
    """Call the handler for the event of this request. Whatever it raises is in the reply.

    Raises:
        MemoryError: the process has reached its limit, so it is of no use any more.
    """
    staged = Staged()
    try:
        event = parse_event(
            base64.b64decode(request["body"]),
            event_id=request["event_id"],
            source=request["source"],
            received_at=to_datetime(request["received_at_ms"]),
            origin=request["origin"],
            delivery_id=request["delivery_id"],
        )
        events = handler.given(
            event,
            [ChangeRecord(**change) for change in request["changes"]],
            request["verdict"],
            lambda: json.loads(request["state"] or "null"),
        )
        if not events:
            wanted = ", ".join(kind.__name__ for kind in handler.events)
            return Reply("discard", f"The body cannot be read as {wanted}.")
        context = (_context(handler, request, staged, await http()),) if handler.takes_context else ()
        for one in events:
            await _call(handler, one, *context)
        return Reply("done", effects=staged.effects())
    except Retry as verb:
        return Reply("retry", _told(_text(verb.reason)) or None, after=verb.after)
    except Discard as verb:
        return Reply("discard", _told(_text(verb.reason)) or None)
    except BaseException as error:  # noqa: BLE001 -- a handler may raise anything, SystemExit included
        if _is_out_of_memory(error):
            raise MemoryError from None
        return Reply("failed", described(error), after=_wait(error))


async def _call(handler: Handler, *arguments: Any) -> None:
    if handler.is_async:
        with _Original():
            await handler.function(*arguments)
        return
    try:
        thread = ThreadCall(_plain, handler, arguments, name=f"klenhook-{handler.name}")
    except RuntimeError as error:  # "can't start new thread": there is no room for its stack
        raise MemoryError from error
    await thread.result()


def _plain(handler: Handler, arguments: tuple[Any, ...]) -> None:
    with _Original():
        handler.function(*arguments)


class _Original:
    """The plugin's part of a call. Only this process leaves it: a copy that was forked inside ends there."""

    def __enter__(self) -> None:
        self._pid = os.getpid()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if _is_out_of_memory(error):
            _reserve.clear()  # at once: the way from here to the reply takes memory already
        if os.getpid() != self._pid:
            os._exit(0 if kind is None else 1)


def _context(handler: Handler, request: Message, staged: Staged, http: Outbound) -> Context:
    """The handler's second parameter. What the service has to do for it goes by `remote`."""
    return Context(
        event_id=request["event_id"],
        attempt=request["attempt"],
        handler=handler.name,
        settings=_settings(handler, request),
        log=logs.get("handler").bind(
            handler=handler.name, event_id=request["event_id"], attempt=request["attempt"]
        ),
        store=Store(staged, _read_store),
        outbox=Outbox(staged),
        http=http,
        klen=cast("Klen", _LaterKlen()),
        replayed=request["replayed"],
    )


class _LaterKlen:
    """`ctx.klen`, imported when it is used: the library is large."""

    def __getattr__(self, name: str) -> Any:
        from receiver.isolation.klen import remote_klen  # noqa: PLC0415 -- as said above

        return getattr(remote_klen(), name)


async def _read_store(key: str) -> StoredValue:
    return StoredValue(**await remote("store.get", {"key": key}))


def _settings(handler: Handler, request: Message) -> Settings:
    """As the service has filled and checked them; nothing is validated a second time."""
    settings = handler.settings_class.__new__(handler.settings_class)
    settings.__setstate__(pickle.loads(base64.b64decode(request["settings"])))  # noqa: S301 -- the service's bytes
    return settings


def _is_out_of_memory(error: BaseException | None) -> bool:
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def _wait(error: BaseException) -> float | None:
    """What a server that answered `ctx.http` asked for, if that is what failed."""
    wait = getattr(error, "retry_after", None) if isinstance(error, ReceiverError) else None
    return wait if isinstance(wait, float) else None


def described(error: BaseException) -> str:
    """Its type and text, then where it came from."""
    try:
        return _told(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)))
    except BaseException as second:  # noqa: BLE001 -- an exception's own __str__ may raise, too
        return f"{type(error).__name__}: (its text cannot be shown: {type(second).__name__})"


def _text(reason: object) -> str:
    try:
        return str(reason)
    except BaseException as error:  # noqa: BLE001 -- as above
        return f"(its text cannot be shown: {type(error).__name__})"


def _told(head: str, trace: str = "") -> str:
    """A text that fits and can be stored: the beginning of the one, and the end of the other."""
    if not trace:
        return _storable(head)[:LONGEST_TEXT]
    half = LONGEST_TEXT // 2
    return f"{_storable(head)[:half]}\n{_storable(trace)[-half:]}"


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
