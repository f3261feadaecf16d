"""`klenhook handlers`: what is loaded and from where, whether it is right, and a new one to start from.

The rule easiest to break: a broken plugin is told, with its traceback, and never ends the command early.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receiver.cli.backtest import test
from receiver.cli.common import (
    config_option,
    fail,
    json_option,
    load,
    printable,
    say,
    write_json,
    write_table,
)

if TYPE_CHECKING:
    from receiver.plugins import BrokenPlugin, Handler, Loaded


@click.group()
def handlers() -> None:
    """See, check and write handlers: the functions that events are given to."""


@handlers.command("list")
@config_option
@json_option
def list_handlers(config_path: str | None, *, as_json: bool) -> None:
    """Print every handler with where it comes from, its events, how it runs, and its runs in the log.

    Broken plugins are in the list, and `klenhook handlers check` tells more. A handler is "gone" when it is
    loaded no longer but has runs that wait. The last error may quote what the event contained.

    \b
    Example:
      klenhook handlers list
      klenhook handlers list --json
    """
    import asyncio

    from receiver.cli.handlers_list import read_backlog, to_records
    from receiver.plugins import load_handlers

    config = load(config_path)
    loaded = load_handlers(config)
    records = to_records(loaded, asyncio.run(read_backlog(config)))
    if as_json:
        for record in records:
            write_json(record)
    elif records:
        columns = ("name", "origin", "state", "events", "policy", "runs", "last error", "file")
        write_table(None, columns, [_row(record) for record in records])
    else:
        say("No handlers yet. `klenhook handlers new NAME` writes one.")
    for plugin in loaded.broken:
        say(printable(f"broken: {_shown(plugin.file)}: {plugin.error}"))


@handlers.command()
@config_option
def check(config_path: str | None) -> None:
    """Load every handler and its settings, and say what is wrong.

    Exit status: 0 all is well, 1 a plugin does not load, 2 there are mistakes in the configuration.

    \b
    Example:
      klenhook handlers check --config /etc/klenhook/config.toml
    """
    from receiver.errors import ConfigError
    from receiver.plugins import survey_handlers

    config = load(config_path)
    loaded, mistakes = survey_handlers(config)
    _tell(loaded)
    if mistakes:
        raise ConfigError(mistakes, source=str(config.path))
    if loaded.broken:
        count = len(loaded.broken)
        raise fail("1 plugin does not load." if count == 1 else f"{count} plugins do not load.")


@handlers.command()
@click.argument("name")
@click.option(
    "--event",
    "event_type",
    default="calendar.created",
    metavar="EVENT_TYPE",
    show_default=True,
    help="The webhook to handle, in the vendor's words.",
)
@config_option
def new(name: str, event_type: str, config_path: str | None) -> None:
    """Write a plugin with one handler, NAME, to start from, and a test of it. Nothing is overwritten.

    The test goes into the folder tests/ beside the plugins folder.

    \b
    Example:
      klenhook handlers new greet
      klenhook handlers new follow_up --event calendar.completed
    """
    from receiver.plugins.scaffold import plugin_source, plugin_test

    try:
        source = plugin_source(name, event_type)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    folder = load(config_path).plugins_path
    plugin = folder / f"{name}.py"
    test = folder.parent / "tests" / f"test_{name}.py"
    _write_new({plugin: source, test: plugin_test(name, event_type, folder=folder.name)})
    say(
        f"Wrote {_shown(plugin)} and {_shown(test)}.\n"
        "`klenhook handlers check` loads it; SIGHUP makes a running service load it.\n"
        f"Run its test with `{shlex.quote(sys.executable)} -m pytest {shlex.quote(_shown(test))}`; "
        "that needs pytest installed."
    )


handlers.add_command(test)


def _write_new(files: dict[Path, str]) -> None:
    """Write all of them, or none if one is there already."""
    existing = [_shown(file) for file in files if os.path.lexists(file)]
    if existing:
        verb = "exists" if len(existing) == 1 else "exist"
        raise fail(f"{' and '.join(existing)} {verb} already; nothing was written.")
    made: list[Path] = []
    try:
        for file, source in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as opened:
                made.append(file)
                opened.write(source)
    except OSError as error:
        for file in made:
            file.unlink(missing_ok=True)
        where = _shown(Path(error.filename or next(iter(files))))
        raise fail(f"cannot write {where}: {error.strerror}; nothing was written.") from None


def _tell(loaded: Loaded) -> None:
    for handler in loaded.handlers:
        click.echo(f"OK: {handler.name} ({_events(handler)}), {_shown(handler.file)}")
    for handler in loaded.disabled:
        click.echo(f"OK: {handler.name}, switched off, {_shown(handler.file)}")
    for file in loaded.empty:
        say(f"Note: {_shown(file)} marks no function with @on(...). A file of helpers begins with '_'.")
    for plugin in loaded.broken:
        say(_explained(plugin))


def _explained(plugin: BrokenPlugin) -> str:
    traceback = "\n".join(f"    {printable(line)}" for line in plugin.traceback.splitlines())
    return f"BROKEN: {_shown(plugin.file)}: {printable(plugin.error)}\n{traceback}\n"


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    return (
        record["name"],
        record["origin"] or "",
        record["state"],
        ", ".join(record["events"]),
        _policy(record),
        ", ".join(f"{runs} {state}" for state, runs in record["backlog"].items()),
        record["error"] or record["last_error"] or "",
        _shown(Path(record["file"])) if record["file"] else "",
    )


def _policy(record: dict[str, Any]) -> str:
    """Such as `8 tries, 30 s x4 up to 21600 s, 60 s each, 2 at once, unordered`."""
    retry = record["retry"]
    if retry is None:
        return ""
    parts = [
        f"{retry['tries']} tries",
        f"{retry['base']:g} s x{retry['factor']:g} up to {retry['cap']:g} s",
        f"{record['timeout']:g} s each",
    ]
    if record["concurrency"] is not None:
        parts.append(f"{record['concurrency']} at once")
    if not record["ordered"]:
        parts.append("unordered")
    return ", ".join(parts)


def _events(handler: Handler) -> str:
    return ", ".join(event.type_name for event in handler.events)


def _shown(file: Path) -> str:
    """The path from here, when it is below."""
    absolute = Path(os.path.abspath(file))  # noqa: PTH100 -- resolve() would follow the user's own links
    return printable(str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else file))
