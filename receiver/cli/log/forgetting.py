"""`klenhook log forget`: take one person's data out of the log.

It cannot be taken back, so it says how much there is, and asks. The rule easiest to break: whom it is about
appears in no message, no log line and no row; only how much it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import (
    ask,
    change,
    config_option,
    confirm,
    fail,
    json_option,
    load,
    say,
    utf8,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from receiver.config import Config
    from receiver.forget import Person

SERVICE_SECONDS: Final = 900.0
"""The running service looks through every body, and waits for handlers that are under way."""
CHUNK_BYTES: Final = 1 << 20
_WHAT: Final = {
    "calendar_events": "calendar events",
    "calls": "calls",
    "events": "events in all",
    "mentions": "events of others that mention them",
    "quarantined": "bodies in quarantine",
    "stored": "values that handlers keep",
}


def _names(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        utf8(ctx, param, value)
    return values


@click.command()
@click.option(
    "--customer",
    "names",
    multiple=True,
    required=True,
    callback=_names,
    metavar="EMAIL|PHONE",
    help="An e-mail address or phone number of theirs; give it again for each one.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only count; nothing is changed.")
@json_option
@config_option
def forget(
    config_path: str | None, *, names: tuple[str, ...], yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Take one person's data out of the log, for good.

    It covers everything of their calendar events and calls that is content: titles, places, reasons, notes,
    customers, unknown fields, headers, errors of handlers, messages in the outbox, the search index, and
    earlier copies in the files. Ids, kinds, times, statuses and counts stay, and a repeated delivery is still
    recognised. Whoever came with the address and no other, or with its phone number and no other address, is
    the same person. Events of others that mention the address or number lose those texts, and so does what
    is in quarantine and what handlers keep in ctx.store.

    A running service does it; without one it is done here. Messages that wait to be sent are not sent any
    more. What was exported, backed up or sent to others before is out of reach.

    \b
    Example:
      klenhook log forget --customer john.smith@example.com --dry-run
      klenhook log forget --customer john.smith@example.com --customer '+1 555 123 4567'

    Exit status: 0 done, 1 something was left over, 2 wrong usage.
    """
    from receiver.forget import Person, find

    try:
        person = Person.of(names)
    except ValueError as error:
        raise click.UsageError(f"--customer: {error}.") from None
    say("Looking through the log ...")
    found = ask(config_path, lambda log: find(log, person)).counts()
    if not any(found.values()):
        if as_json:
            write_json(found)
        if not dry_run:
            _check(config_path, names)
        say("The log has nothing of them.")
        return
    if not as_json:
        click.echo("\n".join(_lines(found)))
    if dry_run:
        if as_json:
            write_json(found)
        say("Nothing was changed.")
        return
    say("This cannot be taken back.")
    confirm("Go on?", yes=yes)
    report = _forget(config_path, person, names)
    if as_json:
        write_json(report)
    _check(config_path, names)
    _tell(report)


def _lines(counts: Mapping[str, int]) -> Iterable[str]:
    width = max(len(str(number)) for number in counts.values())
    return (f"{number:>{width}} {_WHAT[name]}" for name, number in counts.items() if number)


def _forget(config_path: str | None, person: Person, names: tuple[str, ...]) -> dict[str, Any]:
    from receiver.cli.running import post
    from receiver.clock import SystemClock
    from receiver.forget import forget as forget_here

    async def there(config: Config) -> dict[str, Any]:
        undone = "Run it again to be sure that everything is forgotten."
        request = {"customers": list(names)}
        return await post(config, "/erasures", request, undone=undone, seconds=SERVICE_SECONDS)

    return change(config_path, lambda log: forget_here(log, person, SystemClock()), there=there)


def _check(config_path: str | None, names: tuple[str, ...]) -> None:
    """See to it that no file of the log has the bytes any more, also not where SQLite left them unused."""
    path = load(config_path).storage_path
    if _is_in_files(path, names):
        say("Free space still has some of it; writing the log anew ...")
        change(config_path, lambda log: log.compact())
        if _is_in_files(path, names):
            raise fail("an event that came meanwhile is about them. Run it again.")


def _tell(report: Mapping[str, Any]) -> None:
    if report["under_way"]:
        raise fail(
            f"Forgotten, but {report['under_way']} runs or messages that had the data are still under way. "
            "Run it again when they have ended."
        )
    if report["left_in_wal"]:
        raise fail(
            "Forgotten, but a program that reads the log keeps its -wal file from being emptied. "
            "Close that program and run it again."
        )
    say("Forgotten. Backups and exports that were made before are yours to look after.")


def _is_in_files(path: Path, names: tuple[str, ...]) -> bool:
    """Whether the bytes are there. Nothing in this process has the log open any more."""
    wanted = [name.strip().lower().encode() for name in names]
    longest = max(map(len, wanted))
    for file in (path, path.with_name(f"{path.name}-wal")):
        try:
            with file.open("rb") as stream:
                rest = b""
                while chunk := stream.read(CHUNK_BYTES):
                    part = (rest + chunk).lower()
                    if any(name in part for name in wanted):
                        return True
                    rest = part[-longest:]
        except FileNotFoundError:
            continue
    return False
