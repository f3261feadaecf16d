"""Webhooks from the sender's side: the headers of a signed delivery, and one HTTP request at a time.

For trying a service, so nothing is retried and no redirect is followed. The rule easiest to break: a message
here may name the address, and never a secret, a signature or a body.
"""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from receiver.errors import ReceiverError
from receiver.intake import DELIVERY_ID_HEADERS
from receiver.signing import sign

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_SECONDS: Final = 10.0
"""What the vendor waits for an answer: https://docs.klen.ai/api-reference/webhooks/overview"""

LONGEST_ANSWER: Final = 65_536
"""Bytes of an answer that are read; the address may be anybody's."""


class NoAnswerError(ReceiverError):
    """Nothing answered, or something that does not speak HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: str

    @property
    def is_success(self) -> bool:
        """Whether the vendor would take it for delivered: any 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 -- the class of success, RFC 9110 section 15.3


def delivery_headers(
    style: str,
    secret: str,
    body: bytes,
    *,
    now: float,
    event_type: str | None = None,
    delivery_id: str | None = None,
    header: str | None = None,
    forged: bool = False,
) -> dict[str, str]:
    """The headers the vendor sends with this body; for `style`, `secret` and `header` see `signing.sign`.

    `now` is in seconds since 1970. `forged` gives a signature in the right form that is of another body.

    Raises:
        ValueError: the secret cannot sign, or the style needs a delivery id; says which.
    """
    headers = {"Content-Type": "application/json"}
    signed = body + b" " if forged else body
    headers |= sign(style, secret, signed, now=now, message_id=delivery_id, header=header)
    if delivery_id and (name := DELIVERY_ID_HEADERS.get(style)):
        headers[name] = delivery_id
    if event_type:
        headers["X-Klen-Event"] = event_type
    return headers


def exchange(
    method: str,
    url: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    seconds: float = ANSWER_SECONDS,
    longest: int = LONGEST_ANSWER,
) -> Answer:
    """Send one request and read its answer, up to so many bytes. `url` is http or https.

    Raises:
        NoAnswerError: there is none within `seconds`, or the URL or a header cannot be sent.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise NoAnswerError(f"Expected a URL such as http://127.0.0.1:8080/webhooks/klen, found {url}")
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=seconds)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, response.read(longest).decode("utf-8", "replace"))
        finally:
            connection.close()
    except ConnectionRefusedError:
        raise NoAnswerError(
            f"Nothing listens at {url}. Is the service running? `klenhook serve` starts it."
        ) from None
    except TimeoutError:
        raise NoAnswerError(f"No answer from {url} within {seconds:g} seconds.") from None
    except OSError as error:
        raise NoAnswerError(f"Cannot reach {url}: {error.strerror or type(error).__name__}.") from None
    except HTTPException as error:
        raise NoAnswerError(f"What answers at {url} does not speak HTTP: {type(error).__name__}.") from None
    except ValueError as error:
        raise NoAnswerError(
            f"Cannot send this to {url}: {type(error).__name__}. Check the URL and the delivery id."
        ) from None
