"""The account's registered webhooks: make, list, delete.

https://docs.klen.ai/api-reference/webhooks/overview. The vendor's pages show no answer of these requests, so
anything that holds what is needed is taken. The rule easiest to break: the secret is in one answer only, and
it must reach its owner and nobody else.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from receiver.klen.errors import NotFound, OddAnswer
from receiver.klen.models import Webhook
from receiver.klen.transport import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.klen.transport import Transport

CREATE_PATH: Final = "/api/webhooks/create/"
"""The one of the overview page, beside the API's own base; the quickstart names another."""
LISTS: Final = ("webhooks", "results", "data", "items")
"""Where a list may stand in an object."""
INNER: Final = ("webhook", "data")
SECRETS: Final = ("secret", "webhook_secret", "signing_secret", "secret_key")
"""What the secret may be called."""


class Webhooks:
    """`await klen.webhooks.list()`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(self) -> list[Webhook]:
        """All of them."""
        answer = await self._transport.send(Request("GET", "/webhooks"))
        if isinstance(answer, dict):
            answer = next((answer[name] for name in LISTS if isinstance(answer.get(name), list)), answer)
        if not isinstance(answer, list):
            raise OddAnswer("Expected a list of webhooks, found other JSON.")
        return [_webhook(item) for item in answer if isinstance(item, dict)]

    async def get(self, webhook_id: str | int) -> Webhook:
        """One of them."""
        answer = await self._transport.send(Request("GET", _path(webhook_id)))
        return _webhook(_object(answer))

    async def create(
        self, *, name: str, url: str, events: Sequence[str], path: str = CREATE_PATH
    ) -> tuple[Webhook, str | None]:
        """Register one; it and its secret, None if the answer has no secret.

        `path` is the whole path at the vendor, whose pages name two. Without an answer the request is not
        sent a second time, which might register it twice.
        """
        body = {"name": name, "url": url, "subscribed_events": [*events]}
        request = Request("POST", path, json=body, repeatable=False, from_root=True)
        found = _object(await self._transport.send(request))
        secret = next((text for name in SECRETS if isinstance(text := found.get(name), str) and text), None)
        return _webhook(found), secret

    async def delete(self, webhook_id: str | int) -> None:
        """Remove one.

        Raises:
            NotFound: there is none.
        """
        await self.get(webhook_id)
        with suppress(NotFound):  # after a try whose answer was lost
            await self._transport.send(Request("POST", f"{_path(webhook_id)}/delete"))


def _path(webhook_id: str | int) -> str:
    return f"/webhooks/{quote(str(webhook_id), safe='')}"


def _webhook(found: dict[str, Any]) -> Webhook:
    """The model, which keeps unknown keys, without what must not be kept."""
    return Webhook.model_validate({name: value for name, value in found.items() if name not in SECRETS})


def _object(answer: Any) -> dict[str, Any]:
    """The webhook in an answer: the object itself, or what it holds under `webhook` or `data`."""
    if isinstance(answer, dict):
        inner = [answer[name] for name in INNER if isinstance(answer.get(name), dict)]
        return {name: value for part in (answer, *inner) for name, value in part.items() if name not in INNER}
    raise OddAnswer("Expected a webhook, found other JSON.")
