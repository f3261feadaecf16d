"""Changes of the account, whoever makes them: each happens by the sandbox's clock and is told to everybody.

The rule easiest to break: nothing changes the world but through here (or by falling due), or it would happen
without its webhook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    def book(self, draft: Mapping[str, Any]) -> Appointment:
        """Create the appointment of this draft, which comes from `World.draft`."""
        now, callers_now = self.clock.now(), self.clock.callers_now()
        return self._told(self.world.create(draft, now=now, callers_now=callers_now))

    def update(self, old: Appointment, fields: Mapping[str, Any], *, whole: bool = False) -> Appointment:
        """Change fields from `fields.read_changes`; `whole` resets the others.

        Raises:
            APIError: see `World.update`.
        """
        now, callers_now = self.clock.now(), self.clock.callers_now()
        return self._told(self.world.update(old, fields, now=now, callers_now=callers_now, whole=whole))

    def cancel(self, old: Appointment, reason: str | None = None) -> Appointment:
        """Cancel it; nothing happens if it was already."""
        happening = self.world.cancel(old, reason, now=self.clock.now())
        return old if happening is None else self._told(happening)

    def _told(self, happening: Happening) -> Appointment:
        self._publish(happening)
        return happening.appointment
