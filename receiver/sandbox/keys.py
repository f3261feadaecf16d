"""Who may ask, for what and how often: API keys, their permissions and their limits.

https://docs.klen.ai/api-reference/authentication. The rule easiest to break: these keys are printed in
public, so they open nothing but the sandbox.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from receiver.sandbox.errors import (
    SandboxError,
    authentication_required,
    invalid_key,
    permission_denied,
    rate_limit_exceeded,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multidict import MultiMapping

    from receiver.sandbox.clock import SandboxClock

READ: Final = "can_read_calendar"
WRITE: Final = "can_write_calendar"
PERMISSIONS: Final = (
    "can_read_calls",
    "can_initiate_calls",
    "can_read_agents",
    "can_read_contacts",
    READ,
    WRITE,
)

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class APIKey:
    """A key as it is sent, with what it may do."""

    key: str
    permissions: frozenset[str]
    requests_per_minute: int = 60
    creations_per_day: int = 50


DEFAULT_KEYS: Final = (
    APIKey("klen_sandbox_full", frozenset({READ, WRITE})),
    APIKey("klen_sandbox_read", frozenset({READ})),
    APIKey("klen_sandbox_write", frozenset({WRITE})),
)


def parse_key(text: str) -> APIKey:
    """`NAME=permissions`: the key, and what it may do, separated by commas; nothing for nothing.

    Raises:
        SandboxError: it is not that, or there is no such permission.
    """
    name, equals, listed = text.partition("=")
    if not equals or not name or not name.isascii() or not name.isprintable() or " " in name:
        raise SandboxError(f"Expected NAME=permissions, such as klen_other={READ},{WRITE}; found {text!r}.")
    short = {"read": {READ}, "write": {WRITE}, "full": {READ, WRITE}}
    permissions: set[str] = set()
    for word in filter(None, listed.split(",")):
        if word not in short and word not in PERMISSIONS:
            raise SandboxError(
                f"There is no permission {word!r}; "
                f"there are {', '.join(PERMISSIONS)}, and read, write and full."
            )
        permissions |= short.get(word, {word})
    return APIKey(name, frozenset(permissions))


class Window:
    """At most so many in any span of this length."""

    def __init__(self, limit: int, span: timedelta) -> None:
        self._limit = limit
        self._span = span
        self._taken: deque[datetime] = deque()

    def wait(self, now: datetime) -> timedelta:
        """How long until there is room for one; zero if there is."""
        while self._taken and self._taken[0] <= now - self._span:
            self._taken.popleft()
        if len(self._taken) < self._limit:
            return timedelta()
        return self._taken[0] + self._span - now if self._taken else self._span

    def take(self, now: datetime) -> None:
        """Count one."""
        self._taken.append(now)


class KeyRing:
    """All keys, and what each has used of its limits."""

    def __init__(self, keys: Iterable[APIKey], clock: SandboxClock) -> None:
        self._keys = {key.key: key for key in keys}
        self._clock = clock
        self.requests = 0
        """How many were let in, with any key."""
        self._requests = {key.key: Window(key.requests_per_minute, MINUTE) for key in self}
        self._creations = {key.key: Window(key.creations_per_day, DAY) for key in self}

    def __iter__(self) -> Iterator[APIKey]:
        return iter(self._keys.values())

    def admit(
        self, headers: MultiMapping[str], query: MultiMapping[str], permission: str | None = None
    ) -> APIKey:
        """The key of a request that may be answered; it is counted.

        Raises:
            APIError: there is no key, it is wrong, used too often, or may not do this.
        """
        text = _presented(headers, query)
        if not text:
            raise authentication_required()
        key = self._keys.get(text)
        if key is None:
            raise invalid_key()
        self._count(self._requests[key.key])
        self.requests += 1
        if permission is not None and permission not in key.permissions:
            raise permission_denied(permission)
        return key

    def admit_creation(self, key: APIKey) -> None:
        """Count the creation of an appointment.

        Raises:
            APIError: it would be one too many today.
        """
        self._count(self._creations[key.key])

    def _count(self, window: Window) -> None:
        now = self._clock.now()
        if wait := window.wait(now):
            real = self._clock.real_seconds(wait)
            raise rate_limit_exceeded(wait if real is None else timedelta(seconds=real))
        window.take(now)


def _presented(headers: MultiMapping[str], query: MultiMapping[str]) -> str:
    """The key, in whichever of the three ways it came."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return headers.get("X-API-Key", "").strip() or query.get("api_key", "").strip()
