"""The lines that would handle an event, ready to paste into a file of `plugins_dir`."""

from __future__ import annotations

import re

from receiver.events import EVENT_TYPES
from receiver.shapes import MAX_EVENT_TYPE


def hint(event_type: str | None) -> str:
    """A plugin for this type of webhook, with its import; for an unknown one it goes by the type's name.

    The text is safe to print, whatever the type is called.
    """
    word = re.sub(r"[^a-z0-9]+", "_", (event_type or "")[:40].lower()).strip("_")
    if event_type is None:
        return _lines("on_unknown", "UnknownEvent")
    if event_type in EVENT_TYPES:
        return _lines(f"on_{word}", EVENT_TYPES[event_type].__name__)
    only = f", where=lambda event: event.event_type == {event_type[:MAX_EVENT_TYPE]!a}"
    return _lines(f"on_{word or 'unknown'}", "UnknownEvent", only)


def _lines(name: str, cls: str, only: str = "") -> str:
    return (
        f"from receiver import {cls}, on\n\n\n"
        f"@on({cls}{only})\n"
        f"async def {name}(event: {cls}) -> None:\n"
        '    print("received:", event.event_type, event.event_id)\n'
    )
