"""`klenhook log`: questions to the log, answered beside a running service or without one.

    filters.py     which events are meant: the options that list and export share
    records.py     one event as JSON and as a line for people
    listing.py     list
    searching.py   search
    show.py        show
    timeline.py    timeline
    state.py       state
    overdue.py     overdue
    agenda.py      agenda
    stats.py       stats
    charts.py      what stats draws with
    query.py       sql
    export.py      export
    tail.py        tail
    quarantine.py  quarantine, and release, which changes the log
    forgetting.py  forget, which changes it too

The rule easiest to break: what the log holds came from outside. It is printed through `receiver.cli.common`.
"""

from __future__ import annotations

import click

from receiver.cli.common import PipeGroup
from receiver.cli.log.agenda import agenda
from receiver.cli.log.export import export
from receiver.cli.log.forgetting import forget
from receiver.cli.log.listing import list_events
from receiver.cli.log.overdue import overdue
from receiver.cli.log.quarantine import quarantine
from receiver.cli.log.query import sql
from receiver.cli.log.searching import search
from receiver.cli.log.show import show
from receiver.cli.log.state import state
from receiver.cli.log.stats import stats
from receiver.cli.log.tail import tail
from receiver.cli.log.timeline import timeline

__all__ = ["log"]


@click.group(cls=PipeGroup)
def log() -> None:
    """Search what was received, and what became of it.

    All work while the service runs and when it does not. They only read, but for `forget` and
    `quarantine release`.

    \b
    Example:
      klenhook log list --since 2h
      klenhook log tail
    """


for command in (
    list_events,
    search,
    show,
    timeline,
    state,
    overdue,
    agenda,
    stats,
    sql,
    export,
    tail,
    quarantine,
    forget,
):
    log.add_command(command)
