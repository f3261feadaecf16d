"""The text of a new plugin, and of its test: both work at once, and name what their author may want next."""

from __future__ import annotations

import builtins
import difflib
import keyword
import re

import receiver
from receiver.events import EVENT_TYPES

_TEMPLATE = '''"""What happens at {event_type}. Loaded because it is in the plugins folder."""

from receiver import {cls}, on


@on({cls})
async def {name}(event: {cls}) -> None:
    print({line})
    # Returning means done. `raise Retry(after=60)` is called again in a minute, `raise Discard("why")` never;
    # any other exception is tried again by the policy. Import `Retry` and `Discard` from `receiver`, too.
    # A second parameter, `ctx: Context`, gives ctx.log, ctx.attempt, ctx.idempotency_key and ctx.settings.
'''

_TEST_TEMPLATE = '''"""What {name} does, without a running service. Run it with: python -m pytest {file}"""

import asyncio
from pathlib import Path

from receiver.testing import deliver, load_handler, sample

handler = load_handler(Path(__file__).parents[1] / "{folder}" / "{name}.py", "{name}")


def test_{name}():
    """It handles the webhook as the vendor documents it."""
    event = sample("{event_type}")  # another one: sample("{event_type}", {example})

    delivered = asyncio.run(deliver(handler, event))  # settings={{...}}, store={{...}} if it needs them

    assert delivered.outcome == "done", delivered.error
    assert delivered.messages == ()  # what ctx.outbox would send; delivered.store is what ctx.store holds
'''


def plugin_source(name: str, event_type: str) -> str:
    """The source of a plugin whose handler has this name.

    Raises:
        ValueError: no function and file can have the name, or there is no such webhook.
    """
    _check_name(name)
    cls = EVENT_TYPES.get(event_type)
    if cls is None:
        nearest = difflib.get_close_matches(event_type, EVENT_TYPES, n=1)
        advice = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(EVENT_TYPES)}."
        raise ValueError(f"there is no event type {event_type!r}; {advice}")
    about = "event.calendar_event.title" if "calendar_event" in cls.model_fields else "event.event_id"
    line = f'"{event_type}:", {about}'
    return _TEMPLATE.format(event_type=event_type, cls=cls.__name__, name=name, line=line)


def plugin_test(name: str, event_type: str, *, folder: str) -> str:
    """The source of the test of what `plugin_source` gives, for `tests/` beside the plugins folder.

    `folder` is the name of the plugins folder.
    """
    example = 'title="Another"' if event_type.startswith("calendar.") else 'phone_number="+15550000000"'
    return _TEST_TEMPLATE.format(
        name=name, event_type=event_type, folder=folder, file=f"tests/test_{name}.py", example=example
    )


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name) or keyword.iskeyword(name):
        raise ValueError(
            f"{name!r} cannot be the name of a handler; expected a Python name of up to 64 ASCII letters, "
            "digits and '_' that begins with a letter, such as greet or follow_up."
        )
    if name in receiver.__all__ or hasattr(builtins, name) or name == "plugins_dir":
        raise ValueError(f"the name {name!r} is taken; choose another, such as {name.lower()}_handler.")
