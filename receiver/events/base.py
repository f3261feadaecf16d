"""What every event is: the payload's envelope, and what the log knows about it.

The models take whatever the vendor sends: unknown keys are kept, and a value that cannot be read leaves
its attribute None while `raw` has it as it came. The rule easiest to break: only the functions in
`reading` judge a value, so that making a model of JSON never fails.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from receiver import reading
from storage.records import Origin

__all__ = [
    "AnyEvent",
    "Boolean",
    "Identifier",
    "Instant",
    "Integer",
    "Model",
    "Text",
    "UnknownEvent",
    "Uuid",
    "nested",
]

Text = Annotated[str | None, BeforeValidator(reading.text)]
Uuid = Annotated[str | None, BeforeValidator(reading.uuid)]
Integer = Annotated[int | None, BeforeValidator(reading.integer)]
Identifier = Annotated[int | str | None, BeforeValidator(reading.identifier)]
Boolean = Annotated[bool | None, BeforeValidator(reading.boolean)]
Instant = Annotated[datetime | None, BeforeValidator(reading.instant)]


class Model(BaseModel):
    """A part of a payload. Frozen; keys we do not know are attributes too, and are in `model_extra`."""

    # Built when the first one is made: the service starts quicker, and commands need few of them or none.
    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True, defer_build=True)


class AnyEvent(Model):
    """Any webhook, known or not. A handler `on(AnyEvent)` gets every event.

    Envelope: https://docs.klen.ai/api-reference/webhooks/overview
    """

    type_name: ClassVar[str] = "*"
    """The vendor's name of the webhook, such as `calendar.created`."""

    event_type: str | None
    """The vendor's name of the webhook, as this payload has it. None when it has none."""
    timestamp: Instant = None
    """When the vendor made the webhook, in UTC: the only clue to the order of events. None if unreadable."""

    event_id: str
    """Our id of the event. The same on every attempt and after a replay."""
    source: str
    """The Klen account it came from, as named in the configuration: `klen` for `[sources.klen]`."""
    received_at: AwareDatetime
    """When it was received first, in UTC."""
    origin: Origin = "webhook"
    """How it came: `webhook`, `reconcile` (found at the vendor's API) or `watchdog`."""
    delivery_id: str | None = None
    """The vendor's `X-Klen-Delivery-ID`. It is not signed, so it is a hint."""
    raw: Any = Field(repr=False)
    """The whole body as it came, parsed. For a known event it is a dict."""


class UnknownEvent(AnyEvent):
    """A webhook of a type we do not know, or one whose shape we cannot read. `raw` has everything."""

    type_name: ClassVar[str] = "unknown"


def nested(value: object) -> Any:
    """What a nested model is made of; anything that is neither an object nor a model is None.

    Pydantic refuses keys that have no UTF-8, so those are made readable.
    """
    if isinstance(value, dict):
        return value if "".join(value).isascii() else {reading.text(key): value[key] for key in value}
    return value if isinstance(value, Model) else None
