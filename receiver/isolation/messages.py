"""What the service and a child say to each other: JSON objects, each behind its length.

    to the child       start   origin, file, package, entry, memory_bytes, allow, ...     first, once
                       call    handler, timeout, settings, body, event_id, ...            one at a time
                       answer  id, and value or error
    to the service     ready, or broken with error                                        after `start`
                       ask     id, name, arguments                                        during a call
                       end     reply                                                      once per call
                       memory  the limit was reached                                      instead of both

The rule easiest to break: what a child sends may be anything, so the service decodes it with a limit.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Final, TypeAlias

Message: TypeAlias = dict[str, Any]

_LENGTH: Final = struct.Struct(">I")
NO_LIMIT: Final = 2**32 - 1
"""Bytes of one message; the frame can hold no more."""
CHILD_LIMIT: Final = 16 * 2**20
"""Bytes of one message from a child: what a handler stores and posts in one call. Its result is not sent."""


class ProtocolError(Exception):
    """These bytes are no message, or the message means nothing."""


def encode(message: Message, limit: int = NO_LIMIT) -> bytes:
    """The message in its frame.

    Raises:
        TypeError: something in it has no JSON.
        ValueError: it is too long, or refers to itself.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) > limit:
        raise ValueError(f"this takes {len(data)} bytes between the processes; at most {limit} can be sent")
    return _LENGTH.pack(len(data)) + data


class Decoder:
    """Bytes in, as they come; whole messages out."""

    def __init__(self, limit: int = NO_LIMIT) -> None:
        """`limit`: the most bytes that one message may have."""
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete.

        Raises:
            ProtocolError: they are too long, or no JSON object.
        """
        self._buffer += data
        messages = []
        while (frame := self._next_frame()) is not None:
            messages.append(_object(frame))
        return messages

    def _next_frame(self) -> bytes | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
        if end - _LENGTH.size > self._limit:
            raise ProtocolError(f"a message of {end - _LENGTH.size} bytes; expected at most {self._limit}")
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return frame


def _object(frame: bytes) -> Message:
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        raise ProtocolError("bytes that are no message") from None
    if not isinstance(message, dict):
        raise ProtocolError("JSON that is no message")
    return message
