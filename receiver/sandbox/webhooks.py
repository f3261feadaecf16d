"""Where the account wants its events sent: registered webhooks, each with a secret of its own.

https://docs.klen.ai/api-reference/webhooks/overview, which shows the request that creates one and no answer;
the answers here are what its text lets one expect. The rule easiest to break: the secret is told once, by the
answer to the creation.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from datetime import datetime  # noqa: TC003 -- `archive` reads the annotations of `Webhook`
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from receiver.events import EVENT_TYPES
from receiver.sandbox.appointment import text_of
from receiver.sandbox.drawn import drawn_secret
from receiver.sandbox.errors import invalid_parameter, missing_parameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LONGEST_URL: Final = 2_000


@dataclass(frozen=True, slots=True)
class Webhook:
    """One registration."""

    id: int
    name: str
    url: str
    subscribed_events: tuple[str, ...]
    secret: str
    created_at: datetime
    rotations: int = 0
    """How often it got another secret."""

    def shown(self) -> dict[str, Any]:
        """As the list has it."""
        return {
            "id": self.id,
            "name": self.name,
            "url": self.url,
            "subscribed_events": list(self.subscribed_events),
            "is_active": True,
            "created_at": text_of(self.created_at),
        }


class Webhooks:
    """All registrations of the account."""

    def __init__(self, seed: int, *, webhooks: Iterable[Webhook] = ()) -> None:
        """`seed` is what the secrets are drawn from; `webhooks` are those of an earlier run."""
        self._seed = seed
        self._by_id = {webhook.id: webhook for webhook in webhooks}
        self._numbers = itertools.count(max(self._by_id, default=0) + 1)

    def __iter__(self) -> Iterator[Webhook]:
        return iter(list(self._by_id.values()))

    def find(self, webhook_id: str | int) -> Webhook | None:
        """By its number."""
        text = str(webhook_id)
        return self._by_id.get(int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 -- digits of an id

    def create(
        self, name: str, url: str, events: Iterable[str], *, now: datetime, secret: str | None = None
    ) -> Webhook:
        """Register; without a secret one is made."""
        number = next(self._numbers)
        secret = secret or drawn_secret(self._seed, "webhook", number, 0)
        webhook = Webhook(number, name, url, tuple(dict.fromkeys(events)), secret, now)
        self._by_id[number] = webhook
        return webhook

    def delete(self, webhook: Webhook) -> None:
        """Send it nothing more."""
        del self._by_id[webhook.id]

    def rotate(self, webhook: Webhook) -> Webhook:
        """Give it another secret, at once and for everything that is still to be sent."""
        rotations = webhook.rotations + 1
        secret = drawn_secret(self._seed, "webhook", webhook.id, rotations)
        self._by_id[webhook.id] = replace(webhook, secret=secret, rotations=rotations)
        return self._by_id[webhook.id]


def read_webhook(body: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """Name, URL and events of a webhook to create.

    Raises:
        APIError: one is missing, or cannot be used.
    """
    for key in ("name", "url", "subscribed_events"):
        if body.get(key) in (None, "", []):
            raise missing_parameter(key)
    name, url, events = body["name"], body["url"], body["subscribed_events"]
    if not isinstance(name, str) or not is_sendable(name):
        raise invalid_parameter("Invalid name. Expected text")
    if not isinstance(url, str) or not is_http_url(url):
        raise invalid_parameter("Invalid url. Expected an http or https URL")
    if not isinstance(events, list) or not all(isinstance(one, str) and one in EVENT_TYPES for one in events):
        raise invalid_parameter(f"Invalid subscribed_events. Expected some of: {', '.join(EVENT_TYPES)}")
    return name, url, events


def is_http_url(text: str) -> bool:
    """Whether it is an address that webhooks can be sent to."""
    if len(text) > LONGEST_URL or not re.fullmatch(r"https?://[!-~]+", text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_sendable(text: str) -> bool:
    """Whether UTF-8 can write it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
