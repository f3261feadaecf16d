"""The private listener of a service in this process, and raw requests to it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import storage
from tests.support.klen import Answer, exchange
from tests.support.service import running, write_plugin

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from receiver.service import Service

TOKEN = "an-ops-token-of-some-length"
PLUGIN = "from receiver import AnyEvent, on\n@on(AnyEvent)\nasync def hello(event): pass\n"


@asynccontextmanager
async def listening(
    folder: Path, *, token: str = "", plugin: str = PLUGIN, hosts: str = "[]"
) -> AsyncIterator[tuple[Service, int]]:
    """A service, and the port of its private listener."""
    write_plugin(folder, plugin)
    async with running(
        folder, f'[ops]\nlisten = "127.0.0.1:0"\ntoken = "{token}"\nhosts = {hosts}\n'
    ) as service:
        note = storage.holder(f"sqlite:///{folder}/klenhook.db").note
        assert note is not None
        yield service, int(note.rpartition(":")[2])


async def ask(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    *,
    host: str = "127.0.0.1",
    kind: str = "application/json",
    token: str | None = None,
) -> Answer:
    """One request; without `host` it names none."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Content-Length: {len(data)}"]
    lines += [f"Host: {host}"] if host else []
    lines += [f"Content-Type: {kind}"] if data else []
    lines += [f"Authorization: {token}"] if token else []
    return await exchange(port, "\r\n".join(lines).encode() + b"\r\n\r\n" + data)
