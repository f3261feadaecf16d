"""What the public listener answers webhooks with: short, ours, and written in one piece.

aiohttp would put the same headers together anew for each webhook. The rule easiest to break: an answer
depends on the outcome alone, never on what the request held, so that a refusal tells a stranger nothing.
"""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE

from receiver.errors import Unavailable

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from receiver.errors import Rejected

__all__ = ["Answer", "Whole", "acknowledgement", "refusal"]

RETRY_AFTER_SECONDS: Final = 30
"""What a refused sender is told to wait; the vendor's own first retry comes after a minute."""
_SERVER: Final = SERVER_SOFTWARE.encode("ascii")


class Answer(NamedTuple):
    """An answer that is not sent yet."""

    status: int
    content: bytes
    """JSON."""
    headers: bytes = b""
    """Lines besides the usual ones."""

    def written(self, *, close: bool) -> bytes:
        """All of it, as it goes over the wire; `close` says that the connection ends with it."""
        return b"%b%b%bContent-Length: %d\r\nDate: %b\r\nServer: %b\r\n\r\n%b" % (
            _status_line(self.status),
            self.headers,
            b"Connection: close\r\n" if close else b"",
            len(self.content),
            _date(int(time.time())),
            _SERVER,
            self.content,
        )


def acknowledgement(outcome: str, event_id: str) -> Answer:
    """The answer 200: this event is in the log, now or since an earlier delivery."""
    return Answer(
        HTTPStatus.OK, b'{"status": "%b", "event_id": "%b"}' % (outcome.encode(), event_id.encode())
    )


def refusal(rejection: Rejected) -> Answer:
    """An error in the vendor's own shape (https://docs.klen.ai/api-reference/introduction)."""
    content = json.dumps({"error": rejection.code, "message": rejection.text}).encode("ascii")
    headers = b"Retry-After: %d\r\n" % RETRY_AFTER_SECONDS if isinstance(rejection, Unavailable) else b""
    return Answer(rejection.status, content, headers)


class Whole(web.StreamResponse):
    """An answer as aiohttp's handlers return it."""

    def __init__(self, answer: Answer) -> None:
        """`force_close` ends the connection with it."""
        super().__init__(status=answer.status)
        self._answer = answer

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter:
        """Send it all."""
        stays = self._keep_alive is None and request.keep_alive and request.version == HttpVersion11
        self._keep_alive = stays
        await request.writer.write(self._answer.written(close=not stays))
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """There is nothing left to send."""


@lru_cache
def _status_line(status: int) -> bytes:
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
    return line.encode("ascii")


@lru_cache(maxsize=1)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode("ascii")
