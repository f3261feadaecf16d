"""The load: one process, plain sockets, one request at a time on each of 64 keep-alive connections.

It shares the machine with the server, so it does as little as it can while the clock runs: requests are
made before, answers are judged after. Run as `python -m tests.benchmarks.load PORT FIRST COUNT`; prints one
JSON object.
"""

from __future__ import annotations

import gc
import json
import re
import selectors
import socket
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Final

from tests.benchmarks.requests import CONNECTIONS, request

STUCK_SECONDS: Final = 30.0
_length = re.compile(rb"\r\ncontent-length: ?(\d+)\r\n", re.IGNORECASE)


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    sent_at: float = 0.0
    received: bytes = b""


@dataclass(slots=True)
class _Answers:
    latencies: list[float] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)


def main() -> None:
    """Send, judge, print."""
    port, first, count = (int(argument) for argument in sys.argv[1:])
    requests = [request(number) for number in range(first, first + count)]
    connections = [_Connection(_connect(port)) for _ in range(CONNECTIONS)]
    gc.collect()
    gc.disable()
    started_at, started = time.time(), time.perf_counter()
    answers = _exchange(connections, requests)
    seconds = time.perf_counter() - started
    _judge(answers.texts, count)
    cuts = statistics.quantiles(answers.latencies, n=1000, method="inclusive")
    print(
        json.dumps(
            {
                "started_at": started_at,
                "rate": count / seconds,
                "p50_ms": cuts[499] * 1000,
                "p99_ms": cuts[989] * 1000,
                "max_ms": max(answers.latencies) * 1000,
            }
        )
    )


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=STUCK_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _exchange(connections: list[_Connection], requests: list[bytes]) -> _Answers:
    """Keep every connection busy until each request is answered."""
    answers = _Answers()
    waiting = iter(requests)
    with selectors.DefaultSelector() as selector:
        for connection, content in zip(connections, waiting, strict=False):
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            _send(connection, content)
        while len(answers.texts) < len(requests):
            ready = selector.select(STUCK_SECONDS)
            if not ready:
                sys.exit(f"No answer for {STUCK_SECONDS:g} s.")
            for key, _ in ready:
                connection = key.data
                connection.received += connection.socket.recv(65536)
                if not _complete(connection.received):
                    continue
                answers.latencies.append(time.perf_counter() - connection.sent_at)
                answers.texts.append(connection.received)
                if (following := next(waiting, None)) is not None:
                    _send(connection, following)
    return answers


def _send(connection: _Connection, content: bytes) -> None:
    connection.received = b""
    connection.sent_at = time.perf_counter()
    connection.socket.sendall(content)


def _complete(received: bytes) -> bool:
    if not received:
        sys.exit("The server closed a connection.")
    end = received.find(b"\r\n\r\n")
    found = _length.search(received)
    return end >= 0 and found is not None and len(received) >= end + 4 + int(found[1])


def _judge(answers: list[bytes], count: int) -> None:
    """Every answer is 200 and `accepted`, and no two events have the same id."""
    ids = set()
    for answer in answers:
        head, _, content = answer.partition(b"\r\n\r\n")
        report = json.loads(content)
        if not head.startswith(b"HTTP/1.1 200 ") or report.get("status") != "accepted":
            sys.exit(f"Expected 200 and accepted, found {head[:40]!r} and {content[:200]!r}.")
        ids.add(report["event_id"])
    if len(ids) != count:
        sys.exit(f"Expected {count} different events, found {len(ids)}.")


if __name__ == "__main__":
    main()
