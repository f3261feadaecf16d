"""The command `klenhook`: a table of commands, each in the file of its group, loaded when it is needed.

The rule easiest to break: a file in this folder imports nothing heavy at its top (no pydantic, aiohttp,
rich, sqlite), or `klenhook --help` gets slow. Import inside the command.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

__all__ = ["cli", "main"]

COMMANDS = {
    "demo": "receiver.cli.demo:demo",
    "init": "receiver.cli.init:init",
    "serve": "receiver.cli.serve:serve",
    "send": "receiver.cli.send:send",
    "log": "receiver.cli.log:log",
    "replay": "receiver.cli.replay:replay",
    "handlers": "receiver.cli.handlers:handlers",
    "db": "receiver.cli.db:db",
    "reconcile": "receiver.cli.reconcile:reconcile",
    "webhooks": "receiver.cli.webhooks:webhooks",
    "config": "receiver.cli.config:config",
    "doctor": "receiver.cli.doctor:doctor",
    "sandbox": "receiver.cli.sandbox:sandbox",
}


class LazyGroup(click.Group):
    """A group that imports a command's file when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Commands in the order of `COMMANDS`, which is the order people meet them in."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- as above
        """The command object, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 -- a slip in the table above, not input
        return command


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="klenhook", prog_name="klenhook")
def cli() -> None:
    """Receive Klen AI webhooks: verified, recorded durably, handed to your handlers.

    \b
    New here?
      klenhook demo              see the whole thing work, in a few seconds
      klenhook init              write config.toml and a first handler
      klenhook serve             run the service
    """


def main() -> None:
    """Run the command line; our own errors end as one message and an exit status, never a traceback.

    Exit status: 0 done, 1 it failed or found something wrong, 2 wrong usage or configuration.
    """
    _check_neighbours()
    from receiver.cli.common import exit_status, explain

    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("Aborted.", err=True)
        status = 1
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except BrokenPipeError:  # `klenhook log list | head`
        sys.stderr.close()
        status = 0
    except Exception as error:  # the last resort sorts out what is ours
        message = explain(error)
        if message is None:
            raise
        click.echo(message, err=True)
        status = exit_status(error)
    sys.exit(status if isinstance(status, int) else 0)


def _check_neighbours() -> None:
    """Say so when a folder named `storage` elsewhere on the path hides ours."""
    import storage

    ours = Path(__file__).resolve().parents[2] / "storage"
    found = Path(storage.__file__ or "").resolve().parent
    if found != ours:
        sys.exit(
            f"klenhook: the package 'storage' was found at {found}, not beside klenhook at {ours}. "
            "Rename that folder, or set PYTHONSAFEPATH=1."
        )
