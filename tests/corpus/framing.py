"""Where one request ends and the next begins: nothing may be smuggled in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.corpus.case import EITHER, FORGED, READ, REFUSED
from tests.support.klen import request, signature, webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.corpus.case import Case


def raw(head: str, body: bytes = b"") -> bytes:
    """A request line and headers as they are, and a body."""
    return head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body


def chunked(
    body: bytes, named: dict[str, str], trailer: str = "", *, size: str | None = None, end: bytes = b"0\r\n"
) -> bytes:
    """A request whose body comes in one chunk."""
    lines = [f"{name}: {value}" for name, value in named.items()]
    head = "\n".join(["POST /webhooks/klen HTTP/1.1", "Host: test", "Transfer-Encoding: chunked", *lines])
    return raw(
        head,
        f"{size or format(len(body), 'x')}\r\n".encode() + body + b"\r\n" + end + trailer.encode() + b"\r\n",
    )


def framing() -> Iterator[Case]:
    """Lengths, chunks, encodings and upgrades."""
    body = webhook()
    named = {"X-Klen-Signature": signature(body)}
    lines = f"X-Klen-Signature: {named['X-Klen-Signature']}"
    hidden = request(b"", {}, method="GET", path="/healthz")
    start = "POST /webhooks/klen HTTP/1.1\nHost: test"
    yield "chunked", chunked(body, named), READ
    yield "chunked-extension", chunked(body, named, size=f"{len(body):x};a=b"), READ
    yield "chunked-upper", chunked(body, named, size=f"{len(body):X}"), READ
    yield "chunked-zeros", chunked(body, named, size=f"{len(body):016x}"), ("200", "400")
    for name, size in {
        "minus": f"-{len(body):x}",
        "plus": f"+{len(body):x}",
        "0x": f"0x{len(body):x}",
        "blank": f" {len(body):x}",
        "word": "zz",
        "empty": "",
        "huge": "f" * 16,
        "too-huge": "f" * 40,
        "underscore": "1_0",
        "bare-extension": f"{len(body):x};",
    }.items():
        yield (
            f"chunk-size-{name}",
            chunked(body, named, size=size or "\r\n"),
            ("200", "400", "401", "408", "413", "closed"),
        )
    yield "chunk-too-short", chunked(body, named, size="5"), ("400", "closed")
    yield "chunk-without-end", chunked(body, named, end=b"")[:-2], ("400", "408", "closed")
    for name, text in {
        "minus": "-1",
        "plus": f"+{len(body)}",
        "word": "many",
        "float": "1.5",
        "hex": "0x10",
        "full-width": "１２",
        "list": f"{len(body)}, {len(body)}",
        "list-differs": f"{len(body)}, 1",
        "huge": "9" * 30,
        "empty": "",
        "underscore": "1_0",
    }.items():
        yield (
            f"length-{name}",
            raw(f"{start}\nContent-Length: ")[:-4] + text.encode() + raw(f"\n{lines}", body),
            ("200", "400", "401", "408", "413", "closed"),
        )
    yield "length-over-the-limit", raw(f"{start}\nContent-Length: 1048577\n{lines}", body), ("413",)
    yield "length-terabyte", raw(f"{start}\nContent-Length: 1099511627776\n{lines}"), ("413",)
    yield "length-missing", raw(f"{start}\n{lines}", body), ("401", "400")
    yield "length-too-long", request(body, named, length=len(body) + 10), ("408",)
    yield "length-too-short", request(body, named, length=len(body) - 1), ("401", "400")
    yield (
        "length-twice",
        raw(f"{start}\nContent-Length: {len(body)}\nContent-Length: {len(body)}\n{lines}", body),
        ("200", "400"),
    )
    yield (
        "length-twice-differs",
        raw(f"{start}\nContent-Length: {len(body)}\nContent-Length: 0\n{lines}", body),
        REFUSED,
    )
    for name, head in {
        "cl-te": f"Content-Length: {len(body)}\nTransfer-Encoding: chunked",
        "te-cl": f"Transfer-Encoding: chunked\nContent-Length: {len(body)}",
        "te-te": "Transfer-Encoding: chunked\nTransfer-Encoding: identity",
        "te-blank": "Transfer-Encoding : chunked",
        "te-tab": "Transfer-Encoding:\tchunked",
        "te-x": "Transfer-Encoding: xchunked",
        "te-list": "Transfer-Encoding: identity, chunked",
        "te-quoted": 'Transfer-Encoding: "chunked"',
        "te-gzip": "Transfer-Encoding: gzip, chunked",
        "te-upper": "Transfer-Encoding: CHUNKED",
        "te-nul": "Transfer-Encoding: chunked\0",
        "te-folded": "Transfer-Encoding:\n chunked",
    }.items():
        chunks = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        yield (
            f"smuggle-{name}",
            raw(f"{start}\n{head}\n{lines}", chunks + hidden),
            ("200", "400", "401", "413", "501", "closed"),
        )
    yield (
        "smuggle-get-with-body",
        raw("GET /healthz HTTP/1.1\nHost: test\nContent-Length: 40", hidden),
        ("200", "400"),
    )
    yield "smuggle-refused-body", request(hidden * 3, {}), FORGED
    yield "pipelined-garbage", request(body, named) + b"\x00\x01garbage\r\n\r\n", EITHER
    for name, encoding in {
        "gzip": "gzip",
        "deflate": "deflate",
        "br": "br",
        "identity": "identity",
        "zstd": "zstd",
        "empty": "",
        "list": "gzip, gzip",
    }.items():
        yield (
            f"encoding-{name}",
            request(body, named | {"Content-Encoding": encoding}),
            ("415", "200") if name in ("identity", "empty") else ("415",),
        )
    yield "expect", request(body, named | {"Expect": "100-continue"}), ("100", "200")
    yield "expect-other", request(body, named | {"Expect": "200-ok"}), ("200", "417", "400")
    yield (
        "upgrade-websocket",
        request(body, named | {"Connection": "Upgrade", "Upgrade": "websocket"}),
        ("200", "400"),
    )
    yield (
        "upgrade-h2c",
        request(
            body,
            named | {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"},
        ),
        ("200", "400"),
    )
