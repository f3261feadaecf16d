"""The sandbox's refusals: each with the status, the code and the very words of the vendor's pages.

https://docs.klen.ai/api-reference/authentication, https://docs.klen.ai/development and the error sections of
https://docs.klen.ai/api-reference/calendar/create-event. The rule easiest to break: where a page prints a
message, it stands here as printed; clients may compare it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from receiver.errors import ReceiverError

if TYPE_CHECKING:
    from datetime import timedelta


class SandboxError(ReceiverError):
    """The sandbox cannot do what its user wants of it; says why."""


class APIError(ReceiverError):
    """A request is refused, as the vendor would do it: `{"error": code, "message": message}`."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers: dict[str, str] = {}


DATE_FORMAT: Final = "Invalid date format. Expected YYYY-MM-DD"


def missing_parameter(name: str) -> APIError:
    """A parameter that must be given is not."""
    return APIError(400, "missing_parameter", f"Missing required parameter: {name}")


def invalid_parameter(message: str) -> APIError:
    """A parameter has a value that cannot be used."""
    return APIError(400, "invalid_parameter", message)


def validation_error(message: str) -> APIError:
    """The request as a whole cannot be read."""
    return APIError(400, "validation_error", message)


def invalid_datetime() -> APIError:
    """A time is not one."""
    return APIError(
        400,
        "invalid_datetime_format",
        "Invalid datetime format. Expected ISO 8601 format (YYYY-MM-DDTHH:MM:SS)",
    )


def invalid_time_range() -> APIError:
    """The end is not after the start."""
    return APIError(400, "invalid_time_range", "End time must be after start time")


def authentication_required() -> APIError:
    """No key came with the request."""
    return APIError(401, "authentication_required", "API key is required")


def invalid_key() -> APIError:
    """The key is none of ours."""
    return APIError(401, "invalid_key", "Invalid or inactive API key")


def permission_denied(permission: str) -> APIError:
    """The key may not do this."""
    return APIError(403, "permission_denied", f"This API key does not have {permission} permission")


def not_found(what: str) -> APIError:
    """There is no such event, or another thing with an id."""
    return APIError(404, "not_found", f"{what} not found or you do not have access")


def agent_not_found() -> APIError:
    """The agent to associate does not exist."""
    return APIError(404, "agent_not_found", "AI agent not found or you do not have access")


def team_not_found() -> APIError:
    """The team to associate does not exist."""
    return APIError(404, "team_not_found", "Team not found or you do not have access")


def rate_limit_exceeded(wait: timedelta) -> APIError:
    """Too many requests; `wait` is by the caller's own clock."""
    seconds = max(1, math.ceil(wait.total_seconds()))
    error = APIError(
        429, "rate_limit_exceeded", f"Rate limit exceeded. Please try again after {seconds} seconds."
    )
    error.headers["Retry-After"] = str(seconds)
    return error


def server_error() -> APIError:
    """Something went wrong here."""
    return APIError(500, "server_error", "An unexpected server error occurred")
