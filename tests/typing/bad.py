"""Plugin code that is wrong: both type checkers refuse each line that ends in `# error`, and no other."""

from __future__ import annotations

import receiver
from receiver import (
    AnyChange,
    AnyEvent,
    CalendarCancelled,
    CalendarCreated,
    CalendarUpdated,
    CallEnded,
    Changed,
    Context,
    NoShow,
    Rescheduled,
    Retry,
    RetryPolicy,
    Settings,
    on,
)


class Chat(Settings):
    url: str


@on(CalendarCreated)  # error
async def another_event(event: CalendarCancelled) -> None: ...


@on(CalendarCreated, CalendarUpdated)  # error
async def one_of_two(event: CalendarCreated) -> None: ...


@on(CalendarCreated, CalendarUpdated, CallEnded)  # error
async def two_of_three(event: CalendarCreated | CalendarUpdated) -> None: ...


@on(CalendarCreated, CalendarUpdated, CalendarCancelled, CallEnded)  # error
async def one_of_four(event: CalendarCreated) -> None: ...


@on(AnyEvent)  # error
async def only_some(event: CalendarCreated) -> None: ...


@on(CalendarCreated)  # error
async def without_the_event() -> None: ...


@on(CalendarCreated)  # error
async def with_a_third(event: CalendarCreated, ctx: Context, more: int) -> None: ...


@on(CalendarCreated)  # error
async def with_no_context(event: CalendarCreated, ctx: int) -> None: ...


@on("calendar.created")  # error
async def by_text(event: CalendarCreated) -> None: ...


@on()  # error
async def of_no_event(event: CalendarCreated) -> None: ...


@on  # error
async def without_brackets(event: CalendarCreated) -> None: ...


@on(CalendarCreated)  # error
@on(CalendarUpdated)
async def stacked(event: CalendarUpdated) -> None: ...


print(receiver.CalendarCreate)  # error
on(CalendarCreated, retry={"tries": 3})  # error
on(CalendarCreated, timeout="10")  # error
on(CalendarCreated, stale="later")  # error
on(CalendarCreated, where=lambda event: event.calendar_event.titel)  # error
on(CalendarCreated, CalendarUpdated, where=lambda event: event.text)  # error
RetryPolicy(tries="3")  # error
Retry(after="1 hour")  # error


@on(CalendarCreated)
async def reads_what_is_not_there(event: CalendarCreated, ctx: Context[Chat]) -> None:
    print(ctx.settings.token)  # error
    print(ctx.deliver)  # error
    print(event.calender_event)  # error
    ctx.attempt = 2  # error


@on(CalendarCreated)
async def reads_settings_it_has_not_got(event: CalendarCreated, ctx: Context) -> None:
    print(ctx.settings.url, event.event_id)  # error


@on(Rescheduled, where=lambda event: event.bye)  # error
async def has_no_bye(event: Rescheduled) -> None: ...


@on(Changed(5))  # error
async def by_number(event: AnyChange) -> None: ...


@on(NoShow)  # error
async def another_change(event: Rescheduled) -> None: ...
