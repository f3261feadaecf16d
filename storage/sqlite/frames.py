"""Messages between a service and the process that writes its log: pickled, each behind its length.

Both ends are this program, and nobody else has the socket. The rule easiest to break: what is written is
read whole; a stream gives parts.
"""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH: Final = struct.Struct("=Q")


def frame(content: Any) -> bytes:
    """A message as bytes."""
    pickled = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(pickled)) + pickled


class Frames:
    """What has been read of a stream of messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def read(self, data: bytes) -> Iterator[Any]:
        """The messages that are whole with these bytes."""
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._rest)[0]
            if len(self._rest) < end:
                return
            pickled = bytes(self._rest[_LENGTH.size : end])
            del self._rest[:end]
            yield pickle.loads(pickled)  # noqa: S301 -- from ourselves
