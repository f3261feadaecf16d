"""`klenhook handlers test`: one handler over a slice of the log, without effects.

The rule easiest to break: URLs are shown without their queries and headers not at all, since both carry
tokens; they are compared whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import json
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.common import config_option, json_option, load, one_line, say, write_json
from receiver.cli.log.filters import filters, limit_option, selection
from receiver.cli.log.records import short_time
from receiver.cli.log.show import without_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from receiver.backtest import Deed
    from receiver.config import Config
    from receiver.plugins import Handler
    from storage.records import EventRecord, Selection


@click.command()
@click.argument("name")
@filters
@limit_option(0, "all")
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False),
    metavar="FILE",
    help="Compare with the handler of the same name in this plugin file.",
)
@json_option
@config_option
def test(config_path: str | None, *, name: str, against: str | None, as_json: bool, **chosen: Any) -> None:
    """Run the handler NAME over recorded events, oldest first, and print what it would have done.

    Nothing is sent and nothing is written: the handler's store is a copy, starting from what it holds now;
    messages are only shown; `ctx.http` connects nowhere and answers every request with 200 and {}. With
    --limit, the newest events. What else the handler's code does, such as writing a file, it really does.

    \b
    Example:
      klenhook handlers test crm --since 7d
      klenhook handlers test crm --since 7d --against drafts/crm.py

    Exit status: 0 done, 1 a call failed, or with --against something differs.
    """
    config = load(config_path)
    handler = _handler(config, name)
    wanted = selection(**chosen)
    with contextlib.redirect_stdout(sys.stderr):  # what the handler prints is no result of this command
        found = asyncio.run(_run(config, handler, wanted, against))
    ended = Counter[str]()
    differing = 0
    for event, deeds in found:
        ended[deeds[0].outcome] += 1
        differs = deeds[0].differences(deeds[1]) if against else {}
        differing += bool(differs)
        if as_json:
            write_json(_record(event, deeds, differs))
        else:
            click.echo("\n".join(_lines(event, deeds[0], differs)))
    if not found:
        say("No events match.")
        return
    counts = ", ".join(f"{number} {outcome}" for outcome, number in ended.most_common())
    say(f"{len(found)} events: {counts}. Nothing was sent or written; http was answered with 200 and {{}}.")
    if against:
        say(f"{differing} of them differ." if differing else "None differs.")
    if differing or ended["failed"]:
        raise click.exceptions.Exit(1)


def _handler(config: Config, name: str) -> Handler:
    from receiver.plugins import load_handlers

    loaded = load_handlers(config)
    known = {handler.name: handler for handler in loaded.handlers}
    if name in known:
        return known[name]
    if name in {handler.name for handler in loaded.disabled}:
        raise click.UsageError(
            f"the handler {name} is switched off: set enabled = true in [handlers.{name}]."
        )
    nearest = difflib.get_close_matches(name, sorted(known), n=1)
    advice = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(sorted(known)) or 'none'}."
    raise click.UsageError(f"no handler has the name {one_line(name)!r}; {advice}")


async def _run(
    config: Config, handler: Handler, wanted: Selection, against: str | None
) -> list[tuple[EventRecord, list[Deed]]]:
    from receiver.backtest import Candidate, function_in, judged, settings_for, stored_values
    from storage import open_reader

    log = await open_reader(config.storage_url)
    try:
        store, allow = await stored_values(log, handler.name), config.outbound.allow
        candidates = [Candidate(handler.function, handler.settings, store, allow)]
        if against:
            function = function_in(against, handler.name)
            settings = settings_for(function, handler.name, config, os.environ)
            candidates.append(Candidate(function, settings, store, allow))
        return [pair async for pair in judged(log, wanted, candidates)]
    finally:
        await log.aclose()


def _record(event: EventRecord, deeds: Sequence[Deed], differs: Mapping[str, Any]) -> dict[str, Any]:
    record = {
        "seq": event.seq,
        "event_id": event.event_id,
        "event_type": event.event_type,
        **_shown(deeds[0]),
    }
    if len(deeds) > 1:
        record |= {"against": _shown(deeds[1]), "differs": list(differs)}
    return record


def _shown(deed: Deed) -> dict[str, Any]:
    return {
        "outcome": deed.outcome,
        "error": deed.error,
        "writes": dict(deed.writes),
        "messages": [_safe(message) for message in deed.messages],
        "http": [_safe(request) for request in deed.http],
    }


def _safe(request: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in request.items() if key not in ("headers", "params")}
    return kept | {"url": without_query(request["url"])}


def _lines(event: EventRecord, deed: Deed, differs: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    head = f"{event.seq}  {short_time(event.received_at)}  {event.event_type or '(no type)'}  {deed.outcome}"
    yield one_line(head + (f"  {deed.error}" if deed.error else ""))
    for key, value in deed.writes.items():
        yield one_line(
            f"    store {key} = {_json(value)}" if value is not None else f"    store {key} deleted"
        )
    for message in deed.messages:
        yield one_line(f"    outbox POST {without_query(message['url'])} {_json(message['json'])}")
    for request in deed.http:
        body = next((f" {_json(request[key])}" for key in ("json", "data") if key in request), "")
        yield one_line(f"    http {request['method']} {without_query(request['url'])}{body}")
    for name, (_, there) in differs.items():
        yield one_line(f"    differs in {name}: there {_difference(name, there)}")


def _difference(name: str, there: Any) -> str:
    return _json([_safe(one) for one in there] if name in ("messages", "http") else there)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
