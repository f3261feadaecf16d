"""`klenhook send`: what it puts on the wire, and what it says about the answer."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from receiver.samples import SAMPLE_TYPES
from tests.support.klen import SECRET, UUID, signature
from tests.support.service import Process, klenhook, records, write_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Wire:
    """A listener that keeps the requests it gets, and answers them all alike."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self.answer = b'{"status": "accepted", "event_id": "e-1"}'
        wire = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                named = {name.lower(): value for name, value in self.headers.items()}
                wire.requests.append((self.path, named, body))
                self.send_response(wire.status)
                self.send_header("Content-Length", str(len(wire.answer)))
                self.send_header("Location", "http://192.0.2.1/")
                self.end_headers()
                self.wfile.write(wire.answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def last(self) -> tuple[str, dict[str, str], bytes]:
        return self.requests[-1]

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.last[2])
        return content


@pytest.fixture(name="wire")
def _wire(tmp_path: Path) -> Iterator[Wire]:
    wire = Wire()
    write_config(tmp_path, port=wire.port)
    yield wire
    wire.close()


class TestTheRequest:
    def test_it_is_as_the_vendor_sends_it(self, tmp_path: Path, wire: Wire) -> None:
        """The configured path, the four headers of the vendor, and a signature over the very bytes."""
        klenhook(tmp_path, "send", "calendar.updated", "--delivery-id", "d-1")

        path, headers, body = wire.last
        assert path == "/webhooks/klen"
        assert headers["content-type"] == "application/json"
        assert headers["x-klen-delivery-id"] == "d-1"
        assert headers["x-klen-event"] == "calendar.updated"
        assert signature(body) == headers["x-klen-signature"]

    def test_each_is_a_new_event(self, tmp_path: Path, wire: Wire) -> None:
        """Without options the delivery id is new each time, and so is the timestamp."""
        for _ in range(2):
            klenhook(tmp_path, "send", "call.ended")

        (_, first, body), (_, second, other) = wire.requests
        assert first["x-klen-delivery-id"] != second["x-klen-delivery-id"]
        assert body != other

    def test_a_delivery_without_an_id(self, tmp_path: Path, wire: Wire) -> None:
        """An empty --delivery-id sends none."""
        klenhook(tmp_path, "send", "calendar.created", "--delivery-id", "")

        assert "x-klen-delivery-id" not in wire.last[1]

    def test_fields_are_set(self, tmp_path: Path, wire: Wire) -> None:
        """--set reaches into the appointment; values are JSON where they parse, else text."""
        changes = {
            "customer.email": "x@example.com",
            "id": 7,
            "location": None,
            "has_video_conference": False,
            "customer.phone": "+15550000000",
            "extra.list": [1, {"a": 2}],
            "title": "=Größe, a=b",
            "duration_minutes": "NaN",
        }
        texts = [v if isinstance(v, str) else json.dumps(v) for v in changes.values()]
        options = [
            part for path, text in zip(changes, texts, strict=True) for part in ("--set", f"{path}={text}")
        ]

        klenhook(tmp_path, "send", "calendar.created", *options, "--set", "timestamp=2025-05-01T00:00:00Z")

        meeting = wire.content["calendar_event"]
        found = {**meeting, **{f"customer.{k}": v for k, v in meeting["customer"].items()}}
        found["extra.list"] = meeting["extra"]["list"]
        assert changes == {path: found[path] for path in changes}
        assert meeting["customer"]["name"] == "John Smith"
        assert wire.content["timestamp"] == "2025-05-01T00:00:00Z"
        assert signature(wire.last[2]) == wire.last[1]["x-klen-signature"]

    def test_a_file_is_sent_as_it_is(self, tmp_path: Path, wire: Wire) -> None:
        """The bytes of --file are signed and sent unchanged, under any event type."""
        content = b'{ "event_type":"lead.scored",\r\n"n": 1.0 } \xff'
        (tmp_path / "body.json").write_bytes(content)

        klenhook(tmp_path, "send", "lead.scored", "--file", "body.json")

        assert content == wire.last[2]
        assert signature(content) == wire.last[1]["x-klen-signature"]
        assert wire.last[1]["x-klen-event"] == "lead.scored"

    def test_a_file_names_its_type_itself(self, tmp_path: Path, wire: Wire) -> None:
        """Without EVENT_TYPE the event header is what the body says; standard input is a file too."""
        klenhook(tmp_path, "send", "--file", "-", stdin='{"event_type": "lead.scored"}')
        assert wire.last[1]["x-klen-event"] == "lead.scored"

        klenhook(tmp_path, "send", "--file", "-", stdin='["no type\\n"]')
        assert "x-klen-event" not in wire.last[1]

    def test_a_bad_signature_has_the_right_form(self, tmp_path: Path, wire: Wire) -> None:
        """--bad-signature sends a well-formed signature that is not this body's."""
        klenhook(tmp_path, "send", "calendar.created", "--bad-signature")

        _, headers, body = wire.last
        assert len(headers["x-klen-signature"]) == 64
        assert signature(body) != headers["x-klen-signature"]

    @pytest.mark.parametrize(
        ("ending", "path"),
        [("", "/webhooks/klen"), ("/", "/webhooks/klen"), ("/other/path?a=1", "/other/path?a=1")],
    )
    def test_another_url(self, tmp_path: Path, wire: Wire, ending: str, path: str) -> None:
        """--url is where to; the source's path is added only where it has none."""
        write_config(tmp_path, port=1)

        klenhook(tmp_path, "send", "calendar.created", "--url", f"http://127.0.0.1:{wire.port}{ending}")

        assert path == wire.last[0]

    def test_a_listener_everywhere_is_reached_here(self, tmp_path: Path, wire: Wire) -> None:
        """A service that listens on all addresses is sent to by loopback."""
        config = tmp_path / "config.toml"
        config.write_text(config.read_text().replace("127.0.0.1", "0.0.0.0"))  # noqa: S104 -- what the test is about

        klenhook(tmp_path, "send", "calendar.created")

        assert wire.last[1]["host"].startswith("127.0.0.1:")


class TestSources:
    @pytest.fixture(autouse=True)
    def _sources(self, tmp_path: Path, wire: Wire) -> None:
        (tmp_path / "config.toml").write_text(
            f'[server]\nlisten = "127.0.0.1:{wire.port}"\n[sources.klen]\nsecrets = ["{SECRET}"]\n'
            '[sources.std]\nsignature = "standard-webhooks"\nsecrets = ["whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQ="]\n'
            '[sources.other]\nsignature_header = "X-Mine"\nsecrets = ["first-secret-of-it", "second-secret-of-it"]\n'
        )

    def test_one_of_several_is_named(self, tmp_path: Path, wire: Wire) -> None:
        """With several sources --source is needed, and decides path, secret and header; the first secret signs."""
        done = klenhook(tmp_path, "send", "calendar.created", status=2)
        assert "klen, std, other" in done.stderr

        klenhook(tmp_path, "send", "calendar.created", "--source", "other")
        path, headers, body = wire.last
        assert path == "/webhooks/other"
        assert signature(body, "first-secret-of-it") == headers["x-mine"]

        assert (
            "klen, std, other" in klenhook(tmp_path, "send", "call.ended", "--source", "x", status=2).stderr
        )

    def test_another_way_to_sign(self, tmp_path: Path, wire: Wire) -> None:
        """The source's style decides the headers; one that signs the id cannot go without."""
        klenhook(tmp_path, "send", "calendar.created", "--source", "std", "--delivery-id", "msg_1")
        assert wire.last[1]["webhook-id"] == "msg_1"
        assert wire.last[1]["webhook-signature"].startswith("v1,")

        done = klenhook(
            tmp_path, "send", "calendar.created", "--source", "std", "--delivery-id", "", status=1
        )
        assert "message id" in done.stderr
        assert len(wire.requests) == 1


class TestTheAnswer:
    def test_a_success_is_printed(self, tmp_path: Path, wire: Wire) -> None:
        """Standard output has the status and the body, and the exit status is 0."""
        assert f"200 {wire.answer.decode()}\n" == klenhook(tmp_path, "send", "calendar.created").stdout

        found = json.loads(klenhook(tmp_path, "send", "calendar.created", "--json").stdout)
        assert {"status": 200, "body": {"status": "accepted", "event_id": "e-1"}}.items() <= found.items()
        assert wire.last[1]["x-klen-delivery-id"] == found["delivery_id"]

    @pytest.mark.parametrize(("status", "exit_status"), [(204, 0), (302, 1), (401, 1), (503, 1)])
    def test_only_2xx_is_success(self, tmp_path: Path, wire: Wire, status: int, exit_status: int) -> None:
        """Anything but 2xx exits 1 and is printed all the same; a redirect is not followed."""
        wire.status, wire.answer = status, b""

        done = klenhook(tmp_path, "send", "calendar.created", status=exit_status)

        assert done.stdout.startswith(str(status))

    def test_an_answer_cannot_drive_the_terminal(self, tmp_path: Path, wire: Wire) -> None:
        """Control characters in the answer are shown, not sent to the terminal."""
        wire.answer = b"\x1b[31mred\xff"

        done = klenhook(tmp_path, "send", "calendar.created")

        assert "\x1b" not in done.stdout
        assert "\\x1b[31mred" in done.stdout

    def test_nobody_there(self, tmp_path: Path) -> None:
        """Without a service it exits 1 and says how to start one."""
        write_config(tmp_path, port=free_port())

        done = klenhook(tmp_path, "send", "calendar.created", status=1)

        assert "Is the service running? `klenhook serve` starts it." in done.stderr
        assert done.stdout == ""

    @pytest.mark.parametrize(
        "url", ["ftp://x", "nonsense", "http://", "http://[::1", "http://127.0.0.1:99999/"]
    )
    def test_no_url(self, tmp_path: Path, wire: Wire, url: str) -> None:
        """A --url that is none ends in a message."""
        done = klenhook(tmp_path, "send", "calendar.created", "--url", url, status=1)

        assert "Traceback" not in done.stderr
        assert wire.requests == []

    def test_a_delivery_id_that_cannot_be_sent(self, tmp_path: Path, wire: Wire) -> None:
        """A line break in --delivery-id makes no second header."""
        done = klenhook(tmp_path, "send", "call.ended", "--delivery-id", "a\r\nX-Evil: 1", status=1)

        assert "Check the URL and the delivery id" in done.stderr
        assert wire.requests == []


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((), "Missing EVENT_TYPE"),
            (("calendar.creatd",), "Did you mean calendar.created?"),
            (("nothing",), "can be sent with --file"),
            (("calendar.created", "--set", "title"), "expected PATH=VALUE"),
            (("calendar.created", "--set", "title.x=1"), "'title.x' leads through 'title'"),
            (("calendar.created", "--set", "=1"), "expected a path"),
            (("calendar.created", "--set", 'title="\\ud800"'), "UTF-8"),
            (("calendar.created", "--file", "nowhere.json"), "nowhere.json"),
            (("calendar.created", "--file", "config.toml", "--set", "a=1"), "sent as they are"),
        ],
    )
    def test_wrong(self, tmp_path: Path, wire: Wire, arguments: tuple[str, ...], words: str) -> None:
        """Wrong usage exits 2, says what is expected, and sends nothing."""
        done = klenhook(tmp_path, "send", *arguments, status=2)

        assert words in done.stderr
        assert wire.requests == []

    def test_an_unknown_type_is_answered_with_the_list(self, tmp_path: Path, wire: Wire) -> None:
        """Every type there is a sample of is named."""
        done = klenhook(tmp_path, "send", "lead.scored", status=2)

        assert all(event_type in done.stderr for event_type in SAMPLE_TYPES)
        assert wire.requests == []


def test_the_real_service_takes_it(tmp_path: Path) -> None:
    """A sample is accepted, the same delivery again is a duplicate, and a forged one is refused."""
    port = free_port()
    write_config(tmp_path, port=port)
    with Process(tmp_path, port=port) as service:
        service.wait_ready()
        first = klenhook(tmp_path, "send", "calendar.created", "--delivery-id", "d-1")
        again = klenhook(tmp_path, "send", "calendar.created", "--delivery-id", "d-1")
        forged = klenhook(tmp_path, "send", "calendar.created", "--bad-signature", status=1)
        assert service.terminate() == 0

    assert first.stdout.startswith('200 {"status": "accepted"')
    assert again.stdout.startswith('200 {"status": "duplicate"')
    assert forged.stdout.startswith('401 {"error": "invalid_signature"')
    (record,) = records(tmp_path)
    assert (record["delivery_id"], record["calendar_event_uuid"], record["deliveries"]) == ("d-1", UUID, 2)
