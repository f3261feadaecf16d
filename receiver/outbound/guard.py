"""The guard against server-side request forgery: which URLs and addresses handlers may reach.

A URL is read once, by the parser of the client that requests it. A name is resolved once, and the connection
goes to the addresses that were checked, so a name whose answer changes in between gains nothing. The rule
easiest to break: the client asks no resolver about an address in a URL, so `check` has to judge that itself.

https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from receiver.outbound.addresses import destination, inside
from receiver.outbound.errors import Refused
from receiver.threads import ThreadCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST_NAME: Final = 254
_name = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
# `socket` reads 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1: https://url.spec.whatwg.org/#ends-in-a-number-checker
_like_a_number = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?")


class Guard:
    """What may be reached: everything public, and what the operator allows."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        """`allow` has hosts, addresses and networks, as `outbound.allow` of the configuration."""
        self._names: set[str] = set()
        self._networks = []
        for entry in allow:
            try:
                self._networks.append(ip_network(entry))
            except ValueError:  # a name; what is no name either allows nothing
                self._names.add(_canonical(entry))

    def check(self, text: str) -> URL:
        """The URL to request, if handlers may. A name still has to be resolved and its addresses admitted.

        Raises:
            Refused: it is no http or https URL, has a user or password, or its address is not allowed.
        """
        url = _read(text)
        host = url.raw_host or ""
        if address := _literal(host):
            self.admit(host, [str(address)])
        return url

    def admit(self, host: str, addresses: Sequence[str]) -> list[str]:
        """Those of a host's addresses that handlers may reach.

        The others are left out, not held against the host: nothing connects to them, and so `localhost` works
        where only 127.0.0.1 is allowed.

        Raises:
            Refused: there is none.
        """
        if _canonical(host) in self._names:
            return list(addresses)
        admitted = [address for address in addresses if self._may_reach(ip_address(address))]
        if not admitted:
            raise Refused(_explain(host, addresses))
        return admitted

    def _may_reach(self, address: IPv4Address | IPv6Address) -> bool:
        if inside(address) is None:
            return True
        return any(address in network or destination(address) in network for network in self._networks)


class GuardedResolver(AbstractResolver):
    """Resolves names for the client's connections, and gives it only addresses that the guard admits."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See `AbstractResolver.resolve`.

        Raises:
            OSError: the name does not resolve.
            Refused: to no address that handlers may reach.
        """
        # A thread of its own: names that take long to fail must not fill the pool that everybody shares.
        lookup = ThreadCall(
            socket.getaddrinfo,
            *(host, port, family, socket.SOCK_STREAM, socket.IPPROTO_TCP, socket.AI_ADDRCONFIG),
            name="klenhook-resolve",
        )
        found = {str(sockaddr[0]): kind for kind, _, _, _, sockaddr in await lookup.result()}
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=found[address],
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._guard.admit(host, list(found))
        ]

    async def close(self) -> None:
        """Nothing to close: a lookup that still runs ends by itself."""


def _read(text: str) -> URL:
    expected = "Expected an http or https URL with a host, such as https://example.com/path."
    try:
        url = URL(text)
        host = url.host and url.raw_host  # `host` is decoded, which not every one can be
    except (TypeError, ValueError):
        raise Refused(expected) from None
    if not host or url.scheme not in {"http", "https"} or len(host) > _LONGEST_NAME:
        raise Refused(expected)
    if url.raw_user is not None or url.raw_password is not None:
        raise Refused("Expected a URL without user and password. Send them in an Authorization header.")
    if not _literal(host) and not (_name.fullmatch(host) and not _like_a_number.fullmatch(host)):
        raise Refused(
            "Expected a host's name in the URL, or an IP address in its usual form, "
            "such as 192.0.2.1 or [2001:db8::1]."
        )
    return url


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that the host of a URL is. Only the usual form is one: no zone, no 127.1."""
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None


def _canonical(name: str) -> str:
    return name.lower().removesuffix(".")


def _explain(host: str, addresses: Sequence[str]) -> str:
    kind = inside(ip_address(addresses[0]))
    is_it = f"{host} is {kind}" if host in addresses else f"{host} resolves to {kind}"
    return (
        f"{is_it}, which handlers may not reach. If they should, "
        f'add "{_canonical(host)}" to allow in the table [outbound] of the configuration.'
    )
