"""A mail server on this machine that keeps what it is given, with or without TLS and login.

Enough of SMTP for one client at a time, in threads: https://www.rfc-editor.org/rfc/rfc5321
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import email
import re
import socketserver
import ssl
import threading
from contextlib import asynccontextmanager, suppress
from email.policy import default
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from email.message import EmailMessage
    from pathlib import Path


class Mailbox:
    """What has arrived, and what is asked of clients."""

    def __init__(
        self, login: tuple[str, str] | None, starttls: ssl.SSLContext | None, tls: ssl.SSLContext | None
    ) -> None:
        self.login = login
        self.starttls = starttls
        self.tls = tls
        self.port = 0
        self.messages: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.refused: set[str] = set()
        self.in_the_clear: list[str] = []
        """Commands that came before the connection was protected."""


class _Session(socketserver.BaseRequestHandler):
    """One connection."""

    box: Mailbox

    def handle(self) -> None:
        with suppress(OSError):  # a client that does not trust the certificate hangs up
            if self.box.tls:
                self._protect(self.box.tls)
            self._converse()

    def finish(self) -> None:
        with suppress(OSError):
            self.request.close()

    def _protect(self, context: ssl.SSLContext) -> None:
        self.request = context.wrap_socket(self.request, server_side=True)

    def _say(self, line: str) -> None:
        self.request.sendall(line.encode() + b"\r\n")

    def _converse(self) -> None:
        self._lines = self.request.makefile("rb")
        self._known = self.box.login is None
        self._to: list[str] = []
        self._say("220 mailbox")
        while line := self._lines.readline().decode("ascii").rstrip("\r\n"):
            verb = line.partition(" ")[0].upper()
            if not isinstance(self.request, ssl.SSLSocket):
                self.box.in_the_clear.append(verb)
            answer = getattr(self, f"_on_{verb.lower()}", None)
            self._say(answer(line) if answer else "250 fine")
            if verb == "STARTTLS" and self.box.starttls:
                self._protect(self.box.starttls)
                self._lines = self.request.makefile("rb")
            if verb == "QUIT":
                return

    def _on_ehlo(self, _line: str) -> str:
        offered = ["STARTTLS"] if self.box.starttls else []
        offered += ["AUTH PLAIN"] if self.box.login else []
        return "\r\n".join(["250-mailbox", *(f"250-{word}" for word in offered), "250 8BITMIME"])

    def _on_starttls(self, _line: str) -> str:
        return "220 go ahead" if self.box.starttls else "502 not here"

    def _on_auth(self, line: str) -> str:
        self._known = base64.b64decode(line.split()[2]).decode() == "\0" + "\0".join(self.box.login or ())
        return "235 welcome" if self._known else "535 wrong"

    def _on_mail(self, _line: str) -> str:
        return "250 fine" if self._known else "530 log in first"

    def _on_rcpt(self, line: str) -> str:
        (address,) = re.findall("<(.*?)>", line)
        if address in self.box.refused:
            return "550 no such mailbox"
        self._to.append(address)
        return "250 fine"

    def _on_data(self, _line: str) -> str:
        self._say("354 go ahead")
        content = b""
        while (line := self._lines.readline()) != b".\r\n":
            content += line.removeprefix(b".")
        message: Any = email.message_from_bytes(content, policy=default)
        self.box.messages.append(message)
        self.box.recipients.append(self._to)
        return "250 kept"

    def _on_quit(self, _line: str) -> str:
        return "221 bye"


@asynccontextmanager
async def mailbox(
    *,
    login: tuple[str, str] | None = None,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Mailbox]:
    """A running server. With `login`, nothing is taken without it."""
    box = Mailbox(login, starttls, tls)
    session = type("Session", (_Session,), {"box": box})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), session) as server:
        box.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield box
        finally:
            await asyncio.to_thread(server.shutdown)
            thread.join()


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS for 127.0.0.1, and the file with its certificate, to be trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file = folder / "key.pem"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file, key_file)
    return context, file
