"""Which IP addresses are somebody's inside, so that no URL from outside may lead there.

Pure, and a table of its own: what `ipaddress` calls private or global differs between Python's versions. The
rule easiest to break: judge the address that packets go to, which an IPv6 address may carry inside.

https://www.iana.org/assignments/iana-ipv4-special-registry
https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

# The first network that an address is in names it.
_INSIDE: Final = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("127.0.0.0/8", "a loopback address"),
        ("10.0.0.0/8", "a private address"),
        ("172.16.0.0/12", "a private address"),
        ("192.168.0.0/16", "a private address"),
        ("169.254.0.0/16", "a link-local address"),  # with most clouds' instance metadata
        ("100.64.0.0/10", "an address behind a carrier's NAT"),
        ("0.0.0.0/8", "an unspecified address"),  # Linux connects it to the machine itself
        (
            "168.63.129.16/32",
            "a cloud's inside",
        ),  # Azure's wire server, which hands out the machine's secrets
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "a reserved address"),
        ("192.88.99.0/24", "a reserved address"),
        ("198.18.0.0/15", "a reserved address"),
        ("198.51.100.0/24", "a reserved address"),
        ("203.0.113.0/24", "a reserved address"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),  # with broadcast
    )
)

_INSIDE_6: Final = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::1/128", "a loopback address"),
        ("::/128", "an unspecified address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("ff00::/8", "a multicast address"),
        # Tunnels, which carry an IPv4 address of the sender's choice.
        ("2001::/32", "a tunnel's address"),
        ("2002::/16", "a tunnel's address"),
        ("2001::/23", "a reserved address"),
        ("2001:db8::/32", "a reserved address"),
        ("3fff::/20", "a reserved address"),
    )
)

_GLOBAL_6: Final = IPv6Network("2000::/3")
"""The only part of IPv6 that is given out as public addresses."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
"""How machines that have IPv6 only reach public IPv4 addresses: https://www.rfc-editor.org/rfc/rfc6052"""


def destination(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Where packets to it end: the IPv4 address inside a mapped (`::ffff:127.0.0.1`) or translated one."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def inside(address: IPv4Address | IPv6Address) -> str | None:
    """What makes the address nobody's to be sent to, such as "a private address"; None for a public one."""
    address = destination(address)
    table = _INSIDE if isinstance(address, IPv4Address) else _INSIDE_6
    kind = next((kind for network, kind in table if address in network), None)
    if kind is None and isinstance(address, IPv6Address) and address not in _GLOBAL_6:
        return "a reserved address"
    return kind
