"""A blocking call in a thread of its own, for what the log does at its start and its end.

Not `asyncio.to_thread`: the few threads behind it are everybody's, and handlers may keep them all.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def apart(function: Callable[..., T], *arguments: Any) -> T:
    """Call it, and wait for it without holding up the loop."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="klenhook-apart")
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, function, *arguments)
    finally:
        thread.shutdown(wait=False)
