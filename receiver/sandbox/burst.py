"""Many appointments at once, with changes of them, past the limits of the API.

The rule easiest to break: the seed and how many appointments there were decide what is made up, so the same
bursts on the same sandbox are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from receiver.sandbox.drawn import draws
from receiver.sandbox.invention import invented, invented_changes

if TYPE_CHECKING:
    import random

    from receiver.sandbox.appointment import Appointment
    from receiver.sandbox.sandbox import Sandbox


def burst(sandbox: Sandbox, count: int, changes: int = 0) -> list[Appointment]:
    """Book so many appointments, then change each so often; they as they were booked."""
    dice = draws(sandbox.seed, "burst", len(sandbox.world))
    now, callers_now = sandbox.clock.now(), sandbox.clock.callers_now()
    booked = []
    for _ in range(count):
        draft = sandbox.world.draft(invented(dice, now))
        happening = sandbox.world.create(draft, now=now, callers_now=callers_now)
        sandbox.publish(happening)
        booked.append(happening.appointment)
    for _ in range(changes):
        for appointment in booked:
            _change(sandbox, appointment.uuid, dice)
    return booked


def _change(sandbox: Sandbox, uuid: str, dice: random.Random) -> None:
    appointment = sandbox.world.find(uuid)
    now, callers_now = sandbox.clock.now(), sandbox.clock.callers_now()
    fields = invented_changes(dice, now)
    if appointment is None or not appointment.is_open:
        return
    if "cancelled" in fields:
        happening = sandbox.world.cancel(appointment, fields["cancelled"], now=now)
    else:
        happening = sandbox.world.update(appointment, fields, now=now, callers_now=callers_now)
    if happening:
        sandbox.publish(happening)
