"""What a child needs to know: where the handler's code is, and then each run it is called for.

The rule easiest to break: both sides have to know the plugin's classes by the same module, since the settings
are pickled and may hold some.
"""

from __future__ import annotations

import base64
import pickle
import sys
from typing import TYPE_CHECKING

from receiver.plugins.search import PACKAGES

if TYPE_CHECKING:
    from receiver.isolation.messages import Message
    from receiver.plugins import Handler
    from storage.work import Claimed


def code_of(handler: Handler) -> str:
    """What a child that calls this handler has loaded. Handlers for which it is equal can share children."""
    own = handler.name if handler.origin == "installed" else ""
    return f"{_package(handler)} {handler.file} {handler.code_version} {own}"


def start_message(handler: Handler) -> Message:
    """Where the code is: a file with its private package, or for an installed handler what to import."""
    return {
        "kind": "start",
        "origin": handler.origin,
        "file": str(handler.file),
        "package": _package(handler),
        "entry": [handler.name, _importable(handler)],
    }


def _package(handler: Handler) -> str | None:
    """None for an installed handler, and if the function was put together elsewhere, by another library."""
    module = handler.function.__module__
    if handler.origin == "installed" or not module.startswith(PACKAGES[handler.origin]):
        return None
    return ".".join(module.split(".")[:2])


def _importable(handler: Handler) -> str:
    """Module and name in the notation of entry points."""
    module = handler.function.__module__
    names = vars(sys.modules[module]) if module in sys.modules else {}
    name = next((name for name, thing in names.items() if thing is handler.function), handler.name)
    return f"{module}:{name}"


def call_message(handler: Handler, run: Claimed) -> Message:
    """One run.

    Raises:
        Exception: the settings cannot be pickled; pickling runs code of their own types.
    """
    # The state without the class, which the child has loaded itself. JSON would mask secrets and lose types.
    settings = pickle.dumps(handler.settings.__getstate__()) if handler.takes_context else b""
    return {
        "kind": "call",
        "handler": handler.name,
        "timeout": handler.timeout,
        "settings": base64.b64encode(settings).decode(),
        "body": base64.b64encode(run.body).decode(),
        "event_id": run.event_id,
        "source": run.source,
        "received_at_ms": run.received_at_ms,
        "origin": run.origin,
        "delivery_id": run.delivery_id,
        "attempt": run.attempt,
        "replayed": run.replay_id is not None,
        "verdict": run.verdict,
        "state": run.state,
        "changes": [change._asdict() for change in run.changes],
    }
