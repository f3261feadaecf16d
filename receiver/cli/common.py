"""What the commands share: common options, opening the log, printing, and the exit status of an error.

Results go to standard output, messages to standard error; with `--json` standard output has JSON Lines only.
The rule easiest to break: stored text comes from outside, so it reaches a terminal through `printable` alone.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

    from receiver.config import Config
    from storage.log import EventLog
    from storage.reader import EventReader

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")

Cell: TypeAlias = "str | Sequence[tuple[str, str]]"
"""What stands in a table: text, or pieces of text each with its style, such as `("dead", "red")`."""


UNCUT: Final = 10_000
"""The width of a table that nobody looks at: in a file or a pipe, lines are not to be broken."""


class PipeGroup(click.Group):
    """A group whose commands end quietly when the reader of their output has seen enough, as `head` has."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, and write out what it printed while a failure can still be told."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What the terminal's encoding lacks is shown as an escape.
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _give_up_output()
            return None
        except OSError as error:
            _give_up_output()
            raise fail(f"cannot write the output: {error.strerror}.") from error
        return result


def _give_up_output() -> None:
    """Send what is left in the buffer nowhere, or the interpreter complains about it when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def utf8(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Callback of options whose text the log is asked for: arguments may be any bytes, its text is UTF-8.

    Raises:
        click.BadParameter: the value is not text.
    """
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise click.BadParameter("expected text in UTF-8, found other bytes.", ctx, param) from None
    return value


def config_option(command: F) -> F:
    """Add `--config PATH`; the command gets it as `config_path`."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(dir_okay=False),
        default=None,
        help="Configuration file.  [default: $KLENHOOK_CONFIG, else ./config.toml]",
    )(command)


def json_option(command: F) -> F:
    """Add `--json`; the command gets it as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="JSON Lines on standard output.")(command)


def load(config_path: str | None) -> Config:
    """The configuration the command was given or finds.

    Raises:
        ConfigError: it is missing or wrong; ends the command with exit status 2.
    """
    from receiver.config import load_config

    return load_config(config_path)


def ask(config_path: str | None, question: Callable[[EventReader], Awaitable[T]]) -> T:
    """Put a question to the log, beside a running service or without one.

    Raises:
        LogUnusable: there is no log yet, or not one of ours; ends the command with exit status 2.
    """
    import asyncio

    from storage import open_reader

    async def asking() -> T:
        log = await open_reader(load(config_path).storage_url)
        try:
            return await question(log)
        finally:
            await log.aclose()

    return asyncio.run(asking())


def change(
    config_path: str | None,
    action: Callable[[EventLog], Awaitable[T]],
    *,
    there: Callable[[Config], Awaitable[T]] | None = None,
) -> T:
    """Do something to the log that changes it; while a service has it, `there` asks that one to do it.

    Without `there`, it is refused then, with exit status 1.
    """
    import asyncio

    from storage import open_log
    from storage.errors import LogLocked

    config = load(config_path)
    url = config.storage_url

    async def changing() -> T:
        try:
            log = await open_log(url)
        except LogLocked:
            if there is None:
                raise
            return await there(config)
        try:
            return await action(log)
        finally:
            await log.aclose()

    try:
        return asyncio.run(changing())
    except LogLocked:
        raise fail(
            f"A running service holds the log {printable(url)}, and this command changes the log itself. "
            "Stop the service first. Nothing was changed."
        ) from None


def say(message: str) -> None:
    """A message to the person, on standard error."""
    click.echo(message, err=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be taken back; `yes` is the answer of `--yes`.

    Raises:
        click.UsageError: there is nobody to ask.
        click.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; --yes says yes. Nothing was changed.")
    click.confirm(question, abort=True, err=True)


def fail(message: str) -> click.ClickException:
    """What to raise to end the command with this message and exit status 1."""
    return click.ClickException(message)


def write_json(record: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own."""
    click.echo(to_json(record))


def to_json(record: Mapping[str, Any]) -> str:
    r"""A record as one line of JSON, with characters that are not for display as `\u...`.

    So no string in it can end the line early (U+2028) or drive a terminal (U+009B).
    """
    text = json.dumps(record, ensure_ascii=False, default=str)
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    if text.isprintable() and (encoding == "utf8" or text.isascii()):
        return text
    return json.dumps(record, default=str)


def write_table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    elastic: Collection[str] = (),
) -> None:
    """A table for people. Plain text, uncut, when standard output is not a terminal.

    On a terminal that is too narrow, lines are wrapped; with `elastic`, those columns are cut instead.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=None, pad_edge=False, header_style="bold", title_justify="left")
    for column in columns:
        fixed = bool(elastic) and column not in elastic
        table.add_column(Text(one_line(column)), no_wrap=fixed)
    for row in rows:
        cells = []
        for column, cell in zip(columns, row, strict=True):
            parts = [(cell, "")] if isinstance(cell, str) else cell
            text = Text.assemble(*((one_line(part), style) for part, style in parts))
            if column in elastic:
                text.no_wrap, text.overflow = True, "ellipsis"
            cells.append(text)
        table.add_row(*cells)
    # Rich would end the whole program when the reader of a pipe has gone, so it does not write itself.
    terminal = sys.stdout.isatty()
    drawn = io.StringIO()
    width = None if terminal else UNCUT
    Console(file=drawn, force_terminal=terminal, width=width, highlight=False).print(table)
    click.echo(drawn.getvalue(), nl=False)


def printable(text: str) -> str:
    """Text that cannot drive the terminal: control characters of stored data become visible."""
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 -- two hex digits


def one_line(text: str) -> str:
    """As `printable`, for a cell or a line: a line break in stored text must not look like one of ours."""
    return printable(text).replace("\n", "\\n")


def explain(error: BaseException) -> str | None:
    """The message for one of our own errors; None for anything else."""
    from receiver.errors import ReceiverError
    from storage.errors import StorageError

    return f"Error: {error}" if isinstance(error, (ReceiverError, StorageError)) else None


def exit_status(error: BaseException) -> int:
    """2 for a wrong configuration or a log that was refused, else 1."""
    from receiver.errors import ConfigError
    from storage.errors import LogLocked, LogUnusable

    return 2 if isinstance(error, (ConfigError, LogLocked, LogUnusable)) else 1
