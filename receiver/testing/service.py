"""A whole service for a test: real HTTP on a free port, a real log in a folder, and a vendor that signs.

The rule easiest to break: nothing is replaced by a stand-in. What a test learns here, it learns about the
service that will run.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from receiver.config import Place
from receiver.config.load import Layers, check
from receiver.samples import to_body
from receiver.sender import Answer, delivery_headers, exchange
from receiver.service import Service
from receiver.testing.events import payload
from storage.records import Selection
from storage.states import FINISHED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from receiver.config import Config
    from receiver.events import AnyEvent
    from receiver.sandbox import Sandbox
    from storage.records import EventDetail
    from storage.states import RunState

SOURCE: Final = "klen"
SANDBOX_KEY: Final = "klen_sandbox_full"
POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """One event for one handler."""

    event_id: str
    event_type: str | None
    handler: str
    state: RunState
    attempts: int
    error: str | None
    """Of the last attempt: the exception with its traceback."""


class LocalVendor:
    """Sends webhooks as the vendor does: signed, over HTTP, and without trying again."""

    def __init__(self, url: str, secret: str) -> None:
        """`url` is the source's path at the service."""
        self.url = url
        self._secret = secret

    async def post(
        self, body: bytes, *, event_type: str | None = None, delivery_id: str | None = None
    ) -> Answer:
        """Deliver a body."""
        headers = delivery_headers(
            "klen", self._secret, body, now=time.time(), event_type=event_type, delivery_id=delivery_id
        )
        return await asyncio.to_thread(exchange, "POST", self.url, body, headers)


class LocalService:
    """A running service, as `klenhook_service(...)` and `local_service(...)` give it."""

    def __init__(self, service: Service, vendor: LocalVendor) -> None:
        self.service = service
        """The service itself."""
        self.vendor = vendor

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"http://{self.service.host}:{self.service.port}"

    async def send(
        self,
        kind: type[AnyEvent] | str,
        changes: Mapping[str, Any] | None = None,
        /,
        *,
        delivery_id: str | None = None,
        **more: Any,
    ) -> str:
        """Have the vendor send an event; kinds and changes as for `sample`. Its id in the log.

        The same once more is a duplicate, with the first one's id.

        Raises:
            AssertionError: it was not accepted.
            ValueError: see `sample`.
        """
        event = payload(kind, {**(changes or {}), **more})
        answer = await self.vendor.post(
            to_body(event), event_type=event["event_type"], delivery_id=delivery_id
        )
        if not answer.is_success:
            raise AssertionError(f"The service answered {answer.status}: {answer.body}")
        return str(json.loads(answer.body)["event_id"])

    async def runs(self, event_id: str | None = None) -> list[Run]:
        """Every run, or one event's, in the order in which events were received."""
        return [
            Run(
                event_id=detail.record.event_id,
                event_type=detail.record.event_type,
                handler=run.handler,
                state=run.state,
                attempts=run.attempt,
                error=run.attempts[-1].error if run.attempts else None,
            )
            for detail in await self._details(event_id)
            for run in detail.runs
        ]

    async def settled(self, seconds: float = 10) -> list[Run]:
        """Wait until every event has gone to its handlers and every run is finished; the runs.

        Raises:
            AssertionError: that takes longer; says what each handler waits for.
        """
        deadline = time.monotonic() + seconds
        while True:
            unrouted = (await self.service.log.status()).unrouted
            runs = await self.runs()
            waiting = [run for run in runs if run.state not in FINISHED]
            if not unrouted and not waiting:
                return runs
            if time.monotonic() > deadline:
                lines = [
                    f"{run.handler} is {run.state} for {run.event_type} attempt {run.attempts}: {run.error}"
                    for run in waiting
                ]
                raise AssertionError(f"Not settled in {seconds:g} s.\n" + "\n".join(lines))
            await asyncio.sleep(POLL_SECONDS)

    async def _details(self, event_id: str | None) -> list[EventDetail]:
        log = self.service.log
        everything = Selection(after_seq=0, limit=0)
        ids = [event_id] if event_id else [record.event_id async for record in log.stream(everything)]
        return [detail for found in ids if (detail := await log.get(found)) is not None]


@asynccontextmanager
async def local_service(
    folder: Path,
    *,
    plugins: Mapping[str, str] | None = None,
    plugins_dir: Path | None = None,
    config: Mapping[str, Any] | None = None,
    sandbox: Sandbox | None = None,
) -> AsyncIterator[LocalService]:
    """Run the service in a folder of the test's own, with retries after 10 ms instead of minutes.

    Args:
        folder: Where the log and the plugins are; the same folder again is the same log.
        plugins: Files to write into its plugins folder: `{"hello.py": source}`.
        plugins_dir: A folder of plugins that is there already, instead.
        config: What config.toml would say: `{"handlers": {"hello": {"greeting": "Hi"}}}`.
        sandbox: A local Klen that was started: it sends its webhooks here, and `ctx.klen` asks its API.

    Raises:
        ConfigError: the configuration, or a handler's settings, have mistakes.
        AssertionError: a plugin does not load.
    """
    account = {"api_url": sandbox.api_url, "api_key": SANDBOX_KEY} if sandbox else {}
    said = _merged({"sources": {SOURCE: account}}, config or {})
    checked = _configured(folder, plugins_dir or folder / "plugins", plugins or {}, said)
    async with Service(checked) as service:
        broken = "\n".join(plugin.traceback for plugin in service.loaded.broken)
        if broken:
            raise AssertionError(f"A plugin does not load.\n{broken}")
        source_at = checked.sources[SOURCE]
        vendor = LocalVendor(
            f"http://{service.host}:{service.port}{source_at.path}",
            source_at.secrets[0].get_secret_value(),
        )
        if sandbox:
            sandbox.register(vendor.url, secret=source_at.secrets[0].get_secret_value())
        yield LocalService(service, vendor)


def _configured(
    folder: Path, plugins_dir: Path, plugins: Mapping[str, str], config: Mapping[str, Any]
) -> Config:
    """Make the folders and the plugins' files; the configuration for them."""
    folder.mkdir(parents=True, exist_ok=True)
    plugins_dir.mkdir(exist_ok=True)
    for name, source in plugins.items():
        (plugins_dir / name).write_text(source, encoding="utf-8")
    defaults: dict[str, Any] = {
        "server": {"listen": "127.0.0.1:0"},
        "ops": {"listen": "127.0.0.1:0"},
        "sources": {SOURCE: {"secrets": [secrets.token_hex(16)]}},
        "dispatch": {"shutdown_grace_seconds": 5, "retry": {"tries": 3, "base": 0.01, "cap": 0.05}},
        "handlers": {"plugins_dir": str(plugins_dir.absolute())},
        "outbound": {"allow": ["127.0.0.0/8", "::1"]},
    }
    place = Place(folder.absolute() / "config.toml", os.environ)
    return check(Layers(place, _merged(defaults, config), {}, ()))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables as one; where both have a value, the one of `above`."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged
