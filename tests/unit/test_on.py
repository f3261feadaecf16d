"""What `on` accepts, what it leaves on a function, and what it says about the rest."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from typing import Any

import pytest

from receiver import CalendarCreated, CalendarUpdated, Settings, on
from receiver.errors import PluginError
from receiver.events import parse_event
from receiver.plugins.api import mark_of


def test_on_returns_the_function_itself() -> None:
    """`on` marks a function and gives it back: the same object, still callable by a test."""

    def handler(event: CalendarCreated) -> str:
        return event.event_id

    assert handler is on(CalendarCreated)(handler)
    assert mark_of(handler) is not None
    assert mark_of(mark_of) is None


def test_a_class_twice_counts_once() -> None:
    """Naming an event twice changes nothing."""

    @on(CalendarCreated, CalendarCreated)
    def handler(event: CalendarCreated) -> None: ...

    mark = mark_of(handler)
    assert mark is not None
    assert (CalendarCreated,) == mark.events


def plain(event: Any) -> None: ...


async def asynchronous(event: Any) -> bool:
    return bool(event)


EVENT = parse_event(
    b'{"event_type": "x"}', event_id="e", source="klen", received_at=datetime(2025, 5, 1, tzinfo=UTC)
)


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        ((), {}, r"on\(\) names no event; write on\(CalendarCreated\)"),
        (
            ("calendar.created",),
            {},
            r"found the text 'calendar.created'; write on\(CalendarCreated\), after:",
        ),
        (
            ("calendar.create",),
            {},
            r"found the text 'calendar.create'; write for example @on\(CalendarCreated\)",
        ),
        ((plain,), {}, r"found the function plain; write for example @on\(CalendarCreated\)"),
        ((EVENT,), {}, r"found an object of type UnknownEvent; write the class itself, on\(UnknownEvent\)"),
        ((Settings,), {}, "found the class Settings; write for example"),
        (([CalendarCreated],), {}, "found an object of type list; name the classes one by one"),
        ((CalendarCreated | CalendarUpdated,), {}, "name the classes one by one"),
        ((CalendarCreated,), {"name": "two words"}, "a handler cannot have the name 'two words'"),
        ((CalendarCreated,), {"name": ""}, "a handler cannot have the name ''"),
        ((CalendarCreated,), {"name": "plugins_dir"}, "a handler cannot have the name 'plugins_dir'"),
        ((CalendarCreated,), {"where": "x"}, r"on\(where=...\) takes a plain function"),
        ((CalendarCreated,), {"where": asynchronous}, r"on\(where=...\) takes a plain function"),
        ((CalendarCreated,), {"retry": {"tries": 3}}, r"on\(retry=...\) takes a RetryPolicy"),
        ((CalendarCreated,), {"timeout": 0}, r"on\(timeout=...\) takes seconds, more than 0, found 0"),
        ((CalendarCreated,), {"timeout": float("inf")}, r"on\(timeout=...\)"),
        ((CalendarCreated,), {"timeout": True}, r"on\(timeout=...\)"),
        ((CalendarCreated,), {"ordered": "no"}, r"on\(ordered=...\) takes True or False"),
        (
            (CalendarCreated,),
            {"concurrency": 0},
            r"on\(concurrency=...\) takes a whole number from 1, found 0",
        ),
        ((CalendarCreated,), {"concurrency": 1.5}, r"on\(concurrency=...\)"),
    ],
)
def test_impossible_arguments(events: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    """What cannot work is refused at the decorator, with what to write instead."""
    with pytest.raises(PluginError, match=message):
        on(*events, **options)


def generator(event: Any) -> Any:
    yield event


async def async_generator(event: Any) -> Any:
    yield event


def nothing() -> None: ...


def three(event: Any, ctx: Any, more: Any) -> None: ...


def with_keyword(event: Any, *, more: Any) -> None: ...


def variadic(*events: Any) -> None: ...


@on(CalendarCreated)
def marked(event: Any) -> None: ...


class Class:
    def method(self, event: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (generator, "generator has a yield in it"),
        (async_generator, "async_generator has a yield in it"),
        (nothing, r"a handler takes \(event\) or \(event, ctx\), found nothing\(\)"),
        (three, r"found three\(event, ctx, more\)"),
        (with_keyword, r"found with_keyword\(event, more\)"),
        (variadic, r"found variadic\(\*events\)"),
        (Class, r"on\(...\) goes above a function, found the class Class"),
        (Class.method, "method is a method of Class"),
        (functools.partial(plain), "found an object of type partial"),
        (lambda event: event, "a handler cannot have the name '<lambda>'; give it one"),
        (marked, "marked has on.* twice; one decorator names all its events"),
    ],
)
def test_impossible_functions(function: Any, message: str) -> None:
    """What cannot be called with an event is refused at the decorator, with the reason."""
    with pytest.raises(PluginError, match=message):
        on(CalendarCreated)(function)
