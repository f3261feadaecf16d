"""A handler as the service runs it: the function, its mark, and what the configuration made of both.

The rule easiest to break: what the operator writes in `[handlers.<name>]` counts more than `on(...)`, which
counts more than `[dispatch]`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from receiver.events import (
    EVENT_TYPES,
    AnyCalendarEvent,
    AnyChange,
    Overdue,
    UnknownEvent,
    event_class,
    given,
)
from receiver.plugins.settings import Settings
from receiver.plugins.signature import settings_class_of, takes_context
from receiver.retry import RetryPolicy
from receiver.takers import ChangeKind, Interest, Taker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import FunctionType

    from receiver.config import Dispatch, HandlerTable
    from receiver.events import AnyEvent
    from receiver.events.calendar import Known
    from receiver.plugins.api import Mark, Stale
    from storage.calendar import ChangeRecord

Origin = Literal["built-in", "plugins", "installed"]

ISOLATED_AT_ONCE: Final = 4
"""Processes that an isolated handler gets unless it says otherwise; each takes some 60 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One function with a name, the events it wants, and how it is run."""

    name: str
    function: Callable[..., Any]
    """`(event)` or `(event, ctx)`."""
    events: tuple[type[AnyEvent], ...]
    """The classes `on` was given."""
    takes_context: bool
    """Whether it is called with a `Context`."""
    settings_class: type[Settings]
    """What its second parameter names; plain `Settings`, without any field, when it names none."""
    settings: Settings
    """Filled from its table. Of a handler that is switched off, it is empty."""
    is_async: bool
    """False: it blocks, and runs in a thread."""
    origin: Origin
    file: Path
    where: Callable[[Any], object] | None
    """Of the events it wants, those for which this is true. It is the plugin's code and may raise."""
    retry: RetryPolicy
    timeout: float
    """Seconds for one call."""
    ordered: bool
    """Whether its events about one subject wait for each other."""
    stale: Stale
    """What to do with an event that is older than what the log knows already."""
    isolate: bool
    """Whether it is called in a process of its own."""
    concurrency: int | None
    """Calls at once; None is as many as there is room for."""
    enabled: bool
    """False: events are not given to it."""
    paused: bool
    """True: it is given events, and they wait."""
    code_version: str
    """The beginning of the SHA-256 of its file, in hex."""

    @property
    def interest(self) -> Interest:
        """The events that are its own, before `where` is asked."""
        return _interest_in(self.events)

    @property
    def taker(self) -> Taker:
        """What routing needs to know of it."""
        return Taker(
            self.name, self.interest, self.ordered, self.stale == "skip", asks=self.where is not None
        )

    def given(
        self,
        event: AnyEvent,
        changes: Sequence[ChangeRecord] = (),
        verdict: str | None = None,
        known: Known = None,
    ) -> list[AnyEvent]:
        """What the function is called with for an event, one after the other; nothing if it is not its own.

        Routing has found changes and verdict; `known` is the state as it was after this event, or reads it.
        """
        if isinstance(event, AnyCalendarEvent):
            event.know(changes, known)
            if verdict == "stale" and self.stale == "merge":
                event = event.model_copy(update={"calendar_event": event.state})
        return given(self.events, event)


@cache
def _interest_in(classes: tuple[type[AnyEvent], ...]) -> Interest:
    """The events that are read as one of these classes, and the changes that are."""
    return Interest(
        types=frozenset(
            name for name in (*EVENT_TYPES, Overdue.type_name) if issubclass(event_class(name), classes)
        ),
        others=issubclass(UnknownEvent, classes),
        changes=tuple(ChangeKind(cls.names, cls.paths) for cls in classes if issubclass(cls, AnyChange)),
    )


def handler_from(
    function: FunctionType, mark: Mark, *, origin: Origin, file: Path, code_version: str, dispatch: Dispatch
) -> Handler:
    """The handler that a marked function is, before its own table is read.

    Raises:
        PluginError: the annotation of its second parameter cannot be used.
    """
    return Handler(
        name=mark.name,
        function=function,
        events=mark.events,
        takes_context=takes_context(function),
        settings_class=settings_class_of(function),
        settings=Settings(),
        # A wrapper made with functools.wraps around an async function hands its coroutine on.
        is_async=inspect.iscoroutinefunction(inspect.unwrap(function)),
        origin=origin,
        file=file,
        where=mark.where,
        retry=mark.retry or RetryPolicy(**dispatch.retry.model_dump()),
        timeout=mark.timeout or dispatch.timeout_seconds,
        ordered=mark.ordered,
        stale=mark.stale,
        isolate=mark.isolate,
        concurrency=ISOLATED_AT_ONCE if mark.isolate and mark.concurrency is None else mark.concurrency,
        enabled=True,
        paused=False,
        code_version=code_version,
    )


def overridden(handler: Handler, table: HandlerTable) -> Handler:
    """The handler with what its table says; the settings are left as they are."""
    retry = table.retry.model_dump(exclude_none=True) if table.retry else {}
    return replace(
        handler,
        retry=replace(handler.retry, **retry),
        timeout=handler.timeout if table.timeout is None else table.timeout,
        ordered=handler.ordered if table.ordered is None else table.ordered,
        stale=handler.stale if table.stale is None else table.stale,
        concurrency=handler.concurrency if table.concurrency is None else table.concurrency,
        enabled=table.enabled,
        paused=table.paused,
    )
