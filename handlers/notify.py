"""Writes a line about an event into a chat: Slack, Microsoft Teams or Discord.

Titles and names are written by whoever books an appointment. The rule easiest to break: a value from outside
is made harmless for the service it goes to (mentions, links, markup) before it meets the template, which
belongs to the operator. `string.Template` only puts texts in place; it cannot run anything.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from datetime import datetime, tzinfo
from fnmatch import fnmatchcase
from string import Template
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, SecretStr

from receiver import AnyEvent, Context, Settings, on

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES: Final = (
    *("event_type", "event_id", "source", "title", "kind", "status", "start", "end", "location", "reason"),
    *("customer_name", "customer_email", "customer_phone", "agent", "phone_number", "summary"),
)
"""What a template may use."""
LONGEST_VALUE: Final = 300
LIMITS: Final = {"slack": 3_000, "teams": 2_000, "discord": 2_000}
"""Characters of a text. Slack's and Discord's own; for Teams, what keeps any card below its 28 KB."""
TURNING: Final = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Characters that turn the direction of what follows them, and so can disguise it."""


def _web_address(url: SecretStr) -> SecretStr:
    if not url.get_secret_value().startswith(("https://", "http://")):
        raise ValueError("expected the address that the chat service shows for its webhook")
    return url


def _template(text: str) -> str:
    template = Template(text)
    if not template.is_valid():
        raise ValueError("a $ is followed by no name; a plain dollar sign is written $$")
    unknown = [name for name in template.get_identifiers() if name not in NAMES]
    if unknown:
        raise ValueError(f"there is no ${unknown[0]}; a template may use {', '.join(NAMES)}")
    return text


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # which of them depends on how the name is wrong
        raise ValueError("expected a time zone such as Europe/Berlin") from None
    return name


class Notify(Settings):
    """The table `[handlers.notify]`."""

    kind: Literal["slack", "teams", "discord"]
    """Which service it is."""
    url: Annotated[SecretStr, AfterValidator(_web_address)]
    """The address of the webhook there. Who knows it can post, so it is a secret."""
    template: Annotated[str, AfterValidator(_template)] = "$event_type: $title, $start, $customer_name"
    """The text, with `$names`; a value that the event does not have is `-`."""
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """For `$start` and `$end`."""
    events: tuple[str, ...] = ("calendar.*",)
    """Only events whose type one of these matches."""


@on(AnyEvent)
async def notify(event: AnyEvent, ctx: Context[Notify]) -> None:
    """Post the filled template. A repeated attempt may show it twice: chats recognise no repetition."""
    settings = ctx.settings
    if not any(fnmatchcase(event.event_type or "", glob) for glob in settings.events):
        return
    facts = _facts(event, ZoneInfo(settings.timezone))
    values = {name: ESCAPES[settings.kind](facts[name]) for name in NAMES}
    text = _cut(Template(settings.template).substitute(values), LIMITS[settings.kind])
    url = settings.url.get_secret_value()
    (await ctx.http.post(url, json=MESSAGES[settings.kind](text))).raise_for_status()


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
    return _cut(" ".join(text.split()), LONGEST_VALUE) or "-"


def _is_unsafe(character: str) -> bool:
    return character in TURNING or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _for_slack(text: str) -> str:
    """https://docs.slack.dev/messaging/formatting-message-text: `<` begins every mention and link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _for_discord(text: str) -> str:
    """A backslash makes a mark a character: https://docs.discord.com/developers/reference#message-formatting."""
    return re.sub(r"([\\*_~`|<>#@:\[\]()-])", r"\\\1", text)


def _slack(text: str) -> dict[str, Any]:
    """`verbatim` keeps Slack from turning plain addresses and names into links and mentions.

    https://docs.slack.dev/reference/block-kit/composition-objects/text-object
    """
    section = {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
    return {"text": text, "blocks": [section], "unfurl_links": False, "unfurl_media": False}


def _teams(text: str) -> dict[str, Any]:
    """An Adaptive Card of text runs, which know no markup: https://adaptivecards.io/explorer/RichTextBlock.html.

    https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
    """
    lines = [line for line in text.splitlines() if line.strip()]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": line}]} for line in lines],
    }
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return {"type": "message", "attachments": [attachment]}


def _discord(text: str) -> dict[str, Any]:
    """Nobody is mentioned, whatever the text says, and no address in it is fetched for a preview.

    https://docs.discord.com/developers/resources/webhook#execute-webhook
    """
    suppress_embeds = 1 << 2
    return {"content": text, "allowed_mentions": {"parse": []}, "flags": suppress_embeds}


ESCAPES: Final[dict[str, Callable[[str], str]]] = {"slack": _for_slack, "teams": str, "discord": _for_discord}
MESSAGES: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "slack": _slack,
    "teams": _teams,
    "discord": _discord,
}
