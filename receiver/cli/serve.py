"""`klenhook serve`: the service, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from receiver.cli.common import config_option, exit_status, explain, load, printable, say

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from receiver.reload import ReloadError

BESIDE: Final = ("receiver.intake", "receiver.deciding")
"""What reads deliveries, and decides who gets which event, where the log is written."""
LAST_SECONDS: Final = 3.0
"""What is left when the service has stopped, and does not end by itself, gets so long."""


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
    gc.disable()  # until the service is built: what is imported and made until then stays
    from storage import open_log, start_writer

    writer = start_writer(BESIDE)  # it gets ready while we do
    config = load(config_path)
    from receiver import logs
    from receiver.service import Service

    # What a handler prints should be seen when it is printed, also in a file or the journal.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the real standard output has it
    logs.configure(config.logging.level, config.logging.format)
    service = Service(config, opener=partial(open_log, beside=writer))
    if not watched:
        asyncio.run(_to_its_end(service.run()))
        return
    from receiver.watch import Watch

    asyncio.run(_to_its_end(service.run(beside=Watch(config, on_refused=_explain).run)))


async def _to_its_end(running: Coroutine[Any, Any, None]) -> None:
    """Run the service; when it has stopped, the process ends, whatever handlers have left behind.

    Tasks that swallow their cancellation, and threads that never end, would be waited for without a limit.
    """
    error: BaseException | None = None
    try:
        await running
    except BaseException as raised:
        error = raised
        raise
    finally:
        last = threading.Timer(LAST_SECONDS, _end, (error,))
        last.daemon = True
        last.start()


def _end(error: BaseException | None) -> None:
    if error is not None and (message := explain(error)):
        say(message)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(exit_status(error) if error else 0)


def _explain(refused: ReloadError) -> None:
    """What the author of a plugin wants to see; the log line names file, line and exception only."""
    for plugin in refused.broken:
        say(printable(f"{plugin.file}: {plugin.error}\n{plugin.traceback}"))
    say("The handlers that were loaded before go on; mend the file and save it.")
