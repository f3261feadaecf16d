"""The public listener: webhooks and health, nothing else.

What can be refused without reading is refused first, then the body is read under a cap and a deadline; what
follows is `taking`. The rule easiest to break: nothing of a body is looked at before all of it is here.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import ClientError, web

from receiver.answers import Whole
from receiver.errors import InvalidJSON, PayloadTooLarge, Rejected, RequestTimeout
from receiver.listener import json_response
from receiver.taking import Taking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from receiver.answers import Answer
    from receiver.listener import Handler, Routes
    from receiver.taking import Intake, Source


def routes(intake: Intake, sources: Mapping[str, Source]) -> Routes:
    """The table of the public listener: a path per source, and the two of health."""

    async def healthz(_request: web.BaseRequest) -> web.Response:
        return json_response(200, {"status": "ok"})

    async def readyz(_request: web.BaseRequest) -> web.Response:
        ready, report = intake.readiness()
        return json_response(200 if ready else 503, report)

    table: dict[str, dict[str, Handler]] = {
        source.path: {"POST": Receiver(intake, source)} for source in sources.values()
    }
    return table | {
        "/healthz": {"GET": healthz, "HEAD": healthz},
        "/readyz": {"GET": readyz, "HEAD": readyz},
    }


class Receiver(Taking):
    """The route of one source."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take in a webhook that comes in pieces, or by way of another path or protocol than most."""
        began = time.monotonic()
        try:
            body = await self._read(request)
        except Rejected as rejection:
            self.count(rejection.code, time.monotonic() - began)
            response = Whole(self.refusal(rejection, request.content_length))
            if not request.content.is_eof():
                # The rest of the body would be read as the next request; nor is it worth waiting for.
                response.force_close()
            return response
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.take(request.headers, body, partial(_settle, answered))
        return Whole(await answered)

    async def _read(self, request: web.BaseRequest) -> bytes:
        self.refuse_unread(request.headers, request.content_length)
        if request.content.is_eof():
            return request.content.read_nowait()
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        intake = self.intake
        if request.client_max_size != intake.max_body_bytes:  # it was reloaded
            request = request.clone(client_max_size=intake.max_body_bytes)
        try:
            async with asyncio.timeout(intake.body_timeout_seconds) as timeout:
                intake.reading.add(timeout)
                try:
                    return await request.read()
                finally:
                    intake.reading.discard(timeout)
        except TimeoutError:
            raise RequestTimeout from None
        except web.HTTPRequestEntityTooLarge:
            raise PayloadTooLarge from None
        except (ClientError, web.RequestPayloadError, OSError) as error:
            raise InvalidJSON(f"body broken off: {type(error).__name__}") from None


def _settle(answered: asyncio.Future[Answer], answer: Answer) -> None:
    if not answered.done():  # the connection may have been shut down meanwhile
        answered.set_result(answer)
