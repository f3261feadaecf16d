"""The arguments of `on`: what cannot work, each case with the sentence that says what to write instead."""

from __future__ import annotations

import inspect
import math
import re
from typing import Final, TypeGuard, get_args

from receiver.errors import PluginError
from receiver.events import EVENT_TYPES, AnyEvent
from receiver.retry import RetryPolicy

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_TAKEN: Final = {"plugins_dir"}
"""Keys of `[handlers]` itself, where each handler has its table."""


def event_classes(events: tuple[object, ...]) -> tuple[type[AnyEvent], ...]:
    """The classes `on` was given, each once.

    Raises:
        PluginError: there is none, or something else among them.
    """
    if not events:
        raise PluginError("on() names no event; write on(CalendarCreated), or on(AnyEvent) for every event.")
    for event in events:
        if not (isinstance(event, type) and issubclass(event, AnyEvent)):
            raise PluginError(f"on(...) takes event classes, found {described(event)}; {_instead(event)}")
    return tuple(dict.fromkeys(event for event in events if isinstance(event, type)))


def _instead(event: object) -> str:
    if isinstance(event, str) and event in EVENT_TYPES:
        known = EVENT_TYPES[event].__name__
        return f"write on({known}), after: from receiver import {known}."
    if isinstance(event, AnyEvent):
        return f"write the class itself, on({type(event).__name__})."
    if isinstance(event, (list, tuple, set, frozenset)) or get_args(event):
        return "name the classes one by one: on(CalendarCreated, CalendarUpdated)."
    return "write for example @on(CalendarCreated), after: from receiver import CalendarCreated, on."


def described(thing: object) -> str:
    """A few words for a value in a message: what it is, without its content."""
    if isinstance(thing, str):
        return f"the text {thing!r}"
    if inspect.isfunction(thing):
        return f"the function {thing.__name__}"
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return f"an object of type {type(thing).__name__}"


def handler_name(name: object) -> str:
    """The name, which has to serve as a TOML key, in an environment variable and in an HTTP header.

    Raises:
        PluginError: it cannot.
    """
    if isinstance(name, str) and _NAME.fullmatch(name) and name not in _TAKEN:
        return name
    raise PluginError(
        f'a handler cannot have the name {name!r}; give it one with on(..., name="greet"): up to 64 letters, '
        "digits, '_' and '-' of ASCII, beginning with a letter or '_', and not 'plugins_dir'."
    )


def check_options(
    where: object,
    retry: object,
    timeout: object,
    ordered: object,
    stale: object,
    concurrency: object,
    isolate: object,
) -> None:
    """Raise a PluginError for the first option of `on` that has no usable value."""
    if where is not None and (not callable(where) or inspect.iscoroutinefunction(where)):
        raise PluginError("on(where=...) takes a plain function of the event that gives True or False.")
    if retry is not None and not isinstance(retry, RetryPolicy):
        raise PluginError(f"on(retry=...) takes a RetryPolicy such as RetryPolicy(tries=3), found {retry!r}.")
    if timeout is not None and not (_is_number(timeout) and timeout > 0):
        raise PluginError(f"on(timeout=...) takes seconds, more than 0, found {timeout!r}.")
    if not isinstance(ordered, bool):
        raise PluginError(f"on(ordered=...) takes True or False, found {ordered!r}.")
    if stale not in ("skip", "run", "merge"):
        raise PluginError(f"on(stale=...) takes 'skip', 'run' or 'merge', found {stale!r}.")
    if not isinstance(isolate, bool):
        raise PluginError(f"on(isolate=...) takes True or False, found {isolate!r}.")
    if concurrency is not None and not (_is_number(concurrency, whole=True) and concurrency >= 1):
        raise PluginError(f"on(concurrency=...) takes a whole number from 1, found {concurrency!r}.")


def _is_number(value: object, *, whole: bool = False) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return False
    return math.isfinite(value)
