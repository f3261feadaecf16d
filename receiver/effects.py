"""What a handler wants to have happened: values in its store, and messages to send. Staged, never done here.

Everything a handler stages is committed in the transaction that marks its run done, so it takes effect
exactly once, however often the handler was called. The rule easiest to break: nothing here may reach the log
or the network; reading is the only thing that asks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from storage.work import Effects, NewMessage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from storage.work import StoredValue

LONGEST_KEY: Final = 200
LARGEST_VALUE: Final = 1_048_576
"""Bytes of JSON, of a stored value or of a message's body."""
MOST_MESSAGES: Final = 1_000
"""Per attempt; a loop that never ends should end here."""


@dataclass(slots=True)
class Staged:
    """The effects of one attempt, as they gather."""

    reads: dict[str, int | None] = field(default_factory=dict)
    """Keys that were read, with the version that was found."""
    writes: dict[str, str | None] = field(default_factory=dict)
    """New values as JSON; None deletes."""
    messages: list[NewMessage] = field(default_factory=list)

    def effects(self) -> Effects | None:
        """What to commit; None if there is nothing."""
        if not self.writes and not self.messages:
            return None
        return Effects(
            reads=tuple(self.reads.items()), writes=tuple(self.writes.items()), messages=tuple(self.messages)
        )


class Store:
    """A small key-value store of the handler's own: JSON values, kept in the log's database.

    Reads see what this attempt has set. At the commit they are checked: if another run has changed a key
    that was read, nothing is committed and the handler is called again at once, so counters come out right.
    """

    def __init__(self, staged: Staged, read: Callable[[str], Awaitable[StoredValue]]) -> None:
        """`read` asks the log for a key of this handler."""
        self._staged = staged
        self._read = read
        self._seen: dict[str, str | None] = {}

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of a key, or `default` if there is none.

        Raises:
            TypeError, ValueError: the key is no text of 1 to 200 characters.
        """
        _check_key(key)
        if key in self._staged.writes:
            text = self._staged.writes[key]
        else:
            if key not in self._seen:
                found = await self._read(key)
                self._staged.reads[key] = found.version
                self._seen[key] = found.value
            text = self._seen[key]
        return default if text is None else json.loads(text)

    def set(self, key: str, value: Any) -> None:
        """Give a key a new value, once this run is done.

        Raises:
            TypeError, ValueError: the key is unusable, or the value is no JSON or larger than 1 MiB.
        """
        _check_key(key)
        self._staged.writes[key] = _as_json(value, f"the value of {key!r}")

    def delete(self, key: str) -> None:
        """Remove a key, once this run is done. One that is not there is no error."""
        _check_key(key)
        self._staged.writes[key] = None


class Outbox:
    """Messages to other services, sent after this run is done.

    Each is sent with an `Idempotency-Key` header of its own, the same at every attempt and in a replay,
    until it is answered with success or its handler's retry policy ends. Messages of one handler about one
    calendar event are sent in the order in which they were posted.
    """

    def __init__(self, staged: Staged) -> None:
        self._staged = staged

    def post(self, url: str, *, json: Any = None, headers: Mapping[str, str] | None = None) -> None:
        """Send a POST with a JSON body, once this run is done.

        Raises:
            TypeError, ValueError: the URL is no http(s) address, the body no JSON or too large, or a header
                cannot be sent.
        """
        if len(self._staged.messages) >= MOST_MESSAGES:
            raise ValueError(f"outbox.post: more than {MOST_MESSAGES} messages from one call of a handler")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("outbox.post: expected an address such as https://example.com/hook")
        message = NewMessage(
            url=url,
            origin=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}",
            headers=_headers(headers or {}),
            body=_as_json(json, "the message").encode(),
        )
        self._staged.messages.append(message)


def _check_key(key: str) -> None:
    if not isinstance(key, str):
        raise TypeError(f"store: a key is text, found {type(key).__name__}")
    if not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise ValueError(f"store: a key has 1 to {LONGEST_KEY} printable characters")


def _as_json(value: Any, what: str) -> str:
    """The value as JSON.

    Raises:
        TypeError: it cannot be written as JSON.
        ValueError: it holds NaN or infinity, refers to itself, or is too large.
    """
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply to be JSON") from None
    if len(text) > LARGEST_VALUE:
        raise ValueError(f"{what} takes {len(text)} bytes as JSON; at most {LARGEST_VALUE} are kept")
    return text


def _headers(headers: Mapping[Any, Any]) -> str:
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("outbox.post: names and values of headers are text")
        if not name.isascii() or not name.isprintable() or ":" in name or not name.strip():
            raise ValueError("outbox.post: the name of a header has letters, digits and hyphens")
        if any(c in value for c in "\r\n\0"):
            raise ValueError(f"outbox.post: the value of {name} must be one line")
    return json.dumps(dict(headers))
