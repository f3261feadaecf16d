"""The public listener, over real sockets: what each request gets, and what the log then holds."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from storage.records import Selection
from tests.support.klen import (
    Answer,
    distinct,
    exchange,
    headers,
    post,
    read_answer,
    request,
    signature,
    webhook,
)
from tests.support.service import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from receiver.service import Service


@pytest.fixture(name="service")
async def _service(tmp_path: Path) -> AsyncIterator[Service]:
    async with running(tmp_path, "max_body_bytes = 20000\nbody_timeout_seconds = 1\n") as service:
        yield service


async def stored(service: Service) -> int:
    return await service.log.count(Selection())


async def test_a_genuine_webhook_is_accepted_and_stored_as_it_came(service: Service) -> None:
    """The answer names an event whose body in the log is the request's, byte for byte."""
    body = webhook()

    answer = await post(service.port, body, delivery_id="d-1")

    assert (answer.status, answer.json["status"]) == (200, "accepted")
    detail = await service.log.get(answer.json["event_id"])
    assert detail is not None
    assert body == detail.body
    assert detail.record.delivery_id == "d-1"


async def test_a_retry_is_a_duplicate_with_the_first_id(service: Service) -> None:
    """The same bytes, or the same id and content with a fresh timestamp, are the first event once more."""
    first = await post(service.port, webhook(), delivery_id="d-1")
    again = await post(service.port, webhook(), delivery_id="d-1")
    other_id = await post(service.port, webhook(), delivery_id="d-2")
    refreshed = await post(service.port, webhook(timestamp="2025-05-01T10:16:30.000Z"), delivery_id="d-1")

    expected = {"status": "duplicate", "event_id": first.json["event_id"]}
    assert [expected] * 3 == [again.json, other_id.json, refreshed.json]
    detail = await service.log.get(first.json["event_id"])
    assert detail is not None
    assert 4 == detail.record.deliveries == len(detail.deliveries)


async def test_an_id_is_not_used_up_by_a_replayed_body(service: Service) -> None:
    """A captured body sent under a new id does not make the real event of that id a duplicate."""
    await post(service.port, webhook(), delivery_id="d-1")
    await post(service.port, webhook(), delivery_id="d-2")

    genuine = await post(service.port, webhook(title="Another"), delivery_id="d-2")

    assert genuine.json["status"] == "accepted"


async def test_fifty_copies_at_once_are_one_event(service: Service) -> None:
    """However many copies arrive at the same instant, one is new and all name it."""
    answers = await asyncio.gather(*(post(service.port, webhook(), delivery_id="d") for _ in range(50)))

    statuses = [answer.json["status"] for answer in answers]
    assert (statuses.count("accepted"), statuses.count("duplicate")) == (1, 49)
    assert 1 == len({answer.json["event_id"] for answer in answers}) == await stored(service)


def _unsigned() -> list[tuple[str, list[tuple[str, str]]]]:
    good = signature(webhook())
    return [
        ("none", []),
        ("empty", [("X-Klen-Signature", "")]),
        ("another secret", [("X-Klen-Signature", signature(webhook(), "another-secret-entirely"))]),
        ("cut short", [("X-Klen-Signature", good[:-1])]),
        ("one digit off", [("X-Klen-Signature", good[:-1] + ("0" if good[-1] != "0" else "1"))]),
        ("twice, equal", [("X-Klen-Signature", good)] * 2),
        ("twice, one good", [("X-Klen-Signature", "0" * 64), ("X-Klen-Signature", good)]),
        ("bytes beyond ASCII", [("X-Klen-Signature", "\udcff" * 64)]),
        ("not hex", [("X-Klen-Signature", "z" * 64)]),
        ("list", [("X-Klen-Signature", f"{good},{good}")]),
        ("wide digits", [("X-Klen-Signature", good.replace("1", "１"))]),
    ]


@pytest.mark.parametrize(("name", "named"), _unsigned(), ids=[name for name, _ in _unsigned()])
async def test_a_bad_signature_is_401_and_leaves_nothing(
    service: Service, name: str, named: list[tuple[str, str]]
) -> None:
    """Whatever is wrong with the signature, nothing is stored."""
    answer = await exchange(service.port, request(webhook(), named))

    assert (answer.status, answer.json["error"]) == (401, "invalid_signature"), name
    assert await stored(service) == 0
    assert await service.log.quarantined() == []


async def test_every_401_is_the_same_bytes(service: Service) -> None:
    """The answer does not tell which check failed: all are equal but for the date."""

    def but_date(answer: Answer) -> tuple[list[tuple[str, str]], bytes]:
        return sorted(pair for pair in answer.headers.items() if pair[0] != "date"), answer.body

    answers = [await exchange(service.port, request(webhook(), named)) for _, named in _unsigned()]

    assert len({str(but_date(answer)) for answer in answers}) == 1


async def test_a_header_in_upper_case_or_with_prefix_is_accepted(service: Service) -> None:
    """Hex digits in upper case and an optional `sha256=` are the same signature."""
    bodies = [distinct(), distinct()]
    values = [signature(bodies[0]).upper(), "sha256=" + signature(bodies[1])]

    for body, value in zip(bodies, values, strict=True):
        answer = await exchange(service.port, request(body, {"X-Klen-Signature": value}))
        assert answer.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"hello",
        b'{"a": NaN}',
        b"\xef\xbb\xbf{}",
        '{"a": "é"}'.encode("latin-1"),
        '{"a": 1}'.encode("utf-16"),
        b"{}{}",
        b"{'a': 1}",
    ],
)
async def test_signed_bytes_that_are_no_json_are_400_and_kept(service: Service, body: bytes) -> None:
    """They are refused, and their bytes are in quarantine."""
    answer = await post(service.port, body)

    assert (answer.status, answer.json["error"]) == (400, "invalid_json")
    assert await stored(service) == 0
    [kept] = await service.log.quarantined()
    refused = await service.log.quarantined_body(kept.id)
    assert refused is not None
    assert body == refused.body


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b'{"event_type": null}',
        b'{"event_type": 7, "calendar_event": []}',
        b'{"event_type": "calendar.created"}',
        b'{"event_type": "calendar.created", "calendar_event": {"id": "x"}}',
        b'{"event_type": "calendar.exploded", "calendar_event": {"id": 1}}',
        b'{"event_type": "invoice.paid", "invoice": {"id": 1}}',
        b'{"event_type": "calendar.created", "calendar_event": {"id": 99999999999999999999999999}}',
        b'{"event_type": "calendar.created", "calendar_event": {"id": 1, "title": "\\ud800\\u0000\\u001b[2J"}}',
        b'{"event_type": "calendar.created", "calendar_event": {"id": 1}, "timestamp": "24:00:00"}',
        b'{"event_type": "calendar.created", "calendar_event": {"id": 1}, "timestamp": "3170843-01-01T00:00:00Z"}',
        b'{"event_type": "' + b"x" * 5000 + b'"}',
        b'{"a": 1, "a": 2}',
        b'{"n": ' + b"9" * 5000 + b"}",
        b'{"n": 1e999}',
        b'{"d": ' + b"[" * 300 + b"]" * 300 + b"}",
    ],
)
async def test_signed_json_of_any_shape_is_accepted_and_routed(service: Service, body: bytes) -> None:
    """A vendor's change never costs an event: it is stored as it came, and holds up nothing behind it."""
    answer = await post(service.port, body)
    behind = await post(service.port, distinct())

    assert [answer.status, behind.status] == [200, 200]
    detail = await service.log.get(answer.json["event_id"])
    assert detail is not None
    assert body == detail.body
    async with asyncio.timeout(5):
        while (await service.log.status()).unrouted:
            await asyncio.sleep(0.02)
    assert len([record async for record in service.log.stream(Selection(limit=0))]) == 2


async def test_nesting_too_deep_to_read_is_refused_and_kept(service: Service) -> None:
    """Ten thousand brackets end as 400 and in quarantine, not in a crash."""
    body = b"[" * 9_000 + b"]" * 9_000

    answer = await post(service.port, body)

    assert answer.status == 400
    assert len(await service.log.quarantined()) == 1


async def test_the_limit_is_exact(service: Service) -> None:
    """A body of exactly the limit is taken; one byte more is 413, declared or not."""
    body = json.dumps({"pad": ""}).encode()
    fits = body.replace(b'""', b'"' + b"x" * (20_000 - len(body)) + b'"')
    over = fits.replace(b'"x', b'"xx', 1)
    assert (len(fits), len(over)) == (20_000, 20_001)

    taken = await post(service.port, fits)
    declared = await post(service.port, over)
    named = headers(over) | {"Transfer-Encoding": "chunked"}
    chunked = request(b"%x\r\n%b\r\n0\r\n\r\n" % (len(over), over), named).replace(
        b"Content-Length", b"X-Length", 1
    )
    undeclared = await exchange(service.port, chunked)

    assert [taken.status, declared.status, undeclared.status] == [200, 413, 413]
    assert "payload_too_large" == declared.json["error"] == undeclared.json["error"]


async def test_a_declared_length_over_the_limit_is_refused_unread(service: Service) -> None:
    """The answer comes before any of the body was sent, and the connection is closed."""
    answer = await exchange(service.port, request(b"", length=10**9))

    assert (answer.status, answer.headers["connection"]) == (413, "close")


async def test_expect_continue_is_answered_only_if_the_body_is_wanted(service: Service) -> None:
    """`100 Continue` comes for a body of the right size; a larger one gets 413 at once."""
    body = webhook()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(request(b"", headers(body) | {"Expect": "100-continue"}, length=len(body)))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    accepted = await read_answer(reader)
    writer.close()

    refused = await exchange(service.port, request(b"", {"Expect": "100-continue"}, length=10**9))

    assert [accepted.status, refused.status] == [200, 413]


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br", ""])
async def test_any_content_encoding_is_415(service: Service, encoding: str) -> None:
    """Signatures are over plain bytes, so nothing is ever unpacked."""
    body = webhook()
    answer = await exchange(service.port, request(body, headers(body) | {"Content-Encoding": encoding}))

    assert answer.status == 415
    assert await stored(service) == 0


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_another_method_is_405_with_allow(service: Service, method: str) -> None:
    """The path of a source takes POST and says so."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(request(method=method))
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()

    assert head.startswith("HTTP/1.1 405 ")
    assert "\r\nAllow: POST\r\n" in head


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/webhooks/klen/",
        "/webhooks/KLEN",
        "//webhooks/klen",
        "/webhooks",
        "/webhooks/klen/x",
        "/webhooks/../webhooks/klen",
        "/%00",
        "/metrics",
    ],
)
async def test_another_path_is_404_and_never_a_redirect(service: Service, path: str) -> None:
    """Only the exact path is a source's."""
    body = webhook()
    answer = await exchange(service.port, request(body, headers(body), path=path))

    assert (answer.status, answer.json["error"]) == (404, "not_found")
    assert await stored(service) == 0


@pytest.mark.parametrize("path", ["/webhooks/klen?x=1", "http://elsewhere.example/webhooks/klen"])
async def test_query_and_absolute_form_reach_the_source(service: Service, path: str) -> None:
    """A query string, or the absolute form that proxies use, names the same path."""
    body = distinct()
    answer = await exchange(service.port, request(body, headers(body), path=path))

    assert answer.status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
async def test_the_content_type_does_not_matter(service: Service, kind: str) -> None:
    """Signed JSON is taken, whatever it calls itself."""
    body = distinct()
    answer = await exchange(service.port, request(body, headers(body) | {"Content-Type": kind}))

    assert answer.status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"BREW /webhooks/klen HTTP/1.1\r\nHost: x\r\n\r\n",
        b"hello there john.smith@example.com\r\n\r\n",
        b"POST /webhooks/klen HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /webhooks/klen HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST /webhooks/klen HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /webhooks/klen HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /webhooks/klen HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(500)) + b"\r\n",
        b"POST /webhooks/klen HTTP/1.1\r\nHost : x\r\n\r\n",
        b"POST /webhooks/klen HTTP/1.1\r\nHost: x\r\nX: \x00\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_400_in_our_own_words(service: Service, data: bytes) -> None:
    """The answer quotes nothing of what came, and the next request is served."""
    answer = await exchange(service.port, data)

    assert (
        answer.status,
        answer.json,
    ) == (400, {"error": "bad_request", "message": "This is not a valid HTTP request."})
    assert (await post(service.port, webhook())).status == 200


async def test_a_body_that_does_not_come_is_408(service: Service) -> None:
    """A sender that stops in the middle is answered after the deadline, not after an hour."""
    body = webhook()
    answer = await exchange(service.port, request(body[:10], headers(body), length=len(body)))

    assert (answer.status, answer.json["error"]) == (408, "request_timeout")


async def test_a_sender_that_hangs_up_leaves_nothing(service: Service) -> None:
    """Half a body and a closed connection store nothing and disturb nobody."""
    body = webhook()
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(request(body[:10], headers(body), length=len(body)))
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await post(service.port, distinct())).status == 200
    assert await stored(service) == 1


async def test_two_delivery_ids_mean_the_first(service: Service) -> None:
    """The id is a hint, so two of them are no reason to refuse."""
    body = webhook()
    pairs = [*headers(body).items(), ("X-Klen-Delivery-ID", "one"), ("X-Klen-Delivery-ID", "two")]
    answer = await exchange(service.port, request(body, pairs))

    detail = await service.log.get(answer.json["event_id"])
    assert detail is not None
    assert detail.record.delivery_id == "one"


async def test_a_header_that_disagrees_with_the_body_only_earns_a_flag(service: Service) -> None:
    """The signed body decides what the event is."""
    body = webhook("calendar.created")
    answer = await exchange(
        service.port, request(body, headers(body) | {"X-Klen-Event": "calendar.cancelled"})
    )

    detail = await service.log.get(answer.json["event_id"])
    assert detail is not None
    assert (detail.record.event_type, detail.record.flags) == ("calendar.created", ("event_header_differs",))


async def test_requests_on_one_connection_are_answered_in_turn(service: Service) -> None:
    """Keep-alive and pipelining work, also behind a refused request whose body was read."""
    bodies = [distinct() for _ in range(3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        request(bodies[0], headers(bodies[0]))
        + request(bodies[1], {})
        + request(bodies[2], headers(bodies[2]))
    )
    answers = [await read_answer(reader) for _ in range(3)]
    writer.close()

    assert [answer.status for answer in answers] == [200, 401, 200]


async def test_health_is_told_and_nothing_else(service: Service) -> None:
    """`/healthz` and `/readyz` are 200 for a service that can store, and take GET only."""
    health = await exchange(service.port, request(method="GET", path="/healthz"))
    ready = await exchange(service.port, request(method="GET", path="/readyz"))
    posted = await exchange(service.port, request(path="/readyz"))

    assert [(answer.status, answer.json["status"]) for answer in (health, ready)] == [
        (200, "ok"),
        (200, "ok"),
    ]
    assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD")
