"""What a request may say about an appointment, read key by key; anything else is one of the vendor's errors.

https://docs.klen.ai/api-reference/calendar/create-event and .../update-event. The rule easiest to break: a
value that is read here can be stored, sorted and written as UTF-8, or the failure would come much later.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

from receiver.sandbox.appointment import KINDS, STATUSES
from receiver.sandbox.errors import invalid_datetime, invalid_parameter, missing_parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

REQUIRED: Final = ("title", "start_time", "end_time")
CREATION_STATUSES: Final = ("scheduled", "confirmed")
LONGEST_NOTICE: Final = 527_040
"""Minutes: a reminder more than a year ahead is a mistake."""
LARGEST_ID: Final = 2**63 - 1

_instant = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII | re.IGNORECASE
)
_day = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def read_new(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an appointment to create.

    Raises:
        APIError: a required one is missing, or one cannot be used.
    """
    for name in REQUIRED:
        if body.get(name) in (None, ""):
            raise missing_parameter(name)
    given = {key: value for key, value in body.items() if value is not None}
    return _read(given, {**_READERS, "created_by_ai_agent": _boolean}, CREATION_STATUSES)


def read_changes(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields to change; null empties those that may be empty.

    Raises:
        APIError: one of them cannot be used.
    """
    return _read(body, _READERS, STATUSES)


def read_reason(body: Mapping[str, Any]) -> str | None:
    """Why an appointment is cancelled, if that is said.

    Raises:
        APIError: it is no text.
    """
    return _text("reason", body.get("reason"))


def _read(
    body: Mapping[str, Any], readers: Mapping[str, Callable[[str, Any], Any]], statuses: Collection[str]
) -> dict[str, Any]:
    fields = {name: read(name, body[name]) for name, read in readers.items() if name in body}
    if "event_type" in fields:
        fields["kind"] = fields.pop("event_type")
    if "status" in fields and fields["status"] not in statuses:
        raise invalid_parameter(f"Invalid status. Expected one of: {', '.join(statuses)}")
    return fields


def read_instant(text: object) -> datetime:
    """A time; without an offset it is UTC.

    Raises:
        APIError: it is not ISO 8601, or not a time that can be told in UTC.
    """
    if not isinstance(text, str) or not _instant.fullmatch(text):
        raise invalid_datetime()
    try:
        moment = datetime.fromisoformat(text.upper())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid_datetime() from None


def read_day(text: str) -> date | None:
    """A day, `YYYY-MM-DD`; None if it is not one."""
    try:
        return date.fromisoformat(text) if _day.fullmatch(text) else None
    except ValueError:
        return None


def read_number(text: str) -> int | None:
    """A whole number of at most nine digits; None if it is not one."""
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None


def _title(name: str, value: Any) -> str:
    text = _text(name, value)
    if not text:
        raise invalid_parameter(f"Invalid {name}. Expected text")
    return text


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            pass  # half of a surrogate pair, which JSON can write and UTF-8 cannot
        else:
            return value
    raise invalid_parameter(f"Invalid {name}. Expected text")


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid_parameter(f"Invalid {name}. Expected true or false")
    return value


def _minutes(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LONGEST_NOTICE:
        raise invalid_parameter(f"Invalid {name}. Expected a number of minutes")
    return value


def _id(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST_ID:
        raise invalid_parameter(f"Invalid {name}. Expected an integer")
    return value


def _kind(name: str, value: Any) -> str:
    if not isinstance(value, str) or value not in KINDS:
        raise invalid_parameter(f"Invalid {name}. Expected one of: {', '.join(KINDS)}")
    return value


def _moment(_name: str, value: Any) -> datetime:
    return read_instant(value)


_READERS: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    "title": _title,
    "description": _text,
    "start_time": _moment,
    "end_time": _moment,
    "event_type": _kind,
    "status": _title,
    "location": _text,
    "customer_name": _text,
    "customer_email": _text,
    "customer_phone": _text,
    "customer_notes": _text,
    "has_video_conference": _boolean,
    "video_conference_url": _text,
    "video_conference_provider": _text,
    "is_reminder_enabled": _boolean,
    "remind_before_minutes": _minutes,
    "ai_agent_id": _id,
    "team_id": _id,
    "sync_external_calendars": _boolean,
    "send_notifications": _boolean,
}

FIELDS: Final = frozenset(_READERS)
"""The keys of an update; a creation may have `created_by_ai_agent` as well."""
