"""`klenhook db check` and `db rebuild`: whether the log is what was written, and says what it should."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

import click

from receiver.cli.common import (
    ask,
    change,
    config_option,
    fail,
    json_option,
    load,
    one_line,
    printable,
    say,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from receiver.config import Config
    from receiver.rebuild import Difference
    from storage.log import EventLog
    from storage.reader import EventReader
    from storage.records import Damage


@click.command()
@json_option
@config_option
def check(config_path: str | None, *, as_json: bool) -> None:
    """Read the whole log for damage: the file's structure, every body by its hash, every state by its events.

    Damaged events are named by their ids; exit status 1 if there is anything. It only reads, so the service
    may run.

    \b
    Example:
      klenhook db check
      klenhook db check --json
    """
    from storage import check_log

    with _working("Reading the file and every body ..."):
        damages = list(check_log(load(config_path).storage_url))
    if not damages:  # states of damaged events are not worth comparing
        with _working("Comparing what is known of calendar events ..."):
            damages = list(_states(config_path))
    for damage in damages:
        if as_json:
            write_json(asdict(damage))
        else:
            click.echo(f"{damage.event_id or damage.kind}: {printable(damage.message)}")
    if damages:
        raise fail(
            f"the log is damaged: {len(damages)} findings. What is named is not as it was written; the rest "
            "is. States are put right by `klenhook db rebuild`; for the rest, storage/README.md says how to "
            "restore a backup."
        )
    say("The log is sound: its structure, the hash of every body, and what is known of calendar events.")


def _working(what: str) -> AbstractContextManager[object]:
    """On a terminal, what is being done; it may take minutes."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)


def _states(config_path: str | None) -> Iterator[Damage]:
    """What is known of calendar events and does not follow from their events."""
    from storage.errors import LogUnusable

    async def compare(log: EventReader) -> list[Damage]:
        from receiver.rebuild import differences

        return [damage async for found in differences(log) if found for damage in _damage(found)]

    try:
        yield from ask(config_path, compare)
    except LogUnusable as error:  # from an older klenhook
        say(f"What is known of calendar events was not compared: {error}")


def _damage(found: Difference) -> Iterator[Damage]:
    from storage.records import Damage

    if found.fields:
        name = found.record.uuid or found.record.number
        fields = ", ".join(found.fields)
        yield Damage("state", None, f"calendar event {name} does not follow from its events: {fields}")
    for event_id, what in found.events.items():
        yield Damage("state", event_id, f"does not follow from the events before: {what}")


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit status 1 if anything differs.")
@json_option
@config_option
def rebuild(config_path: str | None, *, check: bool, as_json: bool) -> None:
    """Compute states, verdicts and changes again from the recorded events, and put right what differs.

    Each calendar event that was stored otherwise is named. The index of `klenhook log search` is compared
    too, and made anew if it differs, for which the service must be stopped. With --check, which works beside
    the service, nothing is changed.

    \b
    Example:
      klenhook db rebuild --check
      klenhook db rebuild
    """

    async def here(log: EventLog) -> _Found:
        found = await _rebuilt(log, lambda found: mend(log, found), as_json=as_json)
        if found.misfiled:
            await reindex(log)
        return found

    async def there(config: Config) -> _Found:
        async def asked(found: Difference) -> bool:
            return bool((await post(config, f"/states/{found.record.subject}/rebuild", {})).get("rebuilt"))

        log = await open_reader(config.storage_url)
        try:
            found = await _rebuilt(log, asked, as_json=as_json)
        finally:
            await log.aclose()
        if found.misfiled:
            raise fail(
                f"{found.misfiled} events are found by other words than theirs. Stop the service and run it "
                "again, to make the index of words anew. Calendar events are as their events say."
            )
        return found

    from receiver.cli.running import post
    from receiver.rebuild import mend
    from receiver.reindex import reindex
    from storage import open_reader

    if check:
        found = ask(config_path, lambda log: _rebuilt(log, None, as_json=as_json))
    else:
        found = change(config_path, here, there=there)
    if check:
        _tell_differences(found)
    mended = f"{found.different} put right." if found.different else "all as their events say."
    say(f"{found.seen} calendar events: {mended}")
    if found.misfiled:
        say(f"The index of words was made anew: {found.misfiled} events were found by others than theirs.")


class _Found(NamedTuple):
    """What was found of a log."""

    different: int
    seen: int
    """Calendar events, of which so many differ."""
    misfiled: int
    """Events that the index of words has otherwise."""


def _tell_differences(found: _Found) -> None:
    """Say what differs, and fail if anything does."""
    if found.different:
        say(f"{found.different} of {found.seen} calendar events differ from their events.")
    if found.misfiled:
        say(f"{found.misfiled} events are found by other words than theirs.")
    if found.different or found.misfiled:
        raise fail("the log does not say what its events say. Nothing was changed.")


async def _rebuilt(
    log: EventReader, mended: Callable[[Difference], Awaitable[bool]] | None, *, as_json: bool
) -> _Found:
    """Tell what differs, and have calendar events mended."""
    from receiver.rebuild import differences
    from receiver.reindex import misfiled

    different = seen = 0
    async for difference in differences(log):
        seen += 1
        if difference is None:
            continue
        different += 1
        if mended is not None and not await mended(difference):
            raise fail("the log has changed meanwhile. Run it again.")
        found = {
            "calendar_event_uuid": difference.record.uuid,
            "calendar_event_id": difference.record.number,
            "source": difference.record.source,
            "fields": list(difference.fields),
            "events": difference.events,
        }
        if as_json:
            write_json(found)
        else:
            name = difference.record.uuid or difference.record.number
            parts = [
                *difference.fields,
                *(f"event {event}: {what}" for event, what in difference.events.items()),
            ]
            click.echo(one_line(f"{name}: {'; '.join(parts)}"))
    wrong = await misfiled(log)
    if wrong and as_json:
        write_json({"misfiled_events": wrong})
    return _Found(different, seen, wrong)
