"""`klenhook demo`: the main job before one's eyes, over real HTTP, in a few seconds.

The rule easiest to break: it ends by itself and with 0 only if everything was as it must be.
"""

from __future__ import annotations

import shlex
import signal
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from receiver.cli.common import fail, printable, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from receiver.demo import Performance, Stage

HANDLERS_SECONDS: Final = 6.0
"""What the handlers get to finish; they need a moment."""


@click.command()
@click.option(
    "--keep", is_flag=True, help="Leave the service running and its folder in place; says how to stop it."
)
def demo(*, keep: bool) -> None:
    """Run the real service in a temporary folder, send it webhooks, and show what becomes of them.

    It needs no account, no network and no configuration, and ends by itself.

    Exit status: 0 everything was as it must be, 1 it was not.

    \b
    Example:
      klenhook demo --keep
    """
    from receiver.demo import Performance, deliveries, on_stage

    started = time.monotonic()
    with _signals_end_it(), on_stage(keep=keep) as stage:
        click.echo(f"The real service listens at {stage.url}\nIts folder is {stage.folder}\n")
        performance = Performance()
        for delivery in deliveries():
            performance.send(delivery, url=stage.url, secret=stage.secret)
        _wait_for_handlers(stage, performance)
        _show(stage, performance)
        differences = performance.differences(stage.diary())
        if not keep and (status := stage.stop()):
            differences.append(f"The service: expected it to stop with exit status 0, found {status}.")
        if keep:
            click.echo(_how_to_stop(stage))
    if differences:
        raise fail("Not everything was as it must be:\n" + "\n".join(f"  {line}" for line in differences))
    click.echo(f"Everything was as it must be, in {time.monotonic() - started:.1f} s. Next:\n")
    click.echo(_next(stage.config if keep else None))


def _wait_for_handlers(stage: Stage, performance: Performance) -> None:
    deadline = time.monotonic() + HANDLERS_SECONDS
    while not performance.see(stage.records()) and time.monotonic() < deadline:
        time.sleep(0.1)


def _show(stage: Stage, performance: Performance) -> None:
    write_table(None, ("sent", "answer", "what became of it"), performance.rows())
    click.echo('\nWhat the handler "diary" wrote into a file:\n')
    click.echo("".join(f"  {printable(line)}\n" for line in stage.diary().splitlines()))
    click.echo("$ klenhook log list")
    stage.show("log", "list")
    click.echo()


def _how_to_stop(stage: Stage) -> str:
    return (
        f"The service goes on as process {stage.pid}. To stop it and remove its folder:\n"
        f"  kill {stage.pid}; rm -r {shlex.quote(str(stage.folder))}\n"
    )


def _next(config: Path | None) -> str:
    from receiver.cli.init import command_name

    klenhook = command_name()
    if config is not None:
        return "\n".join(
            f"  {klenhook} {command} --config {shlex.quote(str(config))}"
            for command in ("send calendar.created", "log list", "log tail")
        )
    return (
        f"  {klenhook} init my-hooks  # says how to set the secret, too\n"
        f"  {klenhook} serve --config my-hooks/config.toml &\n"
        f"  {klenhook} send calendar.created --config my-hooks/config.toml"
    )


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let SIGTERM and SIGHUP clean up as Ctrl-C does."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
