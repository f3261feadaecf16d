"""The vendor's side of the wire, by hand: bodies, signatures and raw HTTP, from nothing but the contract."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

SECRET = "a-long-enough-test-secret"
UUID = "f47ac10b-58cc-4372-a567-0e02b2c3d479"


def webhook(event_type: str = "calendar.created", **calendar_event: Any) -> bytes:
    """A calendar webhook as the vendor documents it; keywords replace keys of `calendar_event`."""
    timestamp = calendar_event.pop("timestamp", "2025-05-01T10:15:30.000Z")
    content = {
        "id": 123,
        "uuid": UUID,
        "title": "Client Meeting",
        "event_type": "meeting",
        "status": "confirmed",
        "start_time": "2025-05-01T14:00:00.000Z",
        "end_time": "2025-05-01T15:00:00.000Z",
        "customer": {"name": "John Smith", "email": "john.smith@example.com", "phone": "+15551234567"},
    }
    value = {"event_type": event_type, "calendar_event": content | calendar_event, "timestamp": timestamp}
    return json.dumps(value, separators=(",", ":")).encode()


def distinct(event_type: str = "calendar.created") -> bytes:
    """A webhook about an appointment of its own."""
    return webhook(event_type, uuid=str(uuid4()))


def signature(body: bytes, secret: str = SECRET) -> str:
    """What the vendor puts into X-Klen-Signature."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers(body: bytes, *, delivery_id: str | None = None, secret: str = SECRET) -> dict[str, str]:
    """The headers of a genuine delivery."""
    named = {"Content-Type": "application/json", "X-Klen-Signature": signature(body, secret)}
    return named if delivery_id is None else named | {"X-Klen-Delivery-ID": delivery_id}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, byte for byte."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def read_answer(reader: asyncio.StreamReader, *, body: bool = True) -> Answer:
    """The next answer on a connection; header names in lower case. One to HEAD has no `body`."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    named = dict(line.lower().split(": ", 1)[:1] + line.split(": ", 1)[1:] for line in head[1:] if line)
    content = await reader.readexactly(int(named.get("content-length", 0)) if body else 0)
    return Answer(int(head[0].split()[1]), named, content)


async def exchange(port: int, data: bytes) -> Answer:
    """Send bytes on a connection of their own, and read one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(20):
            return await read_answer(reader)
    finally:
        writer.close()


def request(
    body: bytes = b"",
    named: dict[str, str] | list[tuple[str, str]] | None = None,
    *,
    method: str = "POST",
    path: str = "/webhooks/klen",
    length: int | None = None,
) -> bytes:
    """A raw HTTP request."""
    pairs = list((named or {}).items()) if isinstance(named, dict) or named is None else named
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: test",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    lines += [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


async def post(port: int, body: bytes, **options: Any) -> Answer:
    """Deliver a genuine webhook."""
    return await exchange(port, request(body, headers(body, **options)))
