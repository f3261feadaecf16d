"""Commands that change the log while a service has it: the service is asked, over its private listener.

The rule easiest to break: the log's lock decides who does it, never a guess. Whoever holds it leaves its
address beside the log.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from receiver.cli.common import fail, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from receiver.config import Config

ANSWER_SECONDS: Final = 10.0
ADDRESS_SECONDS: Final = 3.0
"""A service that starts holds the log a moment before it listens."""
POLL_SECONDS: Final = 0.2


async def post(
    config: Config,
    path: str,
    request: Mapping[str, Any],
    *,
    undone: str = "Nothing was changed.",
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """What the running service answers, when it did what was asked. `undone` ends the message if it did not.

    Raises:
        click.ClickException: it cannot be reached, or refuses.
        NoAnswerError: nothing answers where it says that it listens.
    """
    from receiver.sender import exchange

    headers = {"Content-Type": "application/json"}
    if token := config.ops.token.get_secret_value():
        headers["Authorization"] = f"Bearer {token}"
    url = f"http://{await _address(config, undone)}{path}"
    data = json.dumps(request).encode()
    answer = await asyncio.to_thread(exchange, "POST", url, data, headers, seconds=seconds)
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise fail(f"what answers at the service's private address is not klenhook. {undone}")
    if answer.is_success:
        return found
    if answer.status == 401:  # noqa: PLR2004 -- Unauthorized, RFC 9110 section 15.5.2
        raise fail(f"the running service wants its ops.token; this configuration has another. {undone}")
    message = one_line(str(found.get("message", "")))
    raise fail(f"the running service answered {answer.status}: {message} {undone}")


async def _address(config: Config, undone: str) -> str:
    """Where the process that holds the log takes commands."""
    from storage import holder

    found = holder(config.storage_url)
    for _ in range(round(ADDRESS_SECONDS / POLL_SECONDS)):
        if found.note is not None:
            return found.note
        await asyncio.sleep(POLL_SECONDS)
        found = holder(config.storage_url)
    raise fail(
        f"another klenhook (process {found.pid or 'unknown'}) has the log and takes no commands: its private "
        f"listener is off, since the address was taken. Set ops.listen and restart it. {undone}"
    )
