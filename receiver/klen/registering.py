"""A new webhook's secret, brought to where the configuration looks for it.

A secret that a `file:` names and that is not there yet is written, readable by its owner only. Anything else
is the operator's to do. The rule easiest to break: a file that exists is never touched, whatever is in it.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from receiver.config import load as loading
from receiver.events import EVENT_TYPES

if TYPE_CHECKING:
    from pathlib import Path

    from receiver.config import Config

CALENDAR_EVENTS: Final = tuple(name for name in EVENT_TYPES if name.startswith("calendar."))
"""The webhooks that klenhook is for."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new secret belongs."""

    file: Path | None
    """A file that the configuration names and that is not there yet."""
    variable: str | None
    """Else a variable that it names and that is not set."""

    def write(self, secret: str) -> None:
        """Make the file, for its owner only, and have it on the disk when this returns.

        Raises:
            OSError: it cannot be made, or has come about in the meantime.
        """
        assert self.file is not None  # noqa: S101 -- the caller has looked
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 -- a descriptor, for its mode
            file.write(f"{secret}\n")
            file.flush()
            os.fsync(file.fileno())


def load_without_secrets(path: str | None) -> tuple[Config, dict[str, Place]]:
    """The configuration, and for each source where its secret belongs, of which there may be none yet.

    Raises:
        ConfigError: anything else is wrong with it.
    """
    layers = loading.read_layers(path)
    places: dict[str, Place] = {}
    sources = layers.merged.get("sources")
    stand_ins: dict[str, Any] = {}
    for name, table in sources.items() if isinstance(sources, dict) else ():
        if not isinstance(table, dict):
            stand_ins[name] = table
            continue
        places[name] = _place(table.get("secrets"), layers)
        unresolved = places[name].file or places[name].variable or not table.get("secrets")
        stand_ins[name] = table | ({"secrets": [secrets.token_hex(16)]} if unresolved else {})
    merged = layers.merged | ({"sources": stand_ins} if stand_ins else {})
    return loading.check(replace(layers, merged=merged)), places


def _place(written: object, layers: loading.Layers) -> Place:
    """What the entries of `secrets` name that is not there."""
    texts = [text for text in written if isinstance(text, str)] if isinstance(written, list) else []
    names = [text.removeprefix("file:") for text in texts if text.startswith("file:")]
    files = [layers.place.path.parent / name for name in names if name]
    variables = [text.removeprefix("env:") for text in texts if text.startswith("env:")]
    return Place(
        next((file for file in files if not os.path.lexists(file)), None),
        next((name for name in variables if name not in layers.place.environ), None),
    )
