"""Plugin code that both type checkers accept. It is checked, never run."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from pydantic import SecretStr  # noqa: TC002 -- pydantic reads the annotation

from receiver import (
    AnyChange,
    AnyEvent,
    CalendarCancelled,
    CalendarCreated,
    CalendarUpdated,
    CallEnded,
    Cancelled,
    Changed,
    Context,
    Discard,
    KlenError,
    NoShow,
    Rescheduled,
    Retry,
    RetryPolicy,
    Settings,
    UnknownEvent,
    on,
)


@on(CalendarCreated)
async def hello(event: CalendarCreated) -> None:
    print("booked:", event.calendar_event.title)


@on(CalendarCreated)
def in_a_thread(event: CalendarCreated) -> None:
    print(event.event_id)


@on(CalendarCreated)
async def with_a_bare_context(event: CalendarCreated, ctx: Context) -> None:
    ctx.log.info("booked", attempt=ctx.attempt, key=ctx.idempotency_key)
    assert_type(ctx.settings, Settings)
    assert_type(event, CalendarCreated)


class Chat(Settings):
    url: str
    token: SecretStr | None = None


@on(CalendarCreated, name="chat", retry=RetryPolicy(tries=3), timeout=10, ordered=False, concurrency=2)
async def with_settings(event: CalendarCreated, ctx: Context[Chat]) -> None:
    assert_type(ctx.settings, Chat)
    assert_type(ctx.settings.url, str)
    if event.calendar_event.customer.email is None:
        raise Discard("nobody to tell")
    raise Retry(after=timedelta(minutes=5))


@on(CalendarCreated)
async def ask_the_vendor(event: CalendarCreated, ctx: Context) -> None:
    try:
        found = await ctx.klen.event(event.calendar_event.uuid or "")
    except KlenError as error:
        assert_type(error.retry_after, float | None)
        raise
    assert_type(found.description, str | None)
    await ctx.klen.update(123, status="no_show", start_time=found.start_time or "")


@on(CalendarCreated, CalendarUpdated)
async def two(event: CalendarCreated | CalendarUpdated) -> None:
    print(event.calendar_event.start_time)


@on(CalendarCreated, CalendarUpdated, CallEnded, where=lambda event: event.source == "klen")
async def three(event: CalendarCreated | CalendarUpdated | CallEnded, ctx: Context[Chat]) -> None:
    print(event.timestamp, ctx.settings.url)


@on(CalendarCreated, CalendarUpdated, CalendarCancelled, CallEnded, UnknownEvent)
async def five(event: AnyEvent) -> None:
    print(event.event_type)


@on(Rescheduled)
async def moved_in_time(event: Rescheduled) -> None:
    assert_type(event.by, timedelta | None)
    print(event.before.start_time, event.after.start_time, event.state.title, event.fields)


@on(NoShow, Cancelled, where=lambda event: event.state.customer.email is not None)
async def did_not_come(event: NoShow | Cancelled) -> None:
    print(event.calendar_event.customer.name, event.reason if isinstance(event, Cancelled) else "no show")


@on(Changed("customer.email", "location"))
def fields(event: AnyChange) -> None:
    print(event.after.customer.email, event.after.location)


@on(AnyEvent)
async def everything(event: AnyEvent) -> None:
    print(event.raw)


@on(CalendarCreated, where=lambda event: event.calendar_event.kind == "meeting")
async def of_a_base_class(event: AnyEvent) -> None:
    print(event.event_type)


async def called_as_it_is(event: CalendarCreated, ctx: Context[Chat]) -> None:
    assert_type(await hello(event), None)
    assert_type(in_a_thread(event), None)
    await with_settings(event, ctx)
