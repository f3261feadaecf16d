"""`klenhook db`: the log as a file, its schema, size and settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import PipeGroup, ask, change, config_option, json_option, printable, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
