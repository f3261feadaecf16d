"""A process that a handler forks must not become a second service.

`os.fork` in a handler copies the event loop with everything that waits in it. Whatever the handler does in
the child, sooner or later it comes back to the loop, and the child would then answer the parent's requests
and finish the parent's runs. So the first thing that its loop does is to end the process. A child that
never comes back, as one of `multiprocessing`, is left alone.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final
from weakref import WeakSet

_loops: Final[WeakSet[asyncio.AbstractEventLoop]] = WeakSet()
STATUS: Final = 70
"""EX_SOFTWARE of sysexits.h: something was wrong inside."""


def guard(loop: asyncio.AbstractEventLoop) -> None:
    """End every copy of this process in which this loop would go on."""
    _loops.add(loop)


def _end_when_back() -> None:
    for loop in _loops:
        ready = getattr(loop, "_ready", None)
        if loop.is_running() and ready is not None:
            # In front of all that waits: `call_soon` would come after answers to the parent's senders.
            ready.appendleft(asyncio.Handle(os._exit, (STATUS,), loop))


os.register_at_fork(after_in_child=_end_when_back)  # there is no way to take it back, so once
