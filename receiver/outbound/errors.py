"""What a request to the outside may end in besides an answer.

    OutboundError                the request cannot be sent as it is
    ├── Refused                  the destination is not one that handlers may reach
    ├── Unreachable              no connection, or it broke before there was an answer
    ├── TimedOut                 no complete answer in time
    ├── AnswerTooLarge           the answer is longer than we read
    ├── UnreadableAnswer         the answer is cut off, not HTTP, or not the JSON that was asked for
    └── FailedAnswer             the answer's status is not 2xx

The rule easiest to break: a message names scheme, host and port at most. Paths carry tokens (chat webhooks),
queries personal data, and attempts keep the messages.
"""

from __future__ import annotations

from receiver.errors import ReceiverError


class OutboundError(ReceiverError):
    """A request to the outside failed, or cannot be sent as it is."""


class Refused(OutboundError):  # noqa: N818 -- what happened to the request, as for `Rejected`
    """The destination is not allowed, and nothing was sent to it. Trying again does not help."""


class Unreachable(OutboundError):  # noqa: N818 -- as Refused
    """The name does not resolve, nothing listens, TLS failed or the connection broke."""


class TimedOut(OutboundError):  # noqa: N818 -- as Refused
    """There was no complete answer in time. Whether the request took effect is unknown."""


class AnswerTooLarge(OutboundError):  # noqa: N818 -- as Refused
    """The answer, decompressed, is over the limit. The request has taken effect."""


class UnreadableAnswer(OutboundError):  # noqa: N818 -- as Refused
    """What came back is cut off, is not HTTP, or is not JSON where JSON was asked for."""


class FailedAnswer(OutboundError):  # noqa: N818 -- as Refused
    """The answer's status is not 2xx; raised by `Answer.raise_for_status`."""

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        """`retry_after` is in seconds: what the server asked for, None if it did not."""
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
