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

    from receiver.demo import Stage, Story

HANDLERS_SECONDS: Final = 6.0
"""What the handlers get to finish; they need a moment."""


@click.command()
@click.option(
    "--keep", is_flag=True, help="Leave service and sandbox running, and their folder; says how to stop it."
)
def demo(*, keep: bool) -> None:
    """Run the real service and a local Klen in a temporary folder, and show a story with an outage.

    It needs no account, no network and no configuration, and ends by itself.

    Exit status: 0 everything was as it must be, 1 it was not.

    \b
    Example:
      klenhook demo --keep
    """
    from receiver.demo import Account, Story, on_stage

    started = time.monotonic()
    with _signals_end_it(), on_stage(keep=keep) as stage:
        click.echo(f"The real service listens at {stage.url}")
        click.echo(f"A local Klen listens at {stage.vendor_url}\nTheir folder is {stage.folder}\n")
        story = Story(Account(stage.vendor_url), stage.url, stage.secret)
        _play(stage, story)
        differences = story.differences(stage.diary())
        if not keep and (status := stage.stop()):
            differences.append(f"The service: expected it to stop with exit status 0, found {status}.")
        if keep:
            click.echo(_how_to_stop(stage))
    if differences:
        raise fail("Not everything was as it must be:\n" + "\n".join(f"  {line}" for line in differences))
    click.echo(f"Everything was as it must be, in {time.monotonic() - started:.1f} s. Next:\n")
    click.echo(_next(stage.config if keep else None))


def _play(stage: Stage, story: Story) -> None:
    story.begin()
    records = stage.records()
    story.go_wrong(records, stage.body(records[0]["event_id"]))
    _wait_for_handlers(stage, story)
    write_table(None, ("what came", "answer", "what became of it"), story.rows())
    click.echo("\nNow an outage of 40 minutes: one is moved, one cancelled, one booked, and Klen gives up.")
    story.fall_silent()
    click.echo("\n$ klenhook reconcile")
    stage.show("reconcile")
    _wait_for_handlers(stage, story)
    click.echo("\n$ klenhook log timeline 123")
    stage.show("log", "timeline", story.account.booked[0])
    click.echo("$ klenhook log list")
    stage.show("log", "list")
    click.echo('\nWhat the handler "diary" wrote into a file:\n')
    click.echo("".join(f"  {printable(line)}\n" for line in stage.diary().splitlines()))


def _wait_for_handlers(stage: Stage, story: Story) -> None:
    deadline = time.monotonic() + HANDLERS_SECONDS
    while not story.see(stage.records()) and time.monotonic() < deadline:
        time.sleep(0.1)


def _how_to_stop(stage: Stage) -> str:
    processes = " ".join(map(str, stage.pids))
    return (
        f"The service and the local Klen go on as processes {' and '.join(map(str, stage.pids))}. "
        "To stop them and remove their folder:\n"
        f"  kill {processes}; sleep 2; rm -r {shlex.quote(str(stage.folder))}\n"
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
