"""`mail`: messages handed to a real SMTP server on this machine, and what they look like there."""

from __future__ import annotations

import smtplib
import ssl
from typing import TYPE_CHECKING

import pytest
from icalendar import Calendar

from tests.support.builtin import EVENT_ID, builtin, mistakes
from tests.support.klen import UUID, webhook
from tests.support.mailbox import Mailbox, certificate, mailbox

if TYPE_CHECKING:
    from pathlib import Path

ADDRESSES = 'from = "Desk <desk@example.com>"\nto = ["a@example.org", "B <b@example.org>"]\n'


def table(box: Mailbox, more: str = "", security: str = "none") -> str:
    return (
        f'[handlers.mail]\nhost = "127.0.0.1"\nport = {box.port}\nsecurity = "{security}"\n{ADDRESSES}{more}'
    )


async def test_a_message(tmp_path: Path) -> None:
    """Subject and text are the filled templates; the Message-ID is the same at every attempt."""
    async with mailbox() as box, builtin(tmp_path, table(box, 'timezone = "Europe/Berlin"')) as mail:
        await mail(webhook(title="Tür 😀"))
        await mail(webhook(title="Tür 😀"), attempt=2)

    first, second = box.messages
    assert box.recipients[0] == ["a@example.org", "b@example.org"]
    assert (first["From"], first["To"]) == ("Desk <desk@example.com>", "a@example.org, B <b@example.org>")
    assert first["Subject"] == "calendar.created: Tür 😀"
    assert first["Message-ID"] == second["Message-ID"] == f"<{EVENT_ID}.mail@example.com>"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["Date"].datetime is not None
    assert not first.is_multipart()
    assert first.get_content().splitlines() == [
        "Tür 😀",
        "",
        "Start: 2025-05-01 16:00 CEST",
        "End: 2025-05-01 17:00 CEST",
        "Where: -",
        "Customer: John Smith, john.smith@example.com, +15551234567",
    ]


@pytest.mark.parametrize("breaking", ["\r\n", "\n", "\r", "\u2028", "\x0b", "\x85", "\x00", "\r\n\r\n.\r\n"])
async def test_no_header_can_be_added(tmp_path: Path, breaking: str) -> None:
    """A title with a line break stays in the subject, and one recipient's word adds no other."""
    title = f"x{breaking}Bcc: victim@example.net{breaking}RCPT TO:<victim@example.net>"
    async with mailbox() as box, builtin(tmp_path, table(box)) as mail:
        await mail(webhook(title=title))

    (message,) = box.messages
    assert message["Bcc"] is None
    assert box.recipients == [["a@example.org", "b@example.org"]]
    assert message["Subject"].lstrip().startswith("calendar.created: x")
    assert "victim@example.net" in message["Subject"]
    assert message["Subject"].isprintable()
    assert message.get_content().splitlines()[1] == ""


async def test_long_and_odd_texts_arrive(tmp_path: Path) -> None:
    """Half a surrogate pair, a very long title and lines that begin with a dot are no trouble."""
    lines = 'text = "$title\\n.\\n$event_type"'
    async with mailbox() as box, builtin(tmp_path, table(box, lines)) as mail:
        await mail(webhook(title="\ud800" + "😀" * 5_000))

    (message,) = box.messages
    assert len(message["Subject"]) == 200
    assert message.get_content().splitlines()[1:] == [".", "calendar.created"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (webhook(title="A; B,\nC"), "CONFIRMED"),
        (webhook("calendar.cancelled", title="A; B,\nC"), "CANCELLED"),
    ],
)
async def test_the_appointment_is_attached(tmp_path: Path, body: bytes, status: str) -> None:
    """With `ics`, the appointment comes as a calendar file whose UID is the vendor's uuid."""
    async with mailbox() as box, builtin(tmp_path, table(box, "ics = true")) as mail:
        await mail(body)

    (attached,) = box.messages[0].iter_attachments()
    assert (attached.get_content_type(), attached.get_filename()) == ("text/calendar", "appointment.ics")
    data = attached.get_content()
    (entry,) = Calendar.from_ical(data).walk("VEVENT")
    assert (entry["UID"], entry["SUMMARY"], entry["STATUS"]) == (UUID, "A; B, C", status)
    assert entry.decoded("DTSTART").isoformat() == "2025-05-01T14:00:00+00:00"
    assert entry.decoded("DTEND").isoformat() == "2025-05-01T15:00:00+00:00"


async def test_without_a_beginning_nothing_is_attached(tmp_path: Path) -> None:
    """A call, or an appointment without a readable start, is a message without a file."""
    async with mailbox() as box, builtin(tmp_path, table(box, 'ics = true\nevents = ["*"]')) as mail:
        await mail(webhook(start_time="soon"))
        await mail(b'{"event_type": "call.ended", "call": {"id": 1}}')
        await mail(b"[]")

    assert [message.is_multipart() for message in box.messages] == [False] * 3


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_it_logs_in_over_tls(tmp_path: Path, security: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's certificate is checked before the password is sent; the system's trust decides."""
    context, file = certificate(tmp_path)
    login = ("desk", "right-horse")
    more = 'username = "desk"\npassword = "env:MAIL_PASSWORD"'
    monkeypatch.setenv("MAIL_PASSWORD", "right-horse")
    async with mailbox(
        login=login,
        starttls=context if security == "starttls" else None,
        tls=context if security == "tls" else None,
    ) as box:
        async with builtin(tmp_path, table(box, more, security)) as mail:
            with pytest.raises(ssl.SSLCertVerificationError):
                await mail(webhook())
            monkeypatch.setenv("SSL_CERT_FILE", str(file))
            await mail(webhook())
        monkeypatch.setenv("MAIL_PASSWORD", "wrong-horse")
        async with builtin(tmp_path, table(box, more, security)) as mail:
            with pytest.raises(smtplib.SMTPAuthenticationError) as failed:
                await mail(webhook())

    assert len(box.messages) == 1
    assert {"EHLO", "STARTTLS", "QUIT"} >= set(box.in_the_clear)
    assert "horse" not in str(failed.value)


async def test_a_server_without_starttls_gets_nothing(tmp_path: Path) -> None:
    """What should be protected is not sent in the clear instead."""
    async with mailbox() as box, builtin(tmp_path, table(box, security="starttls")) as mail:
        with pytest.raises(smtplib.SMTPNotSupportedError):
            await mail(webhook())

    assert box.messages == []


async def test_refused_recipients(tmp_path: Path) -> None:
    """If some are refused, the others have the message and the run is done; if all are, it fails."""
    async with mailbox() as box, builtin(tmp_path, table(box)) as mail:
        box.refused = {"a@example.org"}
        await mail(webhook())
        box.refused = {"a@example.org", "b@example.org"}
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            await mail(webhook())

    assert box.recipients == [["b@example.org"]]


async def test_other_events_are_left_alone(tmp_path: Path) -> None:
    """By default only calendar events are told."""
    async with mailbox() as box, builtin(tmp_path, table(box)) as mail:
        await mail(b'{"event_type": "call.ended", "call": {"id": 1}}')

    assert box.messages == []


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("to = []", "handlers.mail.to:"),
        ('to = ["a@example.org, b@example.org"]', "handlers.mail.to.0: expected one address"),
        ('to = ["nobody"]', "handlers.mail.to.0: expected one address"),
        ('to = ["a@example.org\\r\\nBcc: b@example.org"]', "handlers.mail.to.0: expected one address"),
        ('to = ["tür@example.org"]', "handlers.mail.to.0: expected one address"),
        ('from = ""', "handlers.mail.from: expected one address"),
        ('subject = "a\\nb"', "handlers.mail.subject: expected one line"),
        ('text = "$titel"', "handlers.mail.text: there is no $titel"),
        ('timezone = "Mars/Base"', "handlers.mail.timezone: expected a time zone"),
        (
            'security = "none"\nusername = "x"',
            "handlers.mail: username is sent over protected connections only",
        ),
        ('sender = "a@example.org"', "handlers.mail.sender: unknown key"),
    ],
)
def test_mistakes_are_told_at_the_start(tmp_path: Path, toml: str, words: str) -> None:
    """A wrong setting is named by its key."""
    usual = {"host": 'host = "localhost"', "from": 'from = "a@example.org"', "to": 'to = ["a@example.org"]'}
    usual[toml.partition(" ")[0]] = toml
    (mistake,) = mistakes(tmp_path, "[handlers.mail]\n" + "\n".join(usual.values()))
    assert mistake.startswith(words)
