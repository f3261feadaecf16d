"""The vendor's addresses for registering webhooks.

https://docs.klen.ai/api-reference/webhooks/overview and https://docs.klen.ai/quickstart spell the address
that creates one differently; both work here, exactly as they are spelt. The rule easiest to break: any valid
key may use these, since the pages name no permission for webhooks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from receiver.sandbox.api import read_object
from receiver.sandbox.errors import not_found
from receiver.sandbox.webhooks import read_webhook

if TYPE_CHECKING:
    from receiver.sandbox.keys import KeyRing
    from receiver.sandbox.sandbox import Sandbox
    from receiver.sandbox.webhooks import Webhook

CREATE_PATHS: Final = ("/api/webhooks/create/", "/api/v1/api/webhooks/create")
BASE: Final = "/api/v1/webhooks"


class ManagementAPI:
    """Create, list, show and delete webhooks."""

    def __init__(self, sandbox: Sandbox, keys: KeyRing) -> None:
        self._sandbox = sandbox
        self._keys = keys

    def routes(self) -> list[web.RouteDef]:
        """The table for the application."""
        return [
            *(web.post(path, self._create) for path in CREATE_PATHS),
            web.get(BASE, self._list),
            web.get(f"{BASE}/{{webhook_id}}", self._get),
            web.post(f"{BASE}/{{webhook_id}}/delete", self._delete),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        self._keys.admit(request.headers, request.query)
        name, url, events = read_webhook(await read_object(request))
        webhook = self._sandbox.register(url, events, name=name)
        answer = {**webhook.shown(), "secret": webhook.secret, "message": "Webhook created successfully"}
        return web.json_response(answer, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        self._keys.admit(request.headers, request.query)
        shown = [webhook.shown() for webhook in self._sandbox.webhooks]
        return web.json_response({"count": len(shown), "webhooks": shown})

    async def _get(self, request: web.Request) -> web.Response:
        self._keys.admit(request.headers, request.query)
        return web.json_response(self._webhook(request).shown())

    async def _delete(self, request: web.Request) -> web.Response:
        self._keys.admit(request.headers, request.query)
        webhook = self._webhook(request)
        self._sandbox.unregister(webhook)
        return web.json_response({"id": webhook.id, "message": "Webhook deleted successfully"})

    def _webhook(self, request: web.Request) -> Webhook:
        webhook = self._sandbox.webhooks.find(request.match_info["webhook_id"])
        if webhook is None:
            raise not_found("Webhook")
        return webhook
