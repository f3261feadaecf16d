"""`ctx.klen` in a process of its own: the service sends the requests, so the API key stays with it.

The rule easiest to break: both sides are here, so that what one writes the other reads.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from yarl import URL

from receiver.isolation.channel import remote
from receiver.klen import FailedRequest, Klen, KlenError, Request
from receiver.klen import errors as klen_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

CALENDAR = "/calendar/"
"""All that isolated code may ask for: it books appointments, and does not redirect webhooks."""


def remote_klen() -> Klen:
    """The client in the child."""
    return Klen(_Remote())


class _Remote:
    """Hands requests to the service."""

    async def send(self, request: Request) -> Any:
        """See `Transport.send`."""
        answer = await remote("klen.send", asdict(request))
        if "error" in answer:
            raise _error(answer)
        return answer["json"]


async def answer_for(klen: Klen, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """In the service: send a request of the child's; the answer, or what it ended in.

    Raises:
        LookupError: it is none that a handler may send.
    """
    request = Request(**arguments)
    # As it is requested: without dots, however they are spelt.
    path = URL(f"http://klen{request.path}").raw_path if request.path.startswith("/") else ""
    if not path.startswith(CALENDAR) or request.from_root:
        raise LookupError("an isolated handler may ask the calendar only")
    try:
        return {"json": await klen.send(request)}
    except FailedRequest as error:
        return {
            "error": "FailedRequest",
            "arguments": [error.status, error.code, error.text, error.retry_after],
        }
    except KlenError as error:
        return {"error": type(error).__name__, "arguments": [str(error)]}


def _error(answer: Mapping[str, Any]) -> KlenError:
    if answer["error"] == "FailedRequest":
        return klen_errors.failure(*answer["arguments"])
    kind = getattr(klen_errors, answer["error"])
    error: KlenError = kind(*answer["arguments"])
    return error
