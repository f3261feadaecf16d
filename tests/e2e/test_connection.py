"""Webhooks that come whole are taken without a task of their own; nobody outside can tell."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from receiver import connection, listener
from receiver.connection import Connection
from storage.records import Selection
from tests.support.klen import distinct, headers, read_answer, request, webhook
from tests.support.service import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from receiver.service import Service
    from tests.support.klen import Answer

IDLE_SECONDS = 0.3


@pytest.fixture(name="service")
async def _service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    monkeypatch.setattr(listener, "KEEPALIVE_SECONDS", IDLE_SECONDS)
    async with running(tmp_path, "max_body_bytes = 20000\n") as service:
        yield service


@contextmanager
def busy(folder: Path) -> Iterator[None]:
    """Another program writes to the log, so that storing has to wait."""
    with closing(sqlite3.connect(folder / "klenhook.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


async def deliver(port: int, *pieces: bytes) -> Answer:
    """One request in so many pieces."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.05)
    async with asyncio.timeout(10):
        answer = await read_answer(reader)
    writer.close()
    return answer


DUPLICATE = webhook()
REQUESTS = {
    "a duplicate": request(DUPLICATE, headers(DUPLICATE)),
    "not signed": request(DUPLICATE, {}),
    "no JSON": request(b"{", headers(b"{")),
    "encoded": request(DUPLICATE, headers(DUPLICATE) | {"Content-Encoding": "gzip"}),
    "too large": request(b"x" * 20_001, headers(b"x" * 20_001)),
    "empty": request(b"", headers(b"")),
}


@pytest.mark.parametrize("sent", REQUESTS.values(), ids=REQUESTS)
async def test_a_request_is_answered_alike_however_it_comes(
    service: Service, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one piece, cut in the middle, or with an aiohttp that changed inside: only the date may differ."""
    await deliver(service.port, REQUESTS["a duplicate"])
    cut = sent.index(b"\r\n\r\n") + 4

    whole = await deliver(service.port, sent)
    pieces = await deliver(service.port, sent[:cut], sent[cut:])
    monkeypatch.setattr(connection, "DIRECT", value=False)
    other = await deliver(service.port, sent)

    known = {name: text for name, text in whole.headers.items() if name not in ("date", "connection")}
    for answer in (pieces, other):
        assert (whole.status, whole.body) == (answer.status, answer.body)
        assert known == {name: answer.headers[name] for name in known}


async def test_a_whole_webhook_needs_no_task(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken by the call that read it."""
    taken = []
    take = Connection._take

    def watched(connection: Connection) -> bool:
        taken.append(take(connection))
        return taken[-1]

    monkeypatch.setattr(Connection, "_take", watched)
    body = distinct()

    assert (await deliver(service.port, request(body, headers(body)))).status == 200
    assert taken == [True]


async def test_what_follows_waits_for_the_answer_before_it(service: Service, tmp_path: Path) -> None:
    """While one request is being stored, the next on its connection is not answered, however quick it were."""
    body = distinct()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    with busy(tmp_path):
        writer.write(request(body, headers(body)))
        await asyncio.sleep(0.1)
        writer.write(request(body, {}) + request(body, headers(body)))
        await asyncio.sleep(0.1)
    answers = [await read_answer(reader) for _ in range(3)]
    writer.close()

    assert [answer.status for answer in answers] == [200, 401, 200]
    assert [answers[i].json["status"] for i in (0, 2)] == ["accepted", "duplicate"]


async def test_a_connection_is_idle_only_when_nothing_is_being_stored(
    service: Service, tmp_path: Path
) -> None:
    """It is closed when the sender keeps quiet for long, not while the log keeps the sender waiting."""
    body = distinct()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    with busy(tmp_path):
        writer.write(request(body, headers(body)))
        await asyncio.sleep(4 * IDLE_SECONDS)
    answer = await read_answer(reader)

    assert answer.status == 200
    async with asyncio.timeout(20 * IDLE_SECONDS):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
async def test_a_sender_that_wants_it_closed_gets_it_closed(service: Service, version: str) -> None:
    """An older protocol, or `Connection: close`: the answer, then the end."""
    body = distinct()
    sent = request(body, headers(body) | {"Connection": "close"}).replace(b"HTTP/1.1", version.encode(), 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(sent)
    async with asyncio.timeout(10):
        answer = await read_answer(reader)
        rest = await reader.read()
    writer.close()

    assert (answer.status, answer.headers["connection"], rest) == (200, "close", b"")


async def test_what_is_being_stored_when_the_service_stops_is_answered(tmp_path: Path) -> None:
    """The answer says that the connection ends, and it does."""
    body = distinct()
    async with running(tmp_path) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        with busy(tmp_path):
            writer.write(request(body, headers(body)))
            await asyncio.sleep(0.1)
            stopping = asyncio.create_task(service.__aexit__())
            await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            answer = await read_answer(reader)
            rest = await reader.read()
        await stopping
        writer.close()

    assert (answer.status, answer.headers["connection"], rest) == (200, "close", b"")


async def test_storing_that_takes_too_long_is_503_and_may_still_happen(tmp_path: Path) -> None:
    """The sender is told to try again; that its event got there after all makes the next try a duplicate."""
    body = distinct()
    async with running(tmp_path, "store_timeout_seconds = 0.3\n") as service:
        with busy(tmp_path):
            late = await deliver(service.port, request(body, headers(body)))
        async with asyncio.timeout(10):
            while await service.log.count(Selection()) == 0:
                await asyncio.sleep(0.05)
        again = await deliver(service.port, request(body, headers(body)))

    assert (late.status, late.json["error"], late.headers["retry-after"]) == (503, "unavailable", "30")
    assert (again.status, again.json["status"]) == (200, "duplicate")


async def test_a_sender_may_be_ahead_of_the_answers(service: Service) -> None:
    """However many requests come before the first answer is read, each is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    body = b"{}"
    sent = request(body, headers(body))
    for _ in range(3):
        writer.write(sent * 50)
        await asyncio.sleep(0.05)
    answers = [await read_answer(reader) for _ in range(150)]
    writer.close()

    assert {200} == {answer.status for answer in answers}
