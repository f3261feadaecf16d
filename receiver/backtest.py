"""A handler over a slice of the real log, with its effects recorded instead of done.

Its store is a copy that evolves in memory, its outbox is only read, and `ctx.http` connects nowhere: each
request is noted and answered with 200 and an empty JSON object. The rule easiest to break: nothing here may
write to the log, so it works beside a running service. What a handler does by itself, such as writing a
file, cannot be held back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from receiver.config import resolve_secret
from receiver.errors import ConfigError, PluginError
from receiver.events import AnyCalendarEvent, parse_event
from receiver.history import state_at
from receiver.klen import Klen, NoTransport
from receiver.outbound import Answer, Outbound
from receiver.plugins.api import mark_of
from receiver.plugins.settings import SettingsError, fill
from receiver.plugins.signature import settings_class_of
from receiver.testing.delivery import deliver
from receiver.testing.loading import load_handler

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from receiver.config import Config
    from receiver.plugins import Settings
    from receiver.testing.delivery import Delivered
    from storage.reader import EventReader
    from storage.records import EventDetail, EventRecord, Selection

NO_KLEN: Final = Klen(NoTransport("A handler on trial asks nothing of Klen."))
LONGEST_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class Deed:
    """What a handler would have done for one event. Equal deeds are equal in every effect."""

    outcome: str
    error: str | None
    writes: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    http: Sequence[Mapping[str, Any]]

    def differences(self, other: Deed) -> dict[str, tuple[Any, Any]]:
        """What is not the same in the other one, both values by name."""
        names = ("outcome", "error", "writes", "messages", "http")
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


class Recorder(Outbound):
    """`ctx.http` that notes requests and makes none. What the guard refuses by URL is refused here, too."""

    def __init__(self, allow: Sequence[str]) -> None:
        super().__init__(allow)
        self.requests: list[dict[str, Any]] = []

    async def request(self, method: str, url: str, **options: Any) -> Answer:
        """See `Outbound.request`."""
        target = self._guard.check(url)
        given = {key: value for key, value in options.items() if value is not None and key != "timeout"}
        if isinstance(given.get("data"), bytes):
            given["data"] = given["data"].decode("utf-8", "backslashreplace")
        # As it is now: the handler may change what it handed over.
        noted = json.loads(json.dumps({"method": method, "url": url, **given}, default=str))
        self.requests.append(noted)
        headers = {"Content-Type": "application/json"}
        return Answer(status=200, headers=headers, body=b"{}", origin=str(target.origin()))


class Candidate:
    """One handler on trial, with its own copy of the store."""

    def __init__(
        self,
        function: Callable[..., object],
        settings: Settings,
        store: Mapping[str, Any],
        allow: Sequence[str],
    ) -> None:
        self._function = function
        mark = mark_of(function)
        self._stale = mark.stale if mark else "run"
        self._settings = settings
        self._store = dict(store)
        self._allow = allow

    async def judge(
        self, detail: EventDetail, load: Callable[[], Mapping[str, Any] | None] | None = None
    ) -> Deed:
        """Deliver one event; `load` reads the state of its calendar event."""
        event = detail.record
        typed = parse_event(
            detail.body,
            event_id=event.event_id,
            source=event.source,
            received_at=datetime.fromisoformat(event.received_at),
            origin=event.origin,
            delivery_id=event.delivery_id,
        )
        if isinstance(typed, AnyCalendarEvent):
            typed.know(detail.changes, load)
            if event.verdict == "stale" and self._stale == "skip":
                return Deed("skipped", None, {}, (), ())
            if event.verdict == "stale" and self._stale == "merge":
                typed = typed.model_copy(update={"calendar_event": typed.state})
        http = Recorder(self._allow)
        delivered = await deliver(
            self._function,
            typed,
            settings=self._settings,
            store=self._store,
            replayed=True,
            http=http,
            klen=NO_KLEN,
        )
        self._store = delivered.store
        return _deed(delivered, http)


def _deed(delivered: Delivered, http: Recorder) -> Deed:
    error = delivered.error
    return Deed(
        outcome=delivered.outcome,
        error=f"{type(error).__name__}: {error}"[:LONGEST_ERROR] if error is not None else None,
        writes=delivered.writes,
        messages=[
            {"url": message.url, "json": message.json, "headers": dict(message.headers)}
            for message in delivered.messages
        ],
        http=http.requests,
    )


def function_in(file: str | Path, name: str) -> Callable[..., object]:
    """The handler of this name in another file.

    Raises:
        PluginError: it is not there, or the file does not load.
    """
    try:
        return load_handler(file, name)
    except PluginError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise PluginError(f"it does not load: {type(error).__name__}: {error}", file=Path(file)) from error


def settings_for(
    function: Callable[..., object], name: str, config: Config, environ: Mapping[str, str] | os._Environ[str]
) -> Settings:
    """The handler's settings, from its table.

    Raises:
        ConfigError: the table does not fit them.
    """
    table = config.handlers.tables.get(name)
    resolve = partial(resolve_secret, base=config.base, environ=environ)
    kind = settings_class_of(function)
    try:
        return fill(kind, table.settings if table else {}, table=f"handlers.{name}", resolve=resolve)
    except SettingsError as error:
        raise ConfigError(error.mistakes, source=str(config.path)) from None


async def stored_values(log: EventReader, name: str) -> dict[str, Any]:
    """What a handler's store holds now."""
    return {key: json.loads(text) for key, text in (await log.store_of(name)).items()}


async def judged(
    log: EventReader, selection: Selection, candidates: Sequence[Candidate]
) -> AsyncIterator[tuple[EventRecord, list[Deed]]]:
    """Each selected event, oldest first, with what each candidate would do; a limit takes the newest."""
    if selection.limit and selection.after_seq is None:
        newest = [record async for record in log.stream(selection)]
        selection = replace(selection, after_seq=min((record.seq for record in newest), default=1) - 1)
    ordered = replace(selection, after_seq=selection.after_seq or 0)
    async for record in log.stream(ordered):
        detail = await log.get(record.event_id)
        if detail is not None:
            load = partial(_state, log, detail)
            yield record, [await candidate.judge(detail, load) for candidate in candidates]


def _state(log: EventReader, detail: EventDetail) -> Mapping[str, Any] | None:
    """What was known of the calendar event after this event."""
    if detail.number is None:
        return None
    state = state_at(log.history_now(detail.number, upto_seq=detail.record.seq), time_ms=None)
    return None if state is None else state.calendar_event()
