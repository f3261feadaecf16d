"""An account at the local Klen, over its API, as its own customers would use it.

The rule easiest to break: what only the sandbox can do, an outage and a jump of its clock, is under
`/sandbox/`; everything else is the vendor's API.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from receiver.errors import ReceiverError
from receiver.sender import exchange

API_KEY: Final = "klen_sandbox_full"


class AccountError(ReceiverError):
    """The local Klen has not done what it was asked."""


class Account:
    """Books, moves and cancels."""

    def __init__(self, url: str) -> None:
        """`url` is where the sandbox listens."""
        self._url = url
        self.booked: list[str] = []
        """The uuids of what was booked."""

    def book(self, title: str, *, days: int, customer: str) -> str:
        """One hour, so many days from now; its uuid."""
        email = f"{customer.partition(' ')[0].lower()}@example.com"
        fields = {"title": title, "customer_name": customer, "customer_email": email}
        made = self._ask("POST", "/api/v1/calendar/events/create", fields | _hour(days))
        self.booked.append(made["uuid"])
        return self.booked[-1]

    def move(self, uuid: str, *, days: int) -> None:
        """To another day."""
        self._ask("PATCH", f"/api/v1/calendar/events/{uuid}/update", _hour(days))

    def cancel(self, uuid: str) -> None:
        """Call it off."""
        self._ask("POST", f"/api/v1/calendar/events/{uuid}/cancel", {})

    def outage(self, span: str) -> None:
        """No webhook arrives for this long."""
        self._ask("POST", "/sandbox/outage", {"for": span})

    def jump(self, span: str) -> None:
        """Let this much time pass there, with the retries in it."""
        self._ask("POST", "/sandbox/jump", {"for": span})

    def last_delivery(self) -> dict[str, Any]:
        """What was sent last, with its attempts."""
        found: dict[str, Any] = self._ask("GET", "/sandbox/deliveries?limit=1")["deliveries"][-1]
        return found

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
        sent = b"" if body is None else json.dumps(body).encode()
        answer = exchange(method, self._url + path, sent, headers)
        if not answer.is_success:
            raise AccountError(f"The local Klen answered {answer.status} to {method} {path}.")
        return json.loads(answer.body)


def _hour(days: int) -> dict[str, str]:
    start = (datetime.now(UTC) + timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
    return {
        name: moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        for name, moment in (("start_time", start), ("end_time", start + timedelta(hours=1)))
    }
