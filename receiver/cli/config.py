"""`klenhook config`: is the configuration right, and what is in effect. Secrets are never printed."""

from __future__ import annotations

import click

from receiver.cli.common import config_option, json_option, load, say, write_json


@click.group()
def config() -> None:
    """Check the configuration, or show what is in effect."""


@config.command()
@config_option
def check(config_path: str | None) -> None:
    """Read everything and name every mistake at once.

    Exit status: 0 all is well, 2 there are mistakes.

    \b
    Example:
      klenhook config check --config /etc/klenhook/config.toml
    """
    from receiver.plugins.loader import load_handlers

    found = load(config_path)
    loaded = load_handlers(found)
    click.echo(f"OK: {found.path}")
    for name, source in found.sources.items():
        secrets = "1 secret" if len(source.secrets) == 1 else f"{len(source.secrets)} secrets"
        click.echo(f"  source {name}: POST {source.path}, signature {source.signature}, {secrets}")
    missing = "" if found.plugins_path.is_dir() else " (no such folder yet)"
    click.echo(f"  plugins: {found.plugins_path}{missing}")
    click.echo(f"  handlers: {', '.join(handler.name for handler in loaded.handlers) or 'none'}")
    click.echo(f"  log: {found.storage_path}")
    if loaded.broken:
        say(f"{len(loaded.broken)} of the plugins cannot be loaded; `klenhook handlers check` says why.")


@config.command()
@config_option
@json_option
def show(config_path: str | None, *, as_json: bool) -> None:
    """Print every key with its value in effect and where it comes from, secrets hidden.

    \b
    Example:
      klenhook config show
      klenhook config show --json
    """
    from receiver.config import load as loading
    from receiver.config import show as showing

    layers = loading.read_layers(config_path)
    settings = list(showing.effective(loading.check(layers), layers))
    if as_json:
        write_json(showing.to_tables(settings))
    else:
        click.echo(f"# {layers.place.path}\n\n{showing.to_toml(settings)}")
