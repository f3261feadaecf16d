"""What `klenhook handlers list` shows: what is loaded, joined with what the log knows of each handler.

Broken plugins and handlers that are gone are in the list too: their runs wait for somebody to notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from storage.states import ALL, UNFINISHED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from receiver.config import Config
    from receiver.plugins import BrokenPlugin, Handler, Loaded
    from storage.records import HandlerBacklog

POLICY: Final = ("tries", "base", "factor", "cap")


async def read_backlog(config: Config) -> list[HandlerBacklog]:
    """How the handlers stand in the log; nothing while there is no log yet.

    Raises:
        LogUnusable: there is one, and it cannot be read.
    """
    from storage import open_reader

    if not config.storage_path.exists():
        return []
    log = await open_reader(config.storage_url)
    try:
        return await log.backlog()
    finally:
        await log.aclose()


def to_records(loaded: Loaded, backlog: Iterable[HandlerBacklog]) -> list[dict[str, Any]]:
    """One record for each handler, broken plugin, and handler that is gone with runs unfinished; by name."""
    known = {standing.handler: standing for standing in backlog}
    records = [_of_handler(handler) for handler in (*loaded.handlers, *loaded.disabled)]
    names = {record["name"] for record in records}
    records += [_of_broken(plugin) for plugin in loaded.broken]
    records += [
        _record(name=name, state="gone")
        for name, standing in known.items()
        if name not in names and any(standing.runs.get(state) for state in UNFINISHED)
    ]
    for record in records:
        standing = known.get(record["name"])
        if standing and record["state"] != "broken":
            record["backlog"] = {state: standing.runs[state] for state in ALL if state in standing.runs}
            record["last_error"] = standing.last_error and standing.last_error.partition("\n")[0]
    return sorted(records, key=lambda record: (record["name"], record["state"]))


def _of_handler(handler: Handler) -> dict[str, Any]:
    return _record(
        name=handler.name,
        state="disabled" if not handler.enabled else "paused" if handler.paused else "enabled",
        origin=handler.origin,
        file=str(handler.file),
        events=[event.type_name for event in handler.events],
        enabled=handler.enabled,
        paused=handler.paused,
        retry={key: getattr(handler.retry, key) for key in POLICY},
        timeout=handler.timeout,
        concurrency=handler.concurrency,
        ordered=handler.ordered,
        code_version=handler.code_version,
    )


def _of_broken(plugin: BrokenPlugin) -> dict[str, Any]:
    return _record(name=plugin.file.stem, state="broken", file=str(plugin.file), error=plugin.error)


def _record(*, name: str, state: str, **known: Any) -> dict[str, Any]:
    """Every record has every key, so that a script need not ask first. None: nobody can say."""
    return {
        "name": name,
        "state": state,
        "origin": None,
        "file": None,
        "events": [],
        "enabled": None,
        "paused": None,
        "retry": None,
        "timeout": None,
        "concurrency": None,
        "ordered": None,
        "code_version": None,
        "error": None,
        "backlog": {},
        "last_error": None,
        **known,
    }
