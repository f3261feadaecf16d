"""What plugin authors test with: sample events, one call of a handler, and a whole service on this machine.

    events.py       a typed event of every kind, and the payload it is made of
    delivery.py     one call of a handler as the service would make it; its result as a value
    idempotency.py  the same events twice and shuffled, with the same effects
    loading.py      the handler in a plugin's file
    service.py      a real service with a vendor that signs and sends
    plugin.py       the pytest fixture; the only file that needs pytest

Names are loaded when they are first asked for: pytest imports this package in every suite of an environment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from receiver.sandbox import Faults, Sandbox
    from receiver.testing.delivery import Delivered, Message, deliver
    from receiver.testing.events import ABSENT, CHANGES, sample, samples
    from receiver.testing.idempotency import deliver_twice_shuffled
    from receiver.testing.loading import load_handler
    from receiver.testing.service import LocalService, local_service

__all__ = [
    "ABSENT",
    "CHANGES",
    "Delivered",
    "Faults",
    "LocalService",
    "Message",
    "Sandbox",
    "deliver",
    "deliver_twice_shuffled",
    "load_handler",
    "local_service",
    "sample",
    "samples",
]

_HOMES: Final = {
    "ABSENT": "receiver.testing.events",
    "CHANGES": "receiver.testing.events",
    "Delivered": "receiver.testing.delivery",
    "Faults": "receiver.sandbox",
    "LocalService": "receiver.testing.service",
    "Message": "receiver.testing.delivery",
    "Sandbox": "receiver.sandbox",
    "deliver": "receiver.testing.delivery",
    "deliver_twice_shuffled": "receiver.testing.idempotency",
    "load_handler": "receiver.testing.loading",
    "local_service": "receiver.testing.service",
    "sample": "receiver.testing.events",
    "samples": "receiver.testing.events",
}

if not TYPE_CHECKING:  # a checker that saw this would believe in every name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
