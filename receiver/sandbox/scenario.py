"""Stories in TOML: what happens in a sandbox, step by step, with time passing at once.

    title = "Nobody came"
    [faults]                  # as the options of the command: duplicate, reorder, drop, delay, ...
    drop = 0.1
    [[steps]]
    book = "visit"            # a name for later steps; the other keys are those of the vendor's request
    title = "First Visit"
    starts_in = "3h"          # instead of start_time, and `minutes` instead of end_time
    minutes = 30
    [[steps]]
    update = "visit"
    status = "no_show"

The other steps are `cancel = NAME` with a `reason`, `wait = TIME`, `outage = TIME`, `burst = COUNT` with
`changes`, and `rotate = WEBHOOK`. The rule easiest to break: a step has exactly one of these verbs, and every
mistake in a file is told with the number of its step.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from receiver.sandbox.burst import burst
from receiver.sandbox.durations import parse_duration
from receiver.sandbox.errors import APIError, SandboxError
from receiver.sandbox.faults import Faults
from receiver.sandbox.fields import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from receiver.sandbox.sandbox import Sandbox

VERBS: Final = ("book", "update", "cancel", "wait", "outage", "burst", "rotate")
OPTIONS: Final = {
    "book": FIELDS | {"created_by_ai_agent", "starts_in", "minutes"},
    "update": FIELDS | {"starts_in", "minutes"},
    "cancel": {"reason"},
    "burst": {"changes"},
}
MOST_AT_ONCE: Final = 100_000


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: the verb, what it is done to, and the rest of the table."""

    number: int
    verb: str
    object: Any
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story that was read."""

    title: str
    faults: Faults
    steps: tuple[Step, ...]


def load_scenario(name: str) -> Scenario:
    """The story in this file, or the one of this name that comes with klenhook.

    Raises:
        SandboxError: there is none, or it has a mistake; says where.
    """
    path = Path(name)
    bundled = files("receiver.sandbox") / "stories" / f"{name}.toml"
    try:
        text = (
            path.read_text("utf-8") if path.exists() or not bundled.is_file() else bundled.read_text("utf-8")
        )
    except FileNotFoundError:
        raise SandboxError(f"There is no story {name}; there are {', '.join(bundled_stories())}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SandboxError(f"{name} cannot be read: {error}.") from None
    try:
        return parse_scenario(text)
    except SandboxError as error:
        raise SandboxError(f"{name}: {error}") from None


def bundled_stories() -> list[str]:
    """The names of the stories that come with klenhook."""
    folder = files("receiver.sandbox") / "stories"
    return sorted(one.name.removesuffix(".toml") for one in folder.iterdir() if one.name.endswith(".toml"))


def parse_scenario(text: str) -> Scenario:
    """A story from TOML.

    Raises:
        SandboxError: see `load_scenario`.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SandboxError(f"expected TOML; {error}.") from None
    unknown = set(table) - {"title", "faults", "steps"}
    if unknown:
        raise SandboxError(f"unknown key {min(unknown)!r}; expected title, faults and steps.")
    steps = table.get("steps")
    if not isinstance(steps, list) or not steps or not all(isinstance(step, dict) for step in steps):
        raise SandboxError("expected tables [[steps]], at least one.")
    return Scenario(
        str(table.get("title", "")),
        _faults(table.get("faults", {})),
        tuple(_step(number, step) for number, step in enumerate(steps, 1)),
    )


class Play:
    """A scenario on a sandbox whose clock stands still but for the story's waits."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._cast: dict[str, str] = {}

    async def perform(self, step: Step) -> None:
        """Do one step, and wait until what it sent has been answered.

        Raises:
            SandboxError: the step cannot be done; says why.
        """
        try:
            await self._perform(step)
        except (APIError, ValueError) as error:
            raise SandboxError(f"step {step.number}, {step.verb}: {error}") from None
        await self._sandbox.idle()

    async def _perform(self, step: Step) -> None:
        sandbox, options = self._sandbox, dict(step.options)
        if step.verb == "book":
            self._cast[step.object] = sandbox.account.book(self._timed(options)).uuid
        elif step.verb == "update":
            sandbox.account.update(self._of(step.object), self._timed(options))
        elif step.verb == "cancel":
            sandbox.account.cancel(self._of(step.object), options)
        elif step.verb == "wait":
            await sandbox.jump(parse_duration(step.object))
        elif step.verb == "outage":
            sandbox.outage(parse_duration(step.object))
        elif step.verb == "burst":
            burst(sandbox, _count(step.object), _count(options.get("changes", 0)))
        else:
            webhook = sandbox.webhooks.find(step.object)
            if webhook is None:
                raise ValueError(f"there is no webhook {step.object!r}")
            sandbox.rotate(webhook)

    def _of(self, name: Any) -> str:
        if name not in self._cast:
            raise ValueError(f"nothing was booked as {name!r}")
        return self._cast[name]

    def _timed(self, options: dict[str, Any]) -> dict[str, Any]:
        """With `starts_in` and `minutes` as the times they mean now."""
        if "starts_in" not in options:
            return options
        start = self._sandbox.clock.now() + parse_duration(options.pop("starts_in"))
        end = start + timedelta(minutes=_count(options.pop("minutes", 60)))
        return {**options, "start_time": start.isoformat(), "end_time": end.isoformat()}


def _faults(table: Any) -> Faults:
    known = {one.name for one in fields(Faults)}
    if not isinstance(table, dict) or not set(table) <= known:
        raise SandboxError(f"faults: expected a table with some of {', '.join(sorted(known))}.")
    try:
        return Faults(**{**table, "delay": parse_duration(table.get("delay", "0s"))})
    except (ValueError, SandboxError) as error:
        raise SandboxError(f"faults: {error}") from None


def _step(number: int, table: Mapping[str, Any]) -> Step:
    verbs = [verb for verb in VERBS if verb in table]
    if len(verbs) != 1:
        raise SandboxError(f"step {number}: expected exactly one of {', '.join(VERBS)}, found {len(verbs)}.")
    [verb] = verbs
    options = {key: value for key, value in table.items() if key != verb}
    if unknown := set(options) - OPTIONS.get(verb, set()):
        raise SandboxError(f"step {number}, {verb}: unknown key {min(unknown)!r}.")
    return Step(number, verb, table[verb], options)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_AT_ONCE:
        raise ValueError(f"expected a number up to {MOST_AT_ONCE}, found {value!r}")
    return value
