"""Sends an e-mail about an event over SMTP, with the appointment as a calendar file if wanted.

The server and the addresses are the operator's; only the subject and the text take values from the event,
each as a single line, and `EmailMessage` refuses a header with a line break. The rule easiest to break: every
attempt has the same Message-ID, so that mail systems recognise a repetition.
"""

from __future__ import annotations

import smtplib
import ssl
import unicodedata
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from email.message import EmailMessage
from email.policy import SMTP
from fnmatch import fnmatchcase
from string import Template
from typing import Annotated, Final, Literal, Self
from zoneinfo import ZoneInfo

from icalendar import Calendar, Event
from pydantic import AfterValidator, Field, SecretStr, model_validator

from receiver import AnyEvent, Context, Settings, on

NAMES: Final = (
    *("event_type", "event_id", "source", "title", "kind", "status", "start", "end", "location", "reason"),
    *("customer_name", "customer_email", "customer_phone", "agent", "phone_number", "summary"),
)
"""What a template may use."""
LONGEST_VALUE: Final = 2_000
LONGEST_SUBJECT: Final = 200
PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}
REPLY_SECONDS: Final = 20
"""For each answer of the server. The whole call has the handler's own limit."""
TURNING: Final = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that turn the direction of what follows them, and so can disguise it."""


def _address(text: str) -> str:
    """One address, with or without a name, that any server takes."""
    try:
        header = SMTP.header_factory("to", text)
        fine = not header.defects and len(header.addresses) == 1 and header.addresses[0].domain
        header.addresses[0].addr_spec.encode("ascii")
    except (ValueError, IndexError, AttributeError):  # what the parser makes of odd texts
        fine = False
    if not fine or not text.isprintable():
        raise ValueError("expected one address such as desk@example.com, or Desk <desk@example.com>")
    return text


def _template(text: str) -> str:
    template = Template(text)
    if not template.is_valid():
        raise ValueError("a $ is followed by no name; a plain dollar sign is written $$")
    unknown = [name for name in template.get_identifiers() if name not in NAMES]
    if unknown:
        raise ValueError(f"there is no ${unknown[0]}; a template may use {', '.join(NAMES)}")
    return text


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected one line")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # which of them depends on how the name is wrong
        raise ValueError("expected a time zone such as Europe/Berlin") from None
    return name


Address = Annotated[str, AfterValidator(_address)]
Text = Annotated[str, AfterValidator(_template)]


class Mail(Settings):
    """The table `[handlers.mail]`."""

    host: str = Field(min_length=1)
    """The mail server. It may be anywhere: it is the operator's word, not the event's."""
    port: int | None = Field(default=None, ge=1, le=65_535)
    """By default 587 for starttls, 465 for tls, 25 for none."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is protected. The server's certificate is checked."""
    username: str = ""
    """To log in with; empty is not to log in."""
    password: SecretStr = SecretStr("")
    """To log in with."""
    sender: Address = Field(validation_alias="from")
    """From whom."""
    to: list[Address] = Field(min_length=1)
    """To whom. Fixed addresses, for one in an event is a stranger's word."""
    subject: Annotated[Text, AfterValidator(_one_line)] = "$event_type: $title"
    """The subject, with `$names`; a value that the event does not have is `-`."""
    text: Text = (
        "$title\n\nStart: $start\nEnd: $end\nWhere: $location\n"
        "Customer: $customer_name, $customer_email, $customer_phone\n"
    )
    """The text, likewise."""
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """For `$start` and `$end`."""
    ics: bool = False
    """Whether to attach the appointment as a calendar file."""
    events: tuple[str, ...] = ("calendar.*",)
    """Only events whose type one of these matches."""

    @model_validator(mode="after")
    def _no_login_in_the_clear(self) -> Self:
        if self.username and self.security == "none":
            raise ValueError('username is sent over protected connections only; set security = "starttls"')
        return self


@on(AnyEvent)
def mail(event: AnyEvent, ctx: Context[Mail]) -> None:
    """Hand the message to the mail server. A plain function: it runs in a thread, where waiting is free."""
    settings = ctx.settings
    if not any(fnmatchcase(event.event_type or "", glob) for glob in settings.events):
        return
    message = _message(event, ctx)
    with _connection(settings) as server:
        if settings.username:
            server.login(settings.username, settings.password.get_secret_value())
        refused = server.send_message(message)
    if refused:  # to fail now would send it to the others again
        ctx.log.warning("the mail server refused some recipients", refused=len(refused), of=len(settings.to))


def _connection(settings: Mail) -> smtplib.SMTP:
    port = settings.port or PORTS[settings.security]
    if settings.security == "tls":
        tls = ssl.create_default_context()
        return smtplib.SMTP_SSL(settings.host, port, timeout=REPLY_SECONDS, context=tls)
    server = smtplib.SMTP(settings.host, port, timeout=REPLY_SECONDS)
    try:
        if settings.security == "starttls":
            server.starttls(context=ssl.create_default_context())
    except BaseException:
        server.close()
        raise
    return server


def _message(event: AnyEvent, ctx: Context[Mail]) -> EmailMessage:
    settings = ctx.settings
    facts = _facts(event, ZoneInfo(settings.timezone))
    message = EmailMessage()
    message["From"] = settings.sender
    message["To"] = ", ".join(settings.to)
    message["Subject"] = Template(settings.subject).substitute(facts)[:LONGEST_SUBJECT]
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = f"<{ctx.idempotency_key.replace(':', '.')}@{message['From'].addresses[0].domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's out-of-office answers it
    message.set_content(Template(settings.text).substitute(facts))
    if settings.ics and (calendar := _calendar(event)):
        message.add_attachment(
            calendar,
            maintype="text",
            subtype="calendar",
            filename="appointment.ics",
            params={"charset": "utf-8"},
        )
    return message


def _calendar(event: AnyEvent) -> bytes | None:
    """The appointment as iCalendar (RFC 5545). None for an event without one, or without its beginning."""
    about = getattr(event, "calendar_event", None)
    start = getattr(about, "start_time", None)
    if not isinstance(start, datetime):
        return None
    entry = Event()
    entry.add("uid", _line(getattr(about, "uuid", None) or getattr(about, "id", None), UTC))
    entry.add("dtstamp", event.timestamp or event.received_at)
    entry.add("dtstart", start)
    end = getattr(about, "end_time", None)
    if isinstance(end, datetime) and end > start:
        entry.add("dtend", end)
    entry.add("summary", _line(getattr(about, "title", None), UTC))
    if location := getattr(about, "location", None):
        entry.add("location", _line(location, UTC))
    cancelled = event.event_type == "calendar.cancelled" or getattr(about, "status", None) == "cancelled"
    entry.add("status", "CANCELLED" if cancelled else "CONFIRMED")
    calendar = Calendar()
    calendar.add("prodid", "-//klenhook//mail//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add_component(entry)
    data: bytes = calendar.to_ical()
    return data


def _facts(event: AnyEvent, zone: tzinfo) -> dict[str, str]:
    """What a template may use, as single lines. Of an event that is not understood, its type and ids only."""
    about = getattr(event, "calendar_event", None) or getattr(event, "call", None)
    person = getattr(about, "customer", None) or getattr(about, "contact", None)
    agent = getattr(getattr(about, "ai_agent", None), "name", None) or getattr(about, "agent_name", None)
    found = {name: getattr(about, name, None) for name in NAMES}
    found |= {f"customer_{name}": getattr(person, name, None) for name in ("name", "email", "phone")}
    found |= {"event_type": event.event_type, "event_id": event.event_id, "source": event.source}
    found |= {
        "agent": agent,
        "start": getattr(about, "start_time", None) or getattr(about, "started_at", None),
        "end": getattr(about, "end_time", None) or getattr(about, "ended_at", None),
        "reason": getattr(about, "reason", None) or getattr(about, "failure_reason", None),
    }
    return {name: _line(found[name], zone) for name in NAMES}


def _line(value: object, zone: tzinfo) -> str:
    """One line for one value."""
    if isinstance(value, datetime):
        with suppress(OverflowError):  # the last hours of the year 9999
            value = value.astimezone(zone)
        return value.strftime("%Y-%m-%d %H:%M %Z")
    if not isinstance(value, (str, int)):
        return "-"
    text = "".join(" " if _is_unsafe(character) else character for character in str(value))
    return " ".join(text.split())[:LONGEST_VALUE] or "-"


def _is_unsafe(character: str) -> bool:
    return character in TURNING or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
