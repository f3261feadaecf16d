"""`klenhook init`: a folder with a configuration and a first handler, and what to type next.

The rule easiest to break: it writes both files or none, and never over something that is there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from receiver.cli.common import fail, printable, say

CONFIG: Final = """\
# The configuration of klenhook. Keys that are not here have their defaults: `klenhook config show` prints
# them all, and `klenhook config check` names every mistake. Relative paths start from this file's folder.

[server]
# Where webhooks arrive. Keep loopback, and let a reverse proxy or a tunnel bring them here over HTTPS.
listen = "127.0.0.1:8080"

[storage]
# The log of all events: one file, on a local disk.
url = "sqlite:///klenhook.db"

# One table for each Klen account; the name after `sources.` is yours to choose.
[sources.klen]
# The path of the URL that is registered at Klen.
path = "/webhooks/klen"
# The secret that Klen shows when the webhook is made: env:NAME for a variable, file:PATH for a file.
secrets = ["env:KLEN_WEBHOOK_SECRET"]
# The key that Klen's dashboard makes, for `klenhook webhooks`, `klenhook reconcile` and `ctx.klen`.
#api_key = "env:KLEN_API_KEY"

[handlers]
# Every *.py file in this folder is loaded when the service starts.
plugins_dir = "plugins"

# Settings of a handler of yours go into a table with its name:
#[handlers.hello]
#timeout = 30
"""

NEXT: Final = """\
Wrote {config} and {plugin}.

To try it here and now, any secret will do. Type:

  export KLEN_WEBHOOK_SECRET="$(python3 -c 'import secrets; print(secrets.token_hex(32))')"
  {klenhook} serve{option} &
  {klenhook} send calendar.created{option}
  {klenhook} log list{option}
  kill %1

For real events, put the secret that Klen shows under "API > Webhooks" into KLEN_WEBHOOK_SECRET.
"""


@click.command()
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def init(directory: Path) -> None:
    """Write config.toml and plugins/hello.py into DIR (this folder if not given), and say what to do next.

    Nothing is overwritten: if one of them is there already, nothing is written, and the exit status is 1.

    \b
    Example:
      klenhook init my-hooks
    """
    from receiver.plugins.scaffold import plugin_source

    config, plugin = directory / "config.toml", directory / "plugins" / "hello.py"
    existing = [str(file) for file in (config, plugin) if os.path.lexists(file)]
    if existing:
        raise fail(f"Already there: {printable(' and '.join(existing))}. Nothing was written.")
    _write_all(
        [
            (config, CONFIG, 0o600),  # people put secrets into it
            (plugin, plugin_source("hello", "calendar.created"), 0o666),
        ]
    )
    option = "" if config == Path("config.toml") else f" --config {shlex.quote(str(config))}"
    say(printable(NEXT.format(config=config, plugin=plugin, klenhook=command_name(), option=option)))


def command_name() -> str:
    """How to call this program from here: `klenhook` where the shell finds it, else as it was called."""
    called = Path(sys.argv[0])
    if called.name != "klenhook":
        return f"{shlex.quote(sys.executable)} -m receiver"
    found = shutil.which("klenhook")
    if found and os.path.realpath(found) == os.path.realpath(called):
        return "klenhook"
    return shlex.quote(str(called))


def _write_all(files: list[tuple[Path, str, int]]) -> None:
    """Make the files, or leave none behind."""
    made: list[Path] = []
    try:
        for file, text, mode in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(file)
            with open(descriptor, "w", encoding="utf-8") as opened:  # noqa: PTH123 -- a descriptor, for its mode
                opened.write(text)
    except OSError as error:
        for file in made:
            with suppress(OSError):
                file.unlink()
        where = error.filename or str(files[0][0])
        raise fail(f"cannot write {printable(str(where))}: {error.strerror}; nothing was written.") from None
