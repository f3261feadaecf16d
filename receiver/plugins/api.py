"""How a plugin says that a function handles events: the mark `on` leaves on it.

`on` registers nothing, so importing a plugin has no effect and its functions stay ordinary functions, to be
called by a test. The rule easiest to break: a mistake is told where it is made, at the decorator, in a
sentence that says what to write instead.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, overload

from receiver.errors import PluginError
from receiver.events import AnyEvent
from receiver.plugins.checks import check_options, event_classes, handler_name
from receiver.plugins.signature import check_function

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from receiver.plugins.context import Context
    from receiver.plugins.settings import Settings
    from receiver.retry import RetryPolicy

E = TypeVar("E", bound=AnyEvent)
E2 = TypeVar("E2", bound=AnyEvent)
E3 = TypeVar("E3", bound=AnyEvent)
R = TypeVar("R")
Stale: TypeAlias = Literal["skip", "run", "merge"]
S = TypeVar("S", bound="Settings")

_ATTRIBUTE: Final = "__klenhook_mark__"
_MARKS: Final = "__klenhook_marks__"


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What `on` was told about a function. None leaves it to the configuration."""

    name: str
    """The handler's name; empty is the function's."""
    events: tuple[type[AnyEvent], ...]
    where: Callable[[Any], object] | None
    retry: RetryPolicy | None
    timeout: float | None
    ordered: bool
    stale: Stale
    concurrency: int | None
    isolate: bool


class Marker(Generic[E]):
    """What `on(...)` gives: put it above the function that handles these events."""

    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    @overload
    def __call__(self, function: Callable[[E], R], /) -> Callable[[E], R]: ...
    @overload
    def __call__(self, function: Callable[[E, Context[S]], R], /) -> Callable[[E, Context[S]], R]: ...
    def __call__(self, function: Callable[..., R], /) -> Callable[..., R]:
        """Leave the mark on the function and return it as it is.

        Raises:
            PluginError: it cannot be a handler; the message says why.
        """
        check_function(function)
        if mark_of(function) is not None:
            raise PluginError(
                f"{function.__name__} has on(...) twice; one decorator names all its events: on(A, B)."
            )
        mark = replace(self._mark, name=handler_name(self._mark.name or function.__name__))
        vars(function)[_ATTRIBUTE] = mark
        function.__globals__.setdefault(_MARKS, []).append(mark)
        return function


# One, two and three classes keep their exact union for type checkers; more of them are joined to AnyEvent.
@overload
def on(
    event: type[E],
    /,
    *,
    name: str | None = None,
    where: Callable[[E], object] | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    ordered: bool = True,
    stale: Stale = "skip",
    concurrency: int | None = None,
    isolate: bool = False,
) -> Marker[E]: ...
@overload
def on(
    event: type[E],
    second: type[E2],
    /,
    *,
    name: str | None = None,
    where: Callable[[E | E2], object] | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    ordered: bool = True,
    stale: Stale = "skip",
    concurrency: int | None = None,
    isolate: bool = False,
) -> Marker[E | E2]: ...
@overload
def on(
    event: type[E],
    second: type[E2],
    third: type[E3],
    /,
    *,
    name: str | None = None,
    where: Callable[[E | E2 | E3], object] | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    ordered: bool = True,
    stale: Stale = "skip",
    concurrency: int | None = None,
    isolate: bool = False,
) -> Marker[E | E2 | E3]: ...
@overload
def on(
    event: type[AnyEvent],
    second: type[AnyEvent],
    third: type[AnyEvent],
    fourth: type[AnyEvent],
    /,
    *more: type[AnyEvent],
    name: str | None = None,
    where: Callable[[AnyEvent], object] | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    ordered: bool = True,
    stale: Stale = "skip",
    concurrency: int | None = None,
    isolate: bool = False,
) -> Marker[AnyEvent]: ...
def on(
    *events: Any,
    name: str | None = None,
    where: Callable[[Any], object] | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    ordered: bool = True,
    stale: Stale = "skip",
    concurrency: int | None = None,
    isolate: bool = False,
) -> Marker[Any]:
    """Mark a function as the handler of these events: `@on(CalendarCreated)`, `@on(CallEnded, CallFailed)`.

    The function takes the event, and a `Context` if it has a second parameter. An `async def` runs in the
    event loop, a plain `def` in a thread. Returning is done; `raise Retry(after=60)` is later, `raise
    Discard("why")` is never, and any other exception is tried again by the policy. One decorator names all
    the classes; a base class stands for its subclasses, `AnyEvent` for every event. What really changed has
    classes, too: `@on(Rescheduled)`, `@on(Changed("customer.email"))`. If one event is several of those, the
    function is called for each; if it is a webhook that was named, for that alone.

    Args:
        events: Event classes from `receiver`.
        name: The handler's name, in `[handlers.<name>]` and in the log. By default the function's.
        where: Only events for which this is true; a plain function, quick and without effects.
        retry: When to try again. By default `[dispatch] retry`.
        timeout: Seconds for one call. By default `[dispatch] timeout_seconds`.
        ordered: Whether events about the same appointment or call wait for each other.
        stale: What to do with an event that is older than what the log knows already: `skip` it, `run` on
            it as it is, or `merge` what is known into its `calendar_event`.
        concurrency: How many calls run at once. By default only `[dispatch] concurrency` limits it, or 4 if
            it is isolated.
        isolate: Call it in a process of its own, with a limit of memory; a crash or a call that blocks for
            ever harms nothing else. The first call takes some 0.3 s.

    All but `name`, `where` and `isolate` can be set in `[handlers.<name>]`, which wins.

    Raises:
        PluginError: something here cannot work; the message says what to write.
    """
    check_options(where, retry, timeout, ordered, stale, concurrency, isolate)
    return Marker(
        Mark(
            name="" if name is None else handler_name(name),
            events=event_classes(events),
            where=where,
            retry=retry,
            timeout=timeout,
            ordered=ordered,
            stale=stale,
            concurrency=concurrency,
            isolate=isolate,
        )
    )


def mark_of(thing: object) -> Mark | None:
    """The mark that `on` left on a function, or None."""
    mark = vars(thing).get(_ATTRIBUTE) if inspect.isfunction(thing) else None
    return mark if isinstance(mark, Mark) else None


def marks_made(namespace: Mapping[str, Any]) -> list[Mark]:
    """Every mark made in this module, also those on functions that no name refers to any more."""
    return list(namespace.get(_MARKS, ()))
