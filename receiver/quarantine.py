"""The way back for a signed body that could not be read: through intake, as if it came now.

A newer klenhook may be able to read what an older one refused. The rule easiest to break: a body is marked as
released only after it is in the log as an event, so that a crash in between leaves it in quarantine and
releasing it again finds its own event.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from receiver.errors import InvalidJSON, ReceiverError
from receiver.intake import Delivery, read_event

if TYPE_CHECKING:
    from storage.log import EventLog
    from storage.records import Appended


class NotKeptError(ReceiverError):
    """Quarantine has no body of this number."""


class StillUnreadableError(ReceiverError):
    """The body still is no JSON; it stays where it is."""


async def release(log: EventLog, number: int) -> Appended:
    """Record one body as an event, received when it was received.

    Raises:
        NotKeptError, StillUnreadableError: it cannot be; nothing was changed.
    """
    refused = await log.quarantined_body(number)
    if refused is None:
        raise NotKeptError(f"Quarantine has no body {number}. `klenhook log quarantine` lists what it has.")
    delivery = Delivery(
        source=refused.source,
        body=refused.body,
        received_at_ms=refused.received_at_ms,
        secret_fingerprint=refused.secret_fingerprint,
        delivery_id=refused.delivery_id,
        headers=tuple(json.loads(refused.headers).items()),
    )
    try:
        event = read_event(delivery)
    except InvalidJSON as error:
        raise StillUnreadableError(
            f"Body {number} still is no JSON ({error.reason}). It stays in quarantine."
        ) from None
    appended = await log.append(event)
    await log.released(number)
    return appended
