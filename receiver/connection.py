"""One connection of a listener: aiohttp's protocol with our own words for what went wrong.

A webhook that came in one piece, as nearly every one does, is taken directly: verified and handed to the log
by the call that read it, answered by the call that brings the log's answer. A task, a request and a stream
for each took a quarter of intake's time. All else goes aiohttp's way.

The rule easiest to break: one request of a connection at a time. What comes while one is being answered
waits in aiohttp's queue, and its task is woken only when nothing is taken directly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, web
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

if TYPE_CHECKING:
    import asyncio

    from receiver.answers import Answer
    from receiver.listener import Listener

__all__ = ["DIRECT", "Connection"]

_NEEDED: Final = (
    *("_messages", "_waiter", "_paused", "_parser", "_request_in_progress", "_handler_waiter"),
    *("_close", "_force_close", "_keepalive_timeout", "_next_keepalive_close_time"),
)
DIRECT: Final = all(hasattr(web.RequestHandler, name) for name in _NEEDED) and hasattr(
    HttpRequestParser, "message_consumed"
)
"""Whether webhooks are taken directly. It needs what aiohttp keeps to itself: without it, they get a task."""


class Connection(web.RequestHandler):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is counted."""
        super().connection_made(transport)
        self._listener.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is counted no more."""
        if self._manager is not None:
            self._listener.closed(self)
        super().connection_lost(exc)

    @property
    def _listener(self) -> Listener:
        return self._manager  # type: ignore[return-value]  # it made this connection

    def data_received(self, data: bytes) -> None:
        """Parse what came, and take it directly or wake the task that waits for requests."""
        if not DIRECT:
            super().data_received(data)
            return
        waiter, self._waiter = self._waiter, None
        super().data_received(data)
        self._waiter = waiter
        # Without a waiter the task is at work, and looks into the queue by itself.
        if waiter is None or waiter.done() or self._request_in_progress or not self._messages:
            return
        if not self._take():
            waiter.set_result(None)

    def _take(self) -> bool:
        """Take the first request in the queue, if it is one that needs no task."""
        message, payload = self._messages[0]
        if not isinstance(message, RawRequestMessage) or payload is EMPTY_PAYLOAD or not payload.is_eof():
            return False
        if len(self._messages) > 1 or self._paused:  # more than one, or from somebody who does not read
            return False
        if message.should_close or message.upgrade or message.version != HttpVersion11:
            return False
        take = self._listener.taker(message.method, message.path)
        if take is None or self._parser is None:
            return False
        self._messages.popleft()
        self._parser.message_consumed()
        self._request_in_progress = True
        take(message.headers, payload.read_nowait(), self._answer)
        return True

    def _answer(self, answer: Answer) -> None:
        """Answer what was taken. The other end may be gone; then there is nobody to tell."""
        self._request_in_progress = False
        if self._handler_waiter is not None:  # it is being shut down, and that waits for us
            self._handler_waiter.set_result(None)
        if self.transport is None:
            return
        ends = self._close or self._force_close
        self.transport.write(answer.written(close=ends))
        if ends:
            self.transport.close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._messages and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _process_keepalive(self) -> None:
        if self._request_in_progress:  # it is not idle, though its task is
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def is_waiting(self) -> bool:
        """Whether the sender's part of a request is still to come. One that came whole is answered."""
        if self._messages:
            return False
        request = self._current_request
        return not self._request_in_progress if request is None else not request.content.is_eof()

    def let_go(self, last_words: bytes = b"") -> None:
        """Close it now."""
        if (transport := self.transport) is None:
            return
        if last_words:
            transport.write(last_words)
            self.close()
            transport.close()
        else:
            transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 -- the parser's words, which quote the request
    ) -> web.StreamResponse:
        """Answer a request that could not be parsed, or whose handler failed."""
        if request.writer.output_size > 0:
            raise ConnectionError("An answer was begun already.")
        return self._listener.malformed(status, exc)
