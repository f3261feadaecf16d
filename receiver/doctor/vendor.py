"""What the vendor says: whether its API answers, what the key may do, what time it is, where webhooks go.

The rule easiest to break: nothing changes there. What asks for the right to write is an update, without any
content, of an appointment that cannot exist.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from receiver.clock import to_datetime
from receiver.config import Address
from receiver.doctor.finding import Finding, error, fine, warning
from receiver.klen import (
    Accounts,
    KlenError,
    NoAnswer,
    NotFound,
    OddAnswer,
    PermissionDenied,
    RateLimited,
    Unauthorized,
)
from receiver.klen.registering import CALENDAR_EVENTS
from receiver.outbound import Outbound, OutboundError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from receiver.clock import Clock
    from receiver.config import Config, Source
    from receiver.klen import ApiTransport, Klen, Webhook

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
OFF_SECONDS: Final = 60.0
"""Clocks that differ by more make a mess of what happened when."""
METHOD_NOT_ALLOWED: Final = 405
FIXES: Final[dict[type[KlenError], str]] = {
    Unauthorized: "Copy the key from Klen's dashboard once more.",
    PermissionDenied: "Give the key the permission can_read_calendar.",
    NoAnswer: "Look at the network, the proxy's rules and api_url.",
    OddAnswer: "This is not Klen's API: set api_url to its base address.",
    NotFound: "This is not Klen's API: set api_url to its base address.",
    KlenError: "Ask again later; if it stays, ask the vendor.",
}
"""What to do about an answer, the first kind that it is of."""
PATIENCE_SECONDS: Final = 5.0
PROBE_SECONDS: Final = 10.0


async def check_vendor(config: Config, clock: Clock) -> AsyncIterator[Finding]:
    """Ask the API of every source that has one."""
    async with Accounts(config.sources, clock, patience_seconds=PATIENCE_SECONDS, tries=1) as accounts:
        for name, source in config.sources.items():
            if source.signature != "klen":
                continue
            if not source.api_key.get_secret_value():
                message = (
                    f"sources.{name} has no api_key: what is missed in an outage cannot be found afterwards."
                )
                fix = 'Make a key in Klen\'s dashboard and set api_key, such as "env:KLEN_API_KEY".'
                yield warning("vendor", message, fix)
                continue
            check = _Account(name, source, accounts.of(name), accounts.transport(name), clock)
            async for finding in check.findings():
                yield finding


class _Account:
    """One source's account at the vendor."""

    def __init__(self, name: str, source: Source, klen: Klen, transport: ApiTransport, clock: Clock) -> None:
        self._name = name
        self._source = source
        self._klen = klen
        self._transport = transport
        self._clock = clock

    async def findings(self) -> AsyncIterator[Finding]:
        """All about it; only the first if that shows that nothing else can be asked."""
        url = urlsplit(self._source.api_url)
        if url.scheme == "http" and not Address(url.hostname or "", 0).is_loopback:
            message = f"{self._source.api_url} is plain HTTP: everybody on the way can read the API key."
            yield warning("vendor", message, "Use its https address.")
        reading = await self._reading()
        yield reading
        if reading.level == "error":
            return
        if (finding := self._clocks()) is not None:
            yield finding
        yield await self._writing()
        async for finding in self._webhooks():
            yield finding

    async def _reading(self) -> Finding:
        key, url = f"sources.{self._name}.api_key", self._source.api_url
        today = to_datetime(self._clock.now_ms()).date()
        try:
            await self._klen.page(today, today, limit=1)
        except RateLimited:
            message = f"{key} is over its limit of requests now."
            return warning("vendor", message, "See what else uses this key, and ask again in a minute.")
        except KlenError as problem:
            fix = next(fix for kind, fix in FIXES.items() if isinstance(problem, kind))
            return error("vendor", f"{url} with {key}: {problem}", fix)
        return fine("vendor", f"{url} answers, and {key} may read the calendar.")

    def _clocks(self) -> Finding | None:
        try:
            theirs = parsedate_to_datetime(self._transport.server_date or "").astimezone(UTC)
        except ValueError:
            return None
        off = (to_datetime(self._clock.now_ms()) - theirs).total_seconds()
        if abs(off) <= OFF_SECONDS:
            return fine("clock", "It agrees with the vendor's.")
        message = f"The clock here is {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the vendor's."
        return warning("clock", message, "Set the clock, and keep it right with NTP.")

    async def _writing(self) -> Finding:
        key = f"sources.{self._name}.api_key"
        try:
            await self._klen.update(NOBODY)
        except PermissionDenied:
            return fine("permissions", f"{key} may read and not write, which is all that klenhook needs.")
        except NotFound:
            return fine("permissions", f"{key} may read and write the calendar.")
        except KlenError:
            pass
        return fine("permissions", f"Whether {key} may write the calendar, the vendor does not tell.")

    async def _webhooks(self) -> AsyncIterator[Finding]:
        try:
            registered = await self._klen.webhooks.list()
        except KlenError as problem:
            fix = "See in Klen's dashboard, under API > Webhooks, whether one points here."
            yield warning("webhook", f"The registered webhooks cannot be listed. {problem}", fix)
            return
        path = self._source.path
        here = [webhook for webhook in registered if _path(webhook.url) == path]
        if not here:
            message = f"None of the {len(registered)} registered webhooks goes to the path {path}."
            fix = f"`klenhook webhooks register --url https://YOUR-HOST{path}`, or in Klen's dashboard."
            yield warning("webhook", message, fix)
        if len(here) > 1:
            ids = ", ".join(str(webhook.id) for webhook in here)
            fix = "Delete all but one: `klenhook webhooks delete ID`."
            yield warning("webhook", f"{len(here)} webhooks go to the path {path}: {ids}.", fix)
        for webhook in here:
            missing = sorted(set(CALENDAR_EVENTS) - set(webhook.subscribed_events))
            if missing:
                message = f"Webhook {webhook.id} does not get {', '.join(missing)}."
                yield warning("webhook", message, "Subscribe it to them in Klen's dashboard.")
            yield await _points_here(webhook)


def _path(url: str | None) -> str | None:
    """The path of a URL; None for what is no URL."""
    try:
        return urlsplit(url or "").path
    except ValueError:
        return None


async def _points_here(webhook: Webhook) -> Finding:
    """Whether a klenhook answers at its URL: that takes POST only there, and says so in its own words."""
    url = webhook.url or ""
    where = f"{urlsplit(url).scheme}://{urlsplit(url).hostname}"
    fix = "See whether the URL is this service's, and whether the proxy or tunnel in front of it is up."
    try:
        async with Outbound([urlsplit(url).hostname or ""], timeout_seconds=PROBE_SECONDS) as http:
            answer = await http.get(url)
            said = answer.json()
    except OutboundError as problem:
        return warning("webhook", f"Webhook {webhook.id} does not lead to a klenhook. {problem}", fix)
    code = said.get("error") if isinstance(said, dict) else None
    if answer.status == METHOD_NOT_ALLOWED and code == "method_not_allowed":
        return fine("webhook", f"Webhook {webhook.id} leads to a klenhook, by way of {where}.")
    message = f"Webhook {webhook.id} does not lead to a klenhook: {where} answers {answer.status}."
    return warning("webhook", message, fix)
