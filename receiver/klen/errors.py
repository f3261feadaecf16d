"""What a request to Klen's API may end in besides an answer.

    KlenError
    ├── MissingKey               no API key is configured
    ├── NoAnswer                 no whole answer; whether the request took effect is unknown
    ├── OddAnswer                an answer, but not one of the shape that the vendor's pages show
    └── FailedRequest            an error of the vendor, with its code and text
        ├── InvalidRequest       400: missing_parameter, invalid_datetime_format, invalid_time_range, ...
        ├── Unauthorized         401: authentication_required, invalid_key
        ├── PermissionDenied     403: permission_denied
        ├── NotFound             404: not_found
        │   ├── AgentNotFound    agent_not_found
        │   └── TeamNotFound     team_not_found
        ├── RateLimited          429: rate_limit_exceeded
        └── ServerError          5xx: server_error

https://docs.klen.ai/api-reference/introduction. The rule easiest to break: the API key is in no message, also
not when the vendor's text repeats it.
"""

from __future__ import annotations

from typing import Final

from receiver.errors import ReceiverError


class KlenError(ReceiverError):
    """Base of all of them. In a handler, one that is not caught lets the run be tried again."""

    status: int | None = None
    """Of the vendor's answer, if there is one."""
    code: str | None = None
    """The vendor's code, such as `not_found`."""
    retry_after: float | None = None
    """Seconds that the vendor asked to wait."""


class MissingKey(KlenError):  # noqa: N818 -- what is the matter, as for the errors of outbound requests
    """There is no API key for this source."""


class NoAnswer(KlenError):  # noqa: N818 -- as MissingKey
    """No connection, no answer in time, or half of one."""


class OddAnswer(KlenError):  # noqa: N818 -- as MissingKey
    """What came back is no JSON, or has not what its page says."""


class FailedRequest(KlenError):  # noqa: N818 -- as MissingKey
    """The vendor refused the request, or failed."""

    def __init__(self, status: int, code: str, text: str, retry_after: float | None = None) -> None:
        """`code` and `text` are the vendor's `error` and `message`."""
        self.status = status
        self.code = code
        self.text = text
        self.retry_after = retry_after
        super().__init__(f"Klen answered {status} {code}" + (f": {text}" if text else "."))


class InvalidRequest(FailedRequest):
    """A parameter is missing or wrong."""


class Unauthorized(FailedRequest):
    """The API key is missing or wrong."""


class PermissionDenied(FailedRequest):
    """The API key lacks a permission, such as `can_write_calendar`."""


class NotFound(FailedRequest):
    """There is no such thing, or the key may not see it."""


class AgentNotFound(NotFound):
    """There is no such AI agent."""


class TeamNotFound(NotFound):
    """There is no such team."""


class RateLimited(FailedRequest):
    """Too many requests; `retry_after` says for how long to wait."""


class ServerError(FailedRequest):
    """The vendor's own failure."""


_BY_CODE: Final[dict[str, type[FailedRequest]]] = {
    "agent_not_found": AgentNotFound,
    "team_not_found": TeamNotFound,
    "rate_limit_exceeded": RateLimited,
}
_BY_STATUS: Final[dict[int, type[FailedRequest]]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: PermissionDenied,
    404: NotFound,
    429: RateLimited,
}


def failure(status: int, code: str, text: str, retry_after: float | None) -> FailedRequest:
    """The error for an answer that is none of 2xx: by its code, else by its status."""
    kind = ServerError if status >= 500 else _BY_STATUS.get(status, FailedRequest)  # noqa: PLR2004 -- the vendor's failures
    return _BY_CODE.get(code, kind)(status, code, text, retry_after)
