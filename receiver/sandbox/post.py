"""One request to an endpoint, signed as the vendor signs, and its answer.

The rule easiest to break: whatever is at the other end, this returns within the ten seconds of the vendor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp

from receiver.sandbox.delivery import ANSWER_SECONDS
from receiver.signing import sign

if TYPE_CHECKING:
    from receiver.sandbox.delivery import Delivery
    from receiver.sandbox.webhooks import Webhook

LONGEST_NOTE: Final = 200


class Post:
    """The connections that webhooks are sent over."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Be ready to send."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "klenhook-sandbox"},
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()

    async def send(self, webhook: Webhook, delivery: Delivery, *, forged: bool) -> tuple[int | None, str]:
        """Status and beginning of the answer, or None and why there is none; `forged` signs another body."""
        signed = delivery.body + b" " if forged else delivery.body
        headers = {
            "Content-Type": "application/json",
            "X-Klen-Event": delivery.event_type,
            "X-Klen-Delivery-ID": delivery.id,
            **sign("klen", webhook.secret, signed, now=0),
        }
        assert self._session is not None  # noqa: S101 -- opened before anything is sent
        try:
            async with self._session.post(
                webhook.url, data=delivery.body, headers=headers, allow_redirects=False
            ) as answer:
                return answer.status, (await answer.content.read(LONGEST_NOTE)).decode("utf-8", "replace")
        except TimeoutError:
            return None, f"no answer within {ANSWER_SECONDS:g} seconds"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return None, type(error).__name__
