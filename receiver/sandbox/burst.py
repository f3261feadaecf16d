"""Many appointments at once, with changes of them, past the limits of the API.

The rule easiest to break: the seed and how many appointments there were decide what is made up, so the same
bursts on the same sandbox are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from receiver.sandbox.drawn import draws
from receiver.sandbox.invention import invented, invented_changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from receiver.sandbox.account import Account
    from receiver.sandbox.appointment import Appointment
    from receiver.sandbox.sandbox import Sandbox


def burst(sandbox: Sandbox, count: int, changes: int = 0) -> list[Appointment]:
    """Book so many appointments, then change each so often; they as they were booked."""
    dice, account = draws(sandbox.seed, "burst", len(sandbox.world)), sandbox.account
    booked = [account.book(invented(dice, account.clock.now())) for _ in range(count)]
    for _ in range(changes):
        for appointment in booked:
            _change(account, appointment.uuid, invented_changes(dice, account.clock.now()))
    return booked


def _change(account: Account, uuid: str, request: Mapping[str, Any]) -> None:
    """Unless it was cancelled, or is over, before."""
    if not account.find(uuid).is_open:
        return
    if "reason" in request:
        account.cancel(uuid, request)
    else:
        account.update(uuid, request)
