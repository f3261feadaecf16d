"""`klenhook log search`: events by the words in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from receiver.cli.common import ask, config_option, json_option, say, utf8
from receiver.cli.log.filters import filters, limit_option, selection
from receiver.cli.log.listing import write_events


@click.command()
@click.argument(
    "text", nargs=-1, required=True, callback=lambda ctx, param, words: utf8(ctx, param, " ".join(words))
)
@filters
@limit_option(50, "50")
@json_option
@config_option
def search(config_path: str | None, *, text: str, as_json: bool, **chosen: Any) -> None:
    """Find events by words of their title, location, description or reason, or by their customer.

    Events are meant that have all the words of TEXT, newest first; with --after, oldest first. Case and
    accents do not matter. A word that no event has stands for those that begin with it; with a * behind it,
    it always does. E-mail addresses and phone numbers are found as you would write them; of a number, the
    country may be left out. Of a call, its contact and number are searched.

    \b
    Example:
      klenhook log search conference room
      klenhook log search john.smith@example.com --since 30d
      klenhook log search '+1 (555) 123-4567' --json
    """
    from receiver.words import terms_of

    terms = terms_of(text)
    if not terms:
        raise click.UsageError("expected at least one word, found only signs.")
    selected = replace(selection(**chosen), words=terms)
    if not ask(config_path, lambda log: write_events(log, selected, as_json=as_json)):
        say("No events match.")
