"""The outgoing client against real servers on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gzip
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import traceback
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from receiver.outbound import (
    Answer,
    AnswerTooLarge,
    FailedAnswer,
    Outbound,
    OutboundError,
    Refused,
    TimedOut,
    Unreachable,
    UnreadableAnswer,
    retry_after_seconds,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ROOT = Path(__file__).resolve().parents[2]
ALLOW = ["127.0.0.1"]
NOW = 1_746_094_530.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(name="http")
async def _http() -> AsyncIterator[Outbound]:
    async with Outbound(ALLOW, timeout_seconds=5) as http:
        yield http


class Web:
    """A web server that keeps its requests and answers by `answer`."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = self._fine
        self.url = ""

    async def _fine(self, _request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"fine": True}, headers={"Set-Cookie": "session=1; Path=/"})

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return await self.answer(request)

    @contextlib.asynccontextmanager
    async def running(
        self, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Web]:
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        name = f"[{host}]" if ":" in host else host
        self.url = f"http{'s' if tls else ''}://{name}:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


@pytest.fixture(name="site")
async def _site() -> AsyncIterator[Web]:
    async with Web().running() as site:
        yield site


@contextlib.asynccontextmanager
async def raw(
    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server that does with its connections what the script says."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await script(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(
    *pieces: bytes, hang: bool = False
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A script: read the head of the request, send these bytes, then close or hang."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if hang:
            await asyncio.sleep(60)
        writer.close()

    return script


class Names:
    """A name server of the test's own: what it answers for `.example` names, one answer per lookup."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.lookups = 0
        system = socket.getaddrinfo

        def lookup(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
            if not str(host).endswith(".example"):
                return system(host, port, *rest, **named)
            answer = answers[min(self.lookups, len(answers) - 1)]
            self.lookups += 1
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

        monkeypatch.setattr(socket, "getaddrinfo", lookup)


async def test_a_request_arrives_as_it_was_asked_for(http: Outbound, site: Web) -> None:
    """Method, query, headers and JSON reach the server, and its answer comes back whole."""
    answer = await http.post(
        f"{site.url}/hook?a=1", json={"name": "Zoë"}, headers={"Idempotency-Key": "k-1"}, params={"b": 2}
    )

    [request] = site.requests
    assert (request.method, request.path_qs) == ("POST", "/hook?a=1&b=2")
    assert (request.headers["Idempotency-Key"], request.headers["User-Agent"]) == ("k-1", "klenhook")
    assert json.loads(site.bodies[0]) == {"name": "Zoë"}
    assert (answer.status, answer.ok, answer.json()) == (200, True, {"fine": True})
    assert answer.headers["content-TYPE"] == "application/json; charset=utf-8"
    assert answer.text == '{"fine": true}'
    assert answer is answer.raise_for_status()


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete"])
async def test_each_method_has_its_verb(http: Outbound, site: Web, method: str) -> None:
    """`get`, `post`, `put`, `patch` and `delete` send that method, with a body if there is one."""
    assert (await getattr(http, method)(site.url, data=b"bytes")).ok

    assert [method.upper()] == [request.method for request in site.requests]
    assert site.bodies == [b"bytes"]


async def test_a_mapping_is_sent_as_a_form(http: Outbound, site: Web) -> None:
    """`data` with a mapping is a form."""
    await http.post(site.url, data={"a": "1 2"})

    assert site.bodies == [b"a=1+2"]


async def test_nothing_is_sent_to_a_refused_destination() -> None:
    """Without leave of the operator this machine is not even connected to, by any of its names."""
    connections = []

    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.write(OK)

    async with raw(script) as url, Outbound() as http:
        for host in (
            "127.0.0.1",
            "localhost",
            "LOCALHOST",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",  # noqa: S104 -- to be refused, not bound to
            "2130706433",
            "0x7f.1",
        ):
            with pytest.raises(Refused):
                await http.post(url.replace("127.0.0.1", host), json={})

    assert connections == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_redirects_are_not_followed(http: Outbound, site: Web, method: str, status: int) -> None:
    """A redirect is an answer, for the caller to judge; as an error it says so."""

    async def elsewhere(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": f"{site.url}/inner?token=secret"})

    site.answer = elsewhere
    answer = await http.request(method, site.url)

    assert (status, False, 1) == (answer.status, answer.ok, len(site.requests))
    with pytest.raises(FailedAnswer, match="Redirects are not followed") as failed:
        answer.raise_for_status()
    assert "secret" not in str(failed.value)


async def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that answers otherwise the next time gains nothing: the connection goes to the checked address."""
    async with Web().running() as inner, Outbound(["127.0.0.2"]) as http:
        port = inner.url.rpartition(":")[2]
        async with Web().running(host="127.0.0.2", port=int(port)) as outer:
            names = Names(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])

            assert (await http.get(f"http://rebinding.example:{port}/")).ok
            assert (names.lookups, len(outer.requests), len(inner.requests)) == (1, 1, 0)
            assert f"rebinding.example:{port}" == outer.requests[0].headers["Host"]

    async with Outbound(["127.0.0.2"]) as http:
        with pytest.raises(Refused, match=r"rebinding\.example resolves to a loopback address"):
            await http.get(f"http://rebinding.example:{port}/")


async def test_of_several_addresses_only_admitted_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with an inner and an admitted address is reached at the admitted one, also if that is down."""
    async with Web().running() as inner, Outbound(["127.0.0.2"]) as http:
        Names(monkeypatch, ["127.0.0.1", "127.0.0.2"])

        with pytest.raises(Unreachable, match="Connection refused"):
            await http.get(f"http://mixed.example:{inner.url.rpartition(':')[2]}/")
        assert inner.requests == []


async def test_the_environment_names_no_proxy_and_no_password(
    http: Outbound, site: Web, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proxies and .netrc of the environment are not used: the guard judges where the connection really goes."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with Web().running() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)

        assert (await http.get(site.url)).ok
        assert proxy.requests == []
        assert "Authorization" not in site.requests[0].headers


async def test_cookies_are_not_kept(http: Outbound, site: Web) -> None:
    """One handler's cookies are not sent with another's requests."""
    url = site.url.replace("127.0.0.1", "localhost")  # clients keep no cookies of addresses anyway
    for _ in range(2):
        assert "session=1" in (await http.get(url)).headers["Set-Cookie"]

    assert [request.headers.get("Cookie") for request in site.requests] == [None, None]


async def test_requests_are_not_queued_behind_each_other(http: Outbound, site: Web) -> None:
    """The caller decides on concurrency: 120 requests are under way at once, and every connection is its own."""
    everyone = asyncio.Event()

    async def together(_request: web.BaseRequest) -> web.StreamResponse:
        if len(site.requests) == 120:
            everyone.set()
        await everyone.wait()
        return web.Response()

    site.answer = together
    answers = await asyncio.gather(*(http.get(site.url) for _ in range(120)))

    assert all(answer.ok for answer in answers)


TRICKLE = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nok\r\n"]


@pytest.mark.parametrize("pieces", [[], TRICKLE[:1], TRICKLE, [b"HTTP/1.1 100 Continue\r\n\r\n"]])
async def test_an_answer_that_does_not_end_is_given_up(http: Outbound, pieces: list[bytes]) -> None:
    """The time is for everything: an answer that has begun must end in it, too."""
    async with raw(saying(*pieces, hang=True)) as url:
        with pytest.raises(TimedOut, match=r"gave no answer within 0\.2 s"):
            await asyncio.wait_for(http.get(url, timeout=0.2), 3)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("pieces", [[], [OK]])
async def test_a_server_that_does_not_read_is_given_up(http: Outbound, pieces: list[bytes]) -> None:
    """A body that the server does not take is not waited for beyond the time, nor after an early answer."""
    async with raw(saying(*pieces, hang=True)) as url:
        with contextlib.suppress(TimedOut):
            await asyncio.wait_for(http.post(url, data=bytes(50_000_000), timeout=0.5), 3)


async def test_a_name_that_does_not_resolve_in_time_is_given_up(
    http: Outbound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that does not answer counts as time, and blocks nothing else."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: release.wait(10))
    try:
        with pytest.raises(TimedOut):
            await asyncio.wait_for(http.get("http://slow.example/", timeout=0.2), 3)
    finally:
        release.set()


async def test_no_time_is_no_time(http: Outbound, site: Web) -> None:
    """A time of zero ends at once; it does not mean without end."""
    with pytest.raises(TimedOut):
        await http.get(site.url, timeout=0)


async def test_cancelling_is_not_an_error_of_ours(http: Outbound) -> None:
    """A cancelled request ends as cancelled, so that stopping and a handler's own timeout work."""
    async with raw(saying(hang=True)) as url:
        with pytest.raises(TimeoutError) as timeout:
            async with asyncio.timeout(0.1):
                await http.get(url)

    assert not isinstance(timeout.value, OutboundError)


@pytest.mark.parametrize("compressed", [False, True])
async def test_an_answer_is_read_up_to_its_limit(site: Web, *, compressed: bool) -> None:
    """An answer of the limit is whole; one byte more is an error. Decompressed bytes count."""

    async def sized(request: web.BaseRequest) -> web.StreamResponse:
        body = bytes(int(request.path[1:]))
        headers = {"Content-Encoding": "gzip"} if compressed else {}
        return web.Response(body=gzip.compress(body) if compressed else body, headers=headers)

    site.answer = sized
    async with Outbound(ALLOW, max_answer_bytes=100_000) as http:
        assert len((await http.get(f"{site.url}/100000")).body) == 100_000
        with pytest.raises(AnswerTooLarge, match="answered 200 with more than 100000 bytes"):
            await http.get(f"{site.url}/100001")
        with pytest.raises(AnswerTooLarge):
            await http.get(f"{site.url}/50000000")


async def test_an_endless_answer_is_cut(http: Outbound) -> None:
    """Reading stops at the limit, so an answer without end does not fill the memory."""
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async with raw(endless) as url:
        with pytest.raises(AnswerTooLarge):
            await http.get(url)

    assert sent < 50_000_000


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([], Unreachable),
        ([b"HTTP/1.1 200 OK\r\nContent-"], Unreachable),
        ([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], UnreadableAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"], UnreadableAnswer),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"], UnreadableAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"], UnreadableAnswer),
        ([*TRICKLE, b"zz\r\n"], UnreadableAnswer),
        ([*TRICKLE], UnreadableAnswer),
        ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok"], UnreadableAnswer),
    ],
)
async def test_what_is_no_answer_is_an_error_of_ours(
    http: Outbound, pieces: list[bytes], kind: type[OutboundError]
) -> None:
    """Whatever bytes come back, they end as an answer or as one of the client's errors."""
    async with raw(saying(*pieces)) as url:
        with pytest.raises(kind):
            await http.get(url)


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-Name": "Ann\r\nX-Admin: 1"}},
        {"data": "\ud800"},
        {"json": {}, "data": b""},
    ],
)
async def test_what_http_cannot_carry_is_not_sent(http: Outbound, site: Web, options: dict[str, Any]) -> None:
    """A header with a line break, or text that is no text, is an error and not another request."""
    with pytest.raises(OutboundError, match="cannot be sent"):
        await http.post(site.url, **options)

    assert site.requests == []


async def test_a_port_where_nothing_listens_is_unreachable(http: Outbound) -> None:
    """The message says which host and why."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(
            Unreachable, match=f"http://127.0.0.1:{port} cannot be reached: Connection refused"
        ):
            await http.get(f"http://127.0.0.1:{port}/")


async def test_errors_do_not_quote_what_is_secret(http: Outbound, site: Web) -> None:
    """No message and no traceback has a path, a query, a header or a body: chat webhooks' paths are passwords."""

    async def fail(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=500, text="s3cret", headers={"X-Secret": "s3cret"})

    site.answer = fail
    tail = "/s3cret/path?token=s3cret#s3cret"
    texts = []
    async with (
        raw(saying()) as closing,
        raw(saying(hang=True)) as hanging,
        raw(saying(b"s3cret\r\n\r\n")) as odd,
    ):
        for url, timeout in (
            (site.url, 5),
            (closing, 5),
            (hanging, 0.1),
            (odd, 5),
            ("http://127.0.0.1:1", 5),
            ("http://nowhere.invalid", 5),
            ("http://10.0.0.1", 5),
            ("http://me:s3cret@127.0.0.1", 5),
            ("s3cret://127.0.0.1", 5),
            ("http://s3cret%00", 5),
            (site.url.replace("http:", "https:"), 5),
        ):
            for options in ({}, {"headers": {"X-Secret": "s3cret\r\n"}}):
                with pytest.raises(OutboundError) as caught:
                    (
                        await http.post(url + tail, timeout=timeout, json={"x": "s3cret"}, **options)
                    ).raise_for_status()
                texts.append(str(caught.value))
                texts.extend(traceback.format_exception_only(caught.value))
                assert caught.value.__cause__ is None
                assert caught.value.__suppress_context__ or caught.value.__context__ is None
    answer = await http.post(site.url + tail)
    texts.append(repr(answer))

    assert not [text for text in texts if "s3cret" in text]


async def test_a_failed_answer_tells_when_to_come_back(http: Outbound, site: Web) -> None:
    """`raise_for_status` makes an error of what is not 2xx, with the status and the seconds to wait."""

    async def busy(request: web.BaseRequest) -> web.StreamResponse:
        headers = {"Retry-After": "30"} if request.path == "/busy" else {}
        return web.Response(status=429 if request.path == "/busy" else 404, headers=headers)

    site.answer = busy
    with pytest.raises(FailedAnswer, match=f"^{site.url} answered 429.$") as failed:
        (await http.get(f"{site.url}/busy")).raise_for_status()
    assert (failed.value.status, failed.value.retry_after) == (429, 30.0)

    with pytest.raises(FailedAnswer) as failed:
        (await http.get(f"{site.url}/gone")).raise_for_status()
    assert (failed.value.status, failed.value.retry_after) == (404, None)


async def test_a_date_to_come_back_is_read_by_the_clock(site: Web) -> None:
    """`Retry-After` with a date is counted from the clock that the client was given."""

    class Then:
        def now_ms(self) -> int:
            return int(NOW * 1000)

    async def busy(_request: web.BaseRequest) -> web.StreamResponse:
        moment = dt.datetime.fromtimestamp(NOW + 90, dt.UTC)
        return web.Response(status=503, headers={"Retry-After": format_datetime(moment, usegmt=True)})

    site.answer = busy
    async with Outbound(ALLOW, clock=Then()) as http:
        assert (await http.get(site.url)).retry_after == 90


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("86401", 86_400),
        ("9" * 5_000, 86_400),
        ("Thu, 01 May 2025 10:16:30 GMT", 60),
        ("Thu, 01 May 2025 12:16:30 +0200", 60),
        ("Thu, 01 May 2025 10:16:30 -0000", 60),
        ("Thursday, 01-May-25 10:16:30 GMT", 60),
        ("Thu May  1 10:16:30 2025", 60),
        ("Thu, 01 May 2025 10:14:30 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("\u0663", None),
        ("soon", None),
        ("Thu, 99 May 2025 10:16:30 GMT", None),
        ("Thu, 01 May 2025 10:16:30 +99999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 -2300", 86_400),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    """Both forms are read, in any case of the name, and capped at a day; what is neither says nothing."""
    assert seconds == retry_after_seconds({"Date": "x", "RETRY-after": value}, NOW)


def test_without_retry_after_there_is_no_wait() -> None:
    """An answer that does not say when to come back says None."""
    assert retry_after_seconds({}, NOW) is None


@given(
    st.text()
    | st.from_regex(r"(Mon, )?[0-9]{1,3} Jan [0-9]{1,12} [0-9]{1,4}:[0-9]{2}(:[0-9]{2})? [+-]?[0-9]{0,20}")
)
def test_every_retry_after_is_read(value: str) -> None:
    """Whatever the header says, the result is None or from 0 to a day."""
    wait = retry_after_seconds({"Retry-After": value}, NOW)

    assert wait is None or 0 <= wait <= 86_400


@given(st.binary() | st.integers(0, 2_000).map(lambda depth: b"[" * depth + b"]" * depth))
def test_every_body_is_json_or_unreadable(body: bytes) -> None:
    """Whatever a server sends, reading it as JSON gives a value or our error, and as text gives text."""
    answer = Answer(200, {}, body, "http://127.0.0.1")

    assert isinstance(answer.text, str)
    with contextlib.suppress(UnreadableAnswer):
        answer.json()


def test_a_body_that_is_no_json_is_told_by_its_size() -> None:
    """The message says what was expected and how much was found, and quotes nothing."""
    with pytest.raises(
        UnreadableAnswer, match=r"^http://h: expected JSON, found 6 bytes that are not JSON\.$"
    ):
        Answer(200, {}, b"<html>", "http://h").json()


def certificate(folder: Path, name: x509.GeneralName) -> tuple[Path, ssl.SSLContext]:
    """A certificate for one name, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file, key_file = folder / "certificate.pem", folder / "key.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key_file)
    return file, context


CLIENT = """
import asyncio, sys
from receiver.outbound import Outbound, OutboundError

async def main():
    async with Outbound(["127.0.0.1"]) as http:
        for url in sys.argv[1:]:
            try:
                print((await http.get(url)).status)
            except OutboundError as error:
                print(type(error).__name__, error)

asyncio.run(main())
"""


async def test_tls_is_checked_for_the_name_in_the_url(http: Outbound, tmp_path: Path) -> None:
    """A server needs a trusted certificate for the name in the URL, although an address is connected to."""
    file, context = certificate(tmp_path, x509.DNSName("localhost"))
    async with Web().running(tls=context) as site:
        by_name = site.url.replace("127.0.0.1", "localhost")
        with pytest.raises(Unreachable, match="self-signed certificate"):
            await http.get(by_name)

        # Trust is read when the client is imported, so it takes a process of its own.
        client = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", CLIENT, by_name, site.url],
            env=os.environ | {"SSL_CERT_FILE": str(file), "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )

    first, second = client.stdout.splitlines()
    assert first == "200"
    assert second.startswith(f"Unreachable {site.url} cannot be reached: IP address mismatch, certificate")
    assert len(site.requests) == 1


async def test_tls_with_a_server_that_has_none_is_unreachable(http: Outbound, site: Web) -> None:
    """Plain HTTP where TLS was asked for is told as that."""
    with pytest.raises(Unreachable, match="it does not speak TLS as expected"):
        await http.get(site.url.replace("http:", "https:"))


async def test_an_ipv6_address_is_reached() -> None:
    """Addresses of IPv6 are requested as those of IPv4, once allowed."""
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    probe.close()
    async with Web().running(host="::1") as site, Outbound(["::1"]) as http:
        assert (await http.get(site.url)).ok
