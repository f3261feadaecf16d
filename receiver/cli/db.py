"""`klenhook db`: the log as a file, its schema, size and settings."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.checking import check, rebuild
from receiver.cli.common import (
    PipeGroup,
    ask,
    change,
    config_option,
    json_option,
    load,
    one_line,
    printable,
    say,
    write_json,
)
from receiver.cli.pruning import prune

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from storage.log import EventLog
    from storage.records import LogStatus


KIBIBYTE: Final = 1024


@click.group(cls=PipeGroup)
def db() -> None:
    """Look after the log as a file.

    \b
    Example:
      klenhook db status
    """


db.add_command(prune)
db.add_command(check)
db.add_command(rebuild)


@db.command()
@config_option
def migrate(config_path: str | None) -> None:
    """Bring the log's tables up to date, or make an empty log.

    `klenhook serve` does the same when it starts, so this is for doing it at a time of your choice. The
    service must be stopped.

    \b
    Example:
      klenhook db migrate
    """

    async def migrated(log: EventLog) -> tuple[list[str], LogStatus]:
        return log.migrated, await log.status()

    applied, found = change(config_path, migrated)
    for name in applied:
        click.echo(f"applied {name}")
    click.echo(
        f"{printable(found.path)} has schema {found.version}" + ("." if applied else "; nothing was missing.")
    )


@db.command()
@json_option
@config_option
def status(config_path: str | None, *, as_json: bool) -> None:
    """Print how many events and runs the log has, its size, versions and settings.

    \b
    Example:
      klenhook db status
      klenhook db status --json
    """
    found = ask(config_path, lambda log: log.status())
    if as_json:
        write_json(asdict(found))
    else:
        click.echo("\n".join(f"{name:<11} {printable(value)}" for name, value in _facts(found)))


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@config_option
def backup(file: Path, config_path: str | None, *, as_json: bool) -> None:
    """Copy the log as it is now, whole and checked, into FILE. The service may run.

    FILE appears when the copy is complete, and may replace an older backup. It holds everything the log does,
    so keep it as private. To restore it, put it in the log's place while no service runs.

    \b
    Example:
      klenhook db backup klenhook-backup.db
    """
    from storage import back_up_log

    url = load(config_path).storage_url
    with _progress(f"copying to {file.name}") as tell:
        made = back_up_log(url, file, on_progress=tell)
    if as_json:
        write_json({"file": str(file), **asdict(made)})
    else:
        say(f"{printable(str(file))} has {made.events} events in {_size(made.size_bytes)}, checked.")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on the terminal, if there is one."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(one_line(what), total=1.0)
        yield lambda part: bar.update(task, completed=part)


def _facts(found: LogStatus) -> Iterator[tuple[str, str]]:
    yield "log", found.path
    yield "schema", str(found.version)
    yield "SQLite", found.sqlite_version
    yield "events", f"{found.events}, the last is number {found.last_seq}, {found.unrouted} not yet routed"
    yield "runs", _counts(found.runs) or "none"
    yield "quarantine", str(found.quarantined)
    yield "size", f"{_size(found.size_bytes)}, and {_size(found.wal_bytes)} to be folded in"
    yield "settings", _counts(found.settings)


def _counts(values: Mapping[Any, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _size(number: int) -> str:
    """Bytes as people read them."""
    if number < KIBIBYTE:
        return f"{number} bytes"
    if number < KIBIBYTE**2:
        return f"{number / KIBIBYTE:.1f} KiB"
    return f"{number / KIBIBYTE**2:.1f} MiB"
