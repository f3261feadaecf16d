"""`klenhook replay`: recorded events for handlers once more.

It may send a year of messages again, so it wants a filter, says how many events are meant, and asks. The
rule easiest to break: nothing is written before the answer, and what was begun and interrupted is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import re
import sys
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.common import (
    ask,
    config_option,
    confirm,
    json_option,
    load,
    one_line,
    say,
    write_json,
    write_table,
)
from receiver.cli.log.filters import filters, limit_option, selection
from receiver.cli.log.records import short_time
from receiver.cli.replaying import Watch, replay_here, replay_there

if TYPE_CHECKING:
    from collections.abc import Sequence

    from receiver.config import Config
    from receiver.plugins import Handler
    from storage.reader import EventReader
    from storage.records import Selection


@dataclass(frozen=True)
class Wanted:
    """What is to be replayed, to whom."""

    selection: Selection
    target: str | None
    handlers: Sequence[Handler]
    """Those that run."""


@click.command()
@filters
@limit_option(0, "all")
@click.option("--to", metavar="HANDLER", help="Give them to this handler, also those it never saw.")
@click.option(
    "--handled-by",
    "code_version",
    metavar="VERSION",
    help="Exactly what this version of a handler's code was called for: code_version of `log show`.",
)
@click.option("--all", "everything", is_flag=True, help="Every event; a filter or this is required.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only count, per type and per handler; nothing is changed.")
@click.option("--no-wait", is_flag=True, help="With a running service: do not wait for the end.")
@click.option("--list", "as_list", is_flag=True, help="Show the replays so far and how they stand.")
@json_option
@config_option
def replay(config_path: str | None, *, as_list: bool, yes: bool, dry_run: bool, **options: Any) -> None:
    """Give recorded events to handlers once more. Handlers see `ctx.replayed`.

    With --to, that handler gets them, if it wants events of their kind. Else with --handler, the handler
    that had them. Else every handler that wants them. --limit means the newest of them.

    A running service does the work, beside what is new; without one it is done here.

    \b
    Example:
      klenhook replay --type 'calendar.*' --since 30d --to crm --dry-run
      klenhook replay --handler crm --status dead
      klenhook replay --handled-by 3f9c2a51 --yes

    Exit status: 0 done, 1 runs are dead or left over, 2 wrong usage; then nothing was changed.
    """
    as_json, no_wait = options.pop("as_json"), options.pop("no_wait")
    if as_list:
        _list(config_path, as_json=as_json)
        return
    config = load(config_path)
    wanted = _wanted(config_path, config, **options)
    total, times = ask(config_path, lambda log: _count(log, wanted.selection))
    if not total:
        say("No events match. Nothing was replayed.")
        return
    if dry_run:
        _tell_plan(ask(config_path, lambda log: _plan(log, wanted)), as_json=as_json)
        return
    events = "1 event" if total == 1 else f"{total} events"
    say(f"This replays {events} to {_destination(wanted)} ({times}).")
    confirm("Go on?", yes=yes)
    watch = Watch()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what handlers print is no result of this command
            report = asyncio.run(_replay(config, wanted, watch, wait=not no_wait))
    except KeyboardInterrupt:
        say(watch.interrupted())
        raise click.exceptions.Exit(1) from None
    _tell(report, watch, as_json=as_json, waited=not no_wait or not watch.by_service)


def _wanted(
    config_path: str | None, config: Config, *, to: str | None, everything: bool, limit: int, **chosen: Any
) -> Wanted:
    """What the options mean.

    Raises:
        click.UsageError: there is no filter, or a handler's name is not one.
    """
    from receiver.plugins import load_handlers

    if not everything and not limit and all(value is None for value in chosen.values()):
        raise click.UsageError("expected a filter, such as --since 2h, or --all for every event.")
    version = chosen["code_version"]
    if version is not None and not re.fullmatch("[0-9a-f]+", version):
        raise click.UsageError(
            f"--handled-by: expected the beginning of a code version in hex, found {one_line(version)!r}."
        )
    loaded = load_handlers(config)
    names = {handler.name for handler in loaded.handlers}
    for name in (to,) if to is not None else (chosen["handler"],):
        if name is not None and name not in names:
            off = name in {handler.name for handler in loaded.disabled}
            raise click.UsageError(_unknown(name, names, off=off, broken=len(loaded.broken)))
    if limit and chosen["after_seq"] is not None:
        raise click.UsageError("--limit means the newest events, so it does not go together with --after.")
    selected = selection(**chosen, limit=limit)
    if limit:
        selected = ask(config_path, lambda log: _newest(log, selected))
    return Wanted(selected, to, loaded.handlers)


def _unknown(name: str, names: set[str], *, off: bool, broken: int) -> str:
    if off:
        return f"the handler {name} is switched off: set enabled = true in [handlers.{name}]."
    nearest = difflib.get_close_matches(name, sorted(names), n=1)
    there = f"there are {', '.join(sorted(names))}" if names else "there is none"
    advice = f"did you mean {nearest[0]}?" if nearest else f"{there}."
    hint = " Plugins that do not load: see `klenhook handlers check`." if broken else ""
    return f"no handler has the name {one_line(name)!r}; {advice}{hint}"


async def _newest(log: EventReader, selected: Selection) -> Selection:
    """The newest events up to the limit, as all events behind a number."""
    numbers = [event.seq async for event in log.stream(selected)]
    return replace(selected, limit=0, after_seq=min(numbers, default=1) - 1)


async def _count(log: EventReader, selected: Selection) -> tuple[int, str]:
    """How many events there are, and from when to when they were received."""
    total = await log.count(selected)
    oldest = await log.page(replace(selected, limit=1, after_seq=selected.after_seq or 0))
    newest = await log.page(replace(selected, limit=1, after_seq=None))
    times = [short_time(event.received_at) for event in (*oldest, *newest)]
    return total, f"received {' to '.join(times)} UTC"


def _destination(wanted: Wanted) -> str:
    name = wanted.target or wanted.selection.handler
    if name is not None:
        return f"handler {name}"
    if wanted.selection.code_version is not None:
        return f"the handlers that code {wanted.selection.code_version} was called for"
    names = ", ".join(sorted(handler.name for handler in wanted.handlers))
    return f"every handler that wants them, of {names or 'none'}"


async def _plan(log: EventReader, wanted: Wanted) -> dict[str, Any]:
    from receiver.replay import plan

    types: Counter[str] = Counter()
    handlers: Counter[str] = Counter()
    async for event, takers in plan(log, wanted.selection, wanted.target, wanted.handlers):
        types[event.event_type or "(none)"] += 1
        handlers.update(handler.name for handler in takers)
    return {
        "events": types.total(),
        "types": dict(types.most_common()),
        "handlers": dict(handlers.most_common()),
    }


def _tell_plan(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    write_table(None, ("type", "events"), [(name, str(number)) for name, number in found["types"].items()])
    click.echo("")
    write_table(
        None, ("handler", "runs"), [(name, str(number)) for name, number in found["handlers"].items()]
    )
    say(f"{found['events']} events would be replayed. Nothing was changed.")


async def _replay(config: Config, wanted: Wanted, watch: Watch, *, wait: bool) -> dict[str, Any]:
    from storage.errors import LogLocked

    paused = {handler.name for handler in wanted.handlers if handler.paused}
    try:
        return await replay_here(config, wanted.selection, wanted.target, watch, paused=paused)
    except LogLocked:
        body = {
            key: value for key, value in asdict(wanted.selection).items() if key not in ("limit", "words")
        }
        request = {"selection": body, "target": wanted.target}
        return await replay_there(config, request, watch, paused=paused, wait=wait)


def _tell(report: dict[str, Any], watch: Watch, *, as_json: bool, waited: bool) -> None:
    if as_json:
        write_json(report)
    if not waited:
        say(f"Replay {report['replay_id']} has begun; `klenhook replay --list` shows how it stands.")
        return
    if not as_json:
        states = sorted({state for runs in report["runs"].values() for state in runs})
        rows = [
            (handler, *(str(runs.get(state, 0)) for state in states))
            for handler, runs in report["runs"].items()
        ]
        write_table(None, ("handler", *states), rows)
    left = watch.left(report)
    dead = sum(runs.get("dead", 0) for runs in report["runs"].values())
    say(f"Replay {report['replay_id']}: {watch.made(report)}{left}")
    if watch.messages:
        say(f"{watch.messages} messages wait in the outbox; the service sends them when it starts.")
    if dead or left:
        raise click.exceptions.Exit(1)


def _list(config_path: str | None, *, as_json: bool) -> None:
    async def reports(log: EventReader) -> list[dict[str, Any]]:
        from receiver.replay import report

        return [await report(log, record) for record in await log.replays()]

    found = ask(config_path, reports)
    if as_json:
        for one in found:
            write_json(one)
    elif found:
        write_table(None, ("id", "started (UTC)", "events", "to", "runs"), [_row(one) for one in found])
    if not found:
        say("There is no replay yet.")


def _row(report: dict[str, Any]) -> tuple[str, ...]:
    states: Counter[str] = Counter()
    for runs in report["runs"].values():
        states.update(runs)
    to = report["target"] or report["selection"].get("handler") or "all"
    events = f"{report['covered']} of {report['total']}"
    runs = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return str(report["replay_id"]), short_time(report["created_at"]), events, to, runs
