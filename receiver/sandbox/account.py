"""Changes of the account, whoever asks for them: each happens by the sandbox's clock and is told to everyone.

What is asked for has the keys of the vendor's requests. The rule easiest to break: nothing changes the world
but through here (or by falling due), or it would happen without its webhook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from receiver.sandbox.errors import not_found
from receiver.sandbox.fields import read_changes, read_new, read_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from receiver.sandbox.appointment import Appointment
    from receiver.sandbox.clock import SandboxClock
    from receiver.sandbox.world import Happening, World


class Account:
    """The world together with the time and with those who hear of it."""

    def __init__(self, world: World, clock: SandboxClock, publish: Callable[[Happening], None]) -> None:
        """`publish` gets everything that happens, as soon as it has."""
        self.world = world
        self.clock = clock
        self._publish = publish

    def find(self, event_id: str) -> Appointment:
        """By number or UUID.

        Raises:
            APIError: there is none.
        """
        appointment = self.world.find(event_id)
        if appointment is None:
            raise not_found("Event")
        return appointment

    def book(self, request: Mapping[str, Any], *, allowed: Callable[[], None] = lambda: None) -> Appointment:
        """Create an appointment; `title`, `start_time` and `end_time` are needed.

        `allowed` is called when all else is right, and may still raise.

        Raises:
            APIError: it cannot be; says why.
        """
        draft = self.world.draft(read_new(request))
        allowed()
        now, callers_now = self.clock.now(), self.clock.callers_now()
        return self._told(self.world.create(draft, now=now, callers_now=callers_now))

    def update(self, event_id: str, request: Mapping[str, Any], *, whole: bool = False) -> Appointment:
        """Change an appointment; `whole` resets what the request does not name.

        Raises:
            APIError: there is none, or it cannot be; says why.
        """
        old, changes = self.find(event_id), read_changes(request)
        now, callers_now = self.clock.now(), self.clock.callers_now()
        return self._told(self.world.update(old, changes, now=now, callers_now=callers_now, whole=whole))

    def cancel(self, event_id: str, request: Mapping[str, Any] | None = None) -> Appointment:
        """Cancel an appointment, with a `reason` perhaps; nothing happens if it was cancelled before.

        Raises:
            APIError: there is none, or the reason is no text.
        """
        old, reason = self.find(event_id), read_reason(request or {})
        happening = self.world.cancel(old, reason, now=self.clock.now())
        return old if happening is None else self._told(happening)

    def _told(self, happening: Happening) -> Appointment:
        self._publish(happening)
        return happening.appointment
