"""When the account has time: business hours in UTC, less what is booked.

https://docs.klen.ai/api-reference/calendar/get-availability. Pure. The account works Monday to Friday from 9
to 17 and needs neither notice nor a break between two meetings. The rule easiest to break: a slot that has
begun is gone, but days that lie wholly in the past are answered as they were, so that the vendor's examples
have slots.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from receiver.sandbox.appointment import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from receiver.sandbox.appointment import Appointment

USER_ID: Final = 123
OPENS: Final = time(9)
CLOSES: Final = time(17)
WORKDAYS: Final = frozenset(range(5))
DURATIONS: Final = range(1, 181)
MOST_DAYS: Final = 366


def availability(
    appointments: Iterable[Appointment], first: date, last: date, duration_minutes: int, now: datetime
) -> dict[str, Any]:
    """The vendor's answer for these days, both included."""
    open_from = now if last >= now.date() else datetime.min.replace(tzinfo=UTC)
    busy = _busy(appointments)
    ends = [end for _, end in busy]

    def is_free(start: datetime, end: datetime) -> bool:
        following = bisect_right(ends, start)
        return following == len(busy) or busy[following][0] >= end

    slots = [
        {"start": text_of(start), "end": text_of(end), "duration_minutes": duration_minutes}
        for start, end in _slots(first, last, timedelta(minutes=duration_minutes))
        if start >= open_from and is_free(start, end)
    ]
    return {
        "user_id": USER_ID,
        "start_date": first.isoformat(),
        "end_date": last.isoformat(),
        "duration_minutes": duration_minutes,
        "available_slots": slots,
        "count": len(slots),
    }


def _busy(appointments: Iterable[Appointment]) -> list[tuple[datetime, datetime]]:
    """From when to when there is no time, in order and without overlaps."""
    merged: list[tuple[datetime, datetime]] = []
    for start, end in sorted((one.start_time, one.end_time) for one in appointments if one.is_open):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _slots(first: date, last: date, length: timedelta) -> Iterator[tuple[datetime, datetime]]:
    day = first
    while True:
        if day.weekday() in WORKDAYS:
            start, closing = datetime.combine(day, OPENS, UTC), datetime.combine(day, CLOSES, UTC)
            while start + length <= closing:
                yield start, start + length
                start += length
        if day >= last:
            return
        day += timedelta(days=1)
