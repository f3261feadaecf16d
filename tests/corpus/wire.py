"""Requests of somebody who can open a connection: signatures that are none of ours, and HTTP that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.corpus.case import EITHER, FORGED, READ
from tests.corpus.framing import chunked, framing, raw
from tests.support.klen import headers, request, signature, webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.corpus.case import Case


def requests() -> Iterator[Case]:
    """Requests of somebody who can open a connection."""
    yield from signatures()
    yield from framing()
    yield from lines()
    yield from senders()


def signatures() -> Iterator[Case]:
    """A genuine body with a signature that is none of ours."""
    body = webhook()
    good = signature(body)
    wrong = {
        "none": None,
        "empty": "",
        "blank": " ",
        "prefix-of-it": good[:32],
        "one-short": good[:-1],
        "one-long": good + "0",
        "twice": good + good,
        "reversed": good[::-1],
        "of-empty-body": signature(b""),
        "of-other-body": signature(b"{}"),
        "of-empty-secret": signature(body, ""),
        "of-sample-secret": signature(body, "your-webhook-secret"),
        "sha1-length": good[:40],
        "not-hex": "g" * 64,
        "zeros": "0" * 64,
        "sha256-upper": "SHA256=" + good,
        "sha256-twice": "sha256=sha256=" + good,
        "sha1": "sha1=" + good,
        "quoted": f'"{good}"',
        "list": f"{good}, {good}",
        "list-with-junk": f"x,{good}",
        "inner-blank": good[:32] + " " + good[32:],
        "inner-tab": good[:32] + "\t" + good[32:],
        "semicolon": good + ";",
        "full-width": good.translate({ord(c): ord(c) + 0xFEE0 for c in "0123456789"}),
        "byte-ff": good[:-2] + "\udcff",
        "e-acute": good[:-1] + "é",
        "percent": "%" + good[1:],
        "base64": "K5oZfzN9K5oZfzN9K5oZfzN9K5oZfzN9K5oZfzN9K5o=",
        "stripe": f"t=1746094530,v1={good}",
        "slack": f"v0={good}",
        "svix": "v1,K5oZfzN9K5oZfzN9K5oZfzN9K5oZfzN9K5oZfzN9K5o=",
        "long": good + "a" * 4000,
        "json": '{"signature": "' + good + '"}',
        "true": "true",
        "null": "null",
    }
    for name, text in wrong.items():
        named = {"Content-Type": "application/json"} | ({} if text is None else {"X-Klen-Signature": text})
        yield f"signature-{name}", request(body, named), ("401", "400") if name == "byte-ff" else FORGED
    for name, pairs in {
        "two-equal": [good, good],
        "two-first-good": [good, "0" * 64],
        "two-second-good": ["0" * 64, good],
        "two-one-empty": ["", good],
    }.items():
        yield f"signature-{name}", request(body, [("X-Klen-Signature", text) for text in pairs]), FORGED
    for name, header in {
        "underscore": "X_Klen_Signature",
        "blank-before-colon": "X-Klen-Signature ",
        "other-vendor": "X-Hub-Signature-256",
        "query": "X-Klen-Signature-",
    }.items():
        yield f"signature-header-{name}", request(body, [(header, good)]), ("401", "400")
    yield "signature-in-query", request(body, {}, path=f"/webhooks/klen?X-Klen-Signature={good}"), FORGED
    yield (
        "signature-in-trailer",
        chunked(body, {"Trailer": "X-Klen-Signature"}, f"X-Klen-Signature: {good}\r\n"),
        ("401", "400"),
    )
    for name, changed in {
        "one-byte-more": body + b" ",
        "one-byte-less": body[:-1],
        "one-bit": body[:-2] + b"\x7c" + body[-1:],
    }.items():
        yield f"body-{name}", request(changed, {"X-Klen-Signature": good}), FORGED


def lines() -> Iterator[Case]:
    """Request lines and headers that are odd or no HTTP at all."""
    body = webhook()
    named = headers(body)
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "post", "X" * 30):
        yield f"method-{method[:10]}", request(body, named, method=method), ("405", "400")
    yield (
        "method-connect",
        raw("CONNECT example.com:443 HTTP/1.1\nHost: example.com:443"),
        ("400", "404", "405", "closed"),
    )
    for name, path in {
        "root": "/",
        "slash": "/webhooks/klen/",
        "double-slash": "//webhooks/klen",
        "dots": "/x/../webhooks/klen",
        "encoded-dots": "/%2e%2e/webhooks/klen",
        "encoded-slash": "/webhooks%2fklen",
        "upper": "/WEBHOOKS/KLEN",
        "semicolon": "/webhooks/klen;a=b",
        "nul": "/webhooks/klen%00",
        "metrics": "/metrics",
        "ops": "/replay",
        "env": "/.env",
        "passwd": "/../../../../etc/passwd",
        "long": "/" + "a" * 6000,
        "unicode": "/webhooks/kl\u00e9n",
        "backslash": "\\webhooks\\klen",
    }.items():
        # A slash that is encoded is one to us, which leads nowhere but to this listener's few paths.
        allowed = ("404", "400", "200") if name == "encoded-slash" else ("404", "400")
        yield f"path-{name}", request(body, named, path=path), allowed
    yield "path-very-long", request(body, named, path="/" + "a" * 40_000), ("400", "404", "414", "closed")
    yield "path-query", request(body, named, path="/webhooks/klen?a=b"), READ
    yield "path-fragment", request(body, named, path="/webhooks/klen#a"), ("200", "400", "404")
    yield "path-absolute", request(body, named, path="http://elsewhere.example/webhooks/klen"), READ
    yield "path-authority", request(body, named, path="elsewhere.example:80"), ("400", "404", "closed")
    yield "path-asterisk", request(b"", {}, method="OPTIONS", path="*"), ("400", "404", "405")
    yield "path-encoded", request(body, named, path="/webhooks/%6blen"), ("200", "404")
    garbage = {
        "nothing": b"\r\n\r\n",
        "blank": b"    \r\n\r\n",
        "nul": b"\0\0\0\0\r\n\r\n",
        "words": b"hello there\r\n\r\n",
        "http-0.9": b"GET /\r\n\r\n",
        "http-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "http-3": b"POST / HTTP/3\r\n\r\n",
        "http-9.9": b"POST / HTTP/9.9\r\nHost: x\r\n\r\n",
        "version-long": b"POST / HTTP/1.1111111\r\nHost: x\r\n\r\n",
        "lower": b"post / http/1.1\r\nhost: x\r\n\r\n",
        "tls": bytes.fromhex("16030100c8010000c40303") + bytes(range(190)) + b"\r\n\r\n",
        "ssh": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "smtp": b"EHLO x\r\nMAIL FROM:<a@example.com>\r\n\r\n",
        "redis": b"*1\r\n$4\r\nPING\r\n\r\n",
        "proxy": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n",
        "random": bytes((number * 167 + 13) % 256 for number in range(3000)) + b"\r\n\r\n",
        "blank-before": b" POST /webhooks/klen HTTP/1.1\r\nHost: x\r\n\r\n",
        "two-blanks": b"POST  /webhooks/klen  HTTP/1.1\r\nHost: x\r\n\r\n",
        "tab": b"POST\t/webhooks/klen\tHTTP/1.1\r\nHost: x\r\n\r\n",
        "bare-lf": b"POST /webhooks/klen HTTP/1.1\nHost: x\n\n",
        "bare-cr": b"POST /webhooks/klen HTTP/1.1\rHost: x\r\r",
        "colon-missing": b"GET /healthz HTTP/1.1\r\nHost\r\n\r\n",
        "header-empty-name": b"GET /healthz HTTP/1.1\r\n: x\r\n\r\n",
        "header-nul": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        "header-control": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: \x01\x02\r\n\r\n",
        "header-high": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\xff\xfe: b\r\n\r\n",
        "header-blank-name": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n",
        "header-folded": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        "header-first-folded": b"GET /healthz HTTP/1.1\r\n A: b\r\n\r\n",
        "header-cr-inside": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
        "header-unfinished": b"GET /healthz HTTP/1.1\r\nHost: x",
        "line-unfinished": b"POST /webh",
    }
    for name, data in garbage.items():
        yield f"garbage-{name}", data, ("200", "400", "401", "404", "405", "505", "closed")
    yield "headers-500", request(body, [(f"X-{number}", "x") for number in range(500)]), ("401", "400", "431")
    yield "headers-same-500", request(body, [("X-Same", "x")] * 500), ("401", "400", "431")
    yield "header-long", request(body, {"X-Long": "x" * 7000}), ("401", "400", "431")
    yield "header-very-long", request(body, {"X-Long": "x" * 60_000}), ("400", "431", "closed")
    yield "header-name-long", request(body, {"X" * 9000: "x"}), ("401", "400", "431", "closed")
    yield "host-missing", raw("GET /healthz HTTP/1.1"), ("200", "400")
    yield "host-twice", raw("GET /healthz HTTP/1.1\nHost: a\nHost: b"), ("200", "400")
    yield "host-odd", raw("GET /healthz HTTP/1.1\nHost: a b/c?d#e@[::"), ("200", "400")
    yield (
        "http-1.0",
        raw(
            f"POST /webhooks/klen HTTP/1.0\nContent-Length: {len(body)}\nX-Klen-Signature: {signature(body)}",
            body,
        ),
        READ,
    )


def senders() -> Iterator[Case]:
    """Genuine deliveries with headers that say something odd."""
    odd = {
        "long": "x" * 5000,
        "nul": "a%00b",
        "sql": "'; DROP TABLE event; --",
        "newline": "a%0d%0ab",
        "utf-8": "é\u2603",
        "high-bytes": "\udcff\udcfe",
        "json": '{"a": 1}',
        "blank": " ",
        "comma": "a, b",
        "quote": '"',
        "html": "<b>x</b>",
    }
    for number, (name, text) in enumerate(odd.items()):
        body = webhook(title=f"sender {number}")
        signed = {"X-Klen-Signature": signature(body)}
        yield (
            f"delivery-id-{name}",
            request(body, signed | {"X-Klen-Delivery-ID": text}),
            READ if name != "high-bytes" else EITHER,
        )
        yield (
            f"event-header-{name}",
            request(body, signed | {"X-Klen-Event": text}),
            READ if name != "high-bytes" else EITHER,
        )
        yield (
            f"user-agent-{name}",
            request(body, signed | {"User-Agent": text, "Content-Type": text}),
            READ if name != "high-bytes" else EITHER,
        )
    for name, kind in {
        "none": None,
        "text": "text/plain",
        "form": "application/x-www-form-urlencoded",
        "multipart": "multipart/form-data; boundary=x",
        "latin": "application/json; charset=latin-1",
        "broken": ";;;=",
        "twice": "a/b, c/d",
    }.items():
        body = webhook(title=f"kind {name}")
        signed = {"X-Klen-Signature": signature(body)}
        yield (
            f"content-type-{name}",
            request(body, signed | ({} if kind is None else {"Content-Type": kind})),
            READ,
        )
