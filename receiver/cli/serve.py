"""`klenhook serve`: the service, until it is told to stop."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from receiver.cli.common import config_option, load, printable, say

if TYPE_CHECKING:
    from receiver.reload import ReloadError


@click.command(epilog="Example: klenhook serve --config /etc/klenhook/config.toml")
@click.option(
    "--reload", "watched", is_flag=True, help="Reload whenever a plugin or the configuration changes."
)
@config_option
def serve(config_path: str | None, *, watched: bool) -> None:
    """Run the service.

    SIGTERM or Ctrl-C stops it gracefully: requests in flight are answered and handlers may finish. A second
    one stops it at once; nothing acknowledged is lost either way.

    SIGHUP loads the configuration and the plugins again, and refuses nothing meanwhile. If anything is wrong
    with them, everything goes on as before and the log says why. With --reload this happens by itself.
    """
    config = load(config_path)
    from receiver import logs
    from receiver.service import Service

    # What a handler prints should be seen when it is printed, also in a file or the journal.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the real standard output has it
    logs.configure(config.logging.level, config.logging.format)
    service = Service(config)
    if not watched:
        asyncio.run(service.run())
        return
    from receiver.watch import Watch

    asyncio.run(service.run(beside=Watch(config, on_refused=_explain).run))


def _explain(refused: ReloadError) -> None:
    """What the author of a plugin wants to see; the log line names file, line and exception only."""
    for plugin in refused.broken:
        say(printable(f"{plugin.file}: {plugin.error}\n{plugin.traceback}"))
    say("The handlers that were loaded before go on; mend the file and save it.")
