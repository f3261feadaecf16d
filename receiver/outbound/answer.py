"""What came back from the outside, read whole: its status, headers and body.

The rule easiest to break: everything in it is a stranger's, so reading it ends in a value or in one of our
errors, and neither its `repr` nor a message quotes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Self

from receiver.errors import InvalidJSON
from receiver.jsonbody import parse_json
from receiver.outbound.errors import FailedAnswer, UnreadableAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_RETRY_AFTER: Final = 86_400
"""Seconds. A server that asks for more than a day is wrong, or wants a run to be forgotten."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request. Redirects are answers, too: they are not followed."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names in any case: `answer.headers["content-type"]`."""
    body: bytes = field(repr=False)
    """Decompressed, never longer than the client's limit."""
    origin: str
    """Who answered: scheme, host and port."""
    retry_after: float | None = None
    """Seconds to wait that the server asked for, see `retry_after_seconds`."""

    @property
    def ok(self) -> bool:
        """Whether the request succeeded: any 2xx."""
        return 200 <= self.status < 300  # noqa: PLR2004 -- the class of success, RFC 9110 section 15.3

    @property
    def text(self) -> str:
        """The body as UTF-8, with U+FFFD for what is not."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The value that the body is in JSON.

        Raises:
            UnreadableAnswer: it is not JSON.
        """
        try:
            return parse_json(self.body)
        except InvalidJSON as error:
            raise UnreadableAnswer(
                f"{self.origin}: expected JSON, found {len(self.body)} bytes that are {error.reason}."
            ) from None

    def raise_for_status(self) -> Self:
        """The answer itself if it is `ok`: `(await ctx.http.get(url)).raise_for_status().json()`.

        Raises:
            FailedAnswer: the status is not 2xx.
        """
        if self.ok:
            return self
        hint = ""
        if 300 <= self.status < 400:  # noqa: PLR2004 -- the class of redirects, RFC 9110 section 15.4
            hint = " Redirects are not followed: request the address that the answer's Location names."
        raise FailedAnswer(
            f"{self.origin} answered {self.status}.{hint}", status=self.status, retry_after=self.retry_after
        )


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """How long an answer asks to wait: 0 to `LONGEST_RETRY_AFTER`, None if it does not say, or not readably.

    `now` is in seconds since 1970; the header has seconds or a date:
    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    value = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if re.fullmatch(r"[0-9]+", value):
        return min(float(value), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        wait = moment.timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), LONGEST_RETRY_AFTER)
