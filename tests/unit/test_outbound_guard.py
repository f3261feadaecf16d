"""Which URLs and addresses the outgoing client may request."""

from __future__ import annotations

import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from receiver.outbound import Refused
from receiver.outbound.addresses import destination, inside
from receiver.outbound.guard import Guard, GuardedResolver

PRIVATE_NETWORKS = [
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "100.64.0.0/10",
]
PUBLIC = [
    "1.1.1.1",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.32.0.0",
    "2606:4700::1111",
    "2a00:1450::1",
]

inner_ipv4 = st.sampled_from(PRIVATE_NETWORKS).flatmap(lambda network: st.ip_addresses(v=4, network=network))


def spellings_of_ipv4(address: IPv4Address) -> list[str]:
    """Ways to write an IPv4 address as the host of a URL that some client, somewhere, connects to."""
    number = int(address)
    a, b, c, d = address.packed
    low16, low24 = number & 0xFFFF, number & 0xFF_FFFF
    mapped = IPv6Address(f"::ffff:{address}")
    return [
        str(address),
        f"{address}.",
        f"{number}",
        f"{number:#x}",
        f"{number:#X}",
        f"0{number:o}",
        f"{a}.{low24}",
        f"{a}.{b}.{low16}",
        f"{a:#x}.{low24:#x}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a:03}.{b:03}.{c:03}.{d:03}",
        f"000{a:o}.{b}.{c}.{d:#x}",
        quote(str(address)).replace(".", "%2e"),
        "".join(f"%{ord(character):02x}" for character in str(address)),
        str(address).translate({ord(digit): ord(digit) + 0xFEE0 for digit in "0123456789"}),  # full-width
        str(address).replace(".", "\u3002"),
        f"[{mapped}]",
        f"[::ffff:{address}]",
        f"[{mapped.exploded.upper()}]",
        f"[::{address}]",
        f"[::ffff:0:{address}]",
        f"[64:ff9b::{address}]",
        f"[64:ff9b:1::{address}]",
        f"[2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1]",
        f"[2001:0:{a:02x}{b:02x}:{c:02x}{d:02x}::1]",
        f"[::ffff:{address}%25eth0]",
    ]


@given(inner_ipv4, st.data())
def test_no_spelling_of_an_inner_ipv4_address_gets_through(address: IPv4Address, data: st.DataObject) -> None:
    """An inner IPv4 address is refused in every spelling, shortened, in other bases or inside IPv6."""
    host = data.draw(st.sampled_from(spellings_of_ipv4(address)))

    with pytest.raises(Refused):
        Guard().check(f"http://{host}:8080/path")


@pytest.mark.parametrize("network", ["::1/128", "::/128", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"])
@given(st.data())
def test_no_spelling_of_an_inner_ipv6_address_gets_through(network: str, data: st.DataObject) -> None:
    """An inner IPv6 address is refused in every spelling, with a zone or without."""
    address = data.draw(st.ip_addresses(v=6, network=network))
    spelling = data.draw(
        st.sampled_from(
            [str(address), address.exploded, str(address).upper(), f"{address}%eth0", f"{address}%251"]
        )
    )

    with pytest.raises(Refused):
        Guard().check(f"https://[{spelling}]/")


@given(st.from_regex(r"[0-9a-fx.]{1,20}", fullmatch=True))
@example("127.1")
@example("1.1.1.1")
@example("0x01010101")
@example("017700000001")
def test_what_the_system_reads_as_an_address_is_one_in_its_usual_form(host: str) -> None:
    """Text that the system's own parser takes for an IPv4 address is refused unless it is its usual form."""
    try:
        read = IPv4Address(socket.inet_aton(host))
    except OSError:
        assume(False)
    try:
        url = Guard().check(f"http://{host}/")
    except Refused:
        return

    assert url.host == str(read)
    assert inside(read) is None


@given(st.ip_addresses())
@example(ip_address("192.0.0.1"))
@example(ip_address("64:ff9b:1::1"))
@example(ip_address("100::1"))
@example(ip_address("5f00::1"))
@example(ip_address("2001:db8::1"))
@example(ip_address("2001:2::1"))
@example(ip_address("3fff::1"))
@example(ip_address("255.255.255.255"))
def test_what_python_calls_not_global_is_inner(address: IPv4Address | IPv6Address) -> None:
    """The table refuses at least what the standard library calls not global."""
    target = destination(address)

    assert target.is_global or inside(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address: str) -> None:
    """A public address may be requested, also beside an inner network."""
    host = f"[{address}]" if ":" in address else address

    assert str(ip_address(address)) == Guard().check(f"https://{host}:8443/a?b=c").host
    assert [address] == Guard().admit("example.com", [address])


@pytest.mark.parametrize("address", ["::ffff:1.1.1.1", "64:ff9b::1.1.1.1"])
def test_a_public_address_inside_another_may_be_reached(address: str) -> None:
    """A mapped or translated address is judged by the address inside it: IPv6-only machines need that."""
    assert [address] == Guard().admit("example.com", [address])


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "a loopback address"),
        ("0.0.0.0", "an unspecified address"),  # noqa: S104 -- to be refused, not bound to
        ("10.1.2.3", "a private address"),
        ("172.31.255.255", "a private address"),
        ("192.168.1.1", "a private address"),
        ("169.254.169.254", "a link-local address"),
        ("100.100.100.200", "an address behind a carrier's NAT"),
        ("168.63.129.16", "a cloud's inside"),
        ("198.18.0.1", "a reserved address"),
        ("224.0.0.1", "a multicast address"),
        ("255.255.255.255", "a reserved address"),
        ("::", "an unspecified address"),
        ("::1", "a loopback address"),
        ("fd00:ec2::254", "a private address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("ff02::1", "a multicast address"),
        ("2002:7f00:1::", "a tunnel's address"),
        ("2001:0:7f00:1::", "a tunnel's address"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("64:ff9b::a9fe:a9fe", "a link-local address"),
        ("::7f00:1", "a reserved address"),
        ("fec0::1", "a reserved address"),
    ],
)
def test_an_inner_address_has_a_kind(address: str, kind: str) -> None:
    """Each inner address is refused by the name of its kind."""
    assert kind == inside(ip_address(address))
    with pytest.raises(Refused, match=f"^inner.example resolves to {kind}, "):
        Guard().admit("inner.example", [address])


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000/x"),
        ("127.0.0.0/8", "http://127.9.9.9/"),
        ("10.0.0.0/8", "https://10.1.2.3/"),
        ("10.0.0.0/8", "https://[::ffff:10.1.2.3]/"),
        ("::ffff:10.1.2.3", "https://[::ffff:10.1.2.3]/"),
        ("::1", "http://[::1]:80/"),
        ("::1", "http://[0:0:0:0:0:0:0:1]/"),
        ("fc00::/7", "http://[fd12::1]/"),
    ],
)
def test_an_allowed_address_may_be_reached(allow: str, url: str) -> None:
    """An address that the operator allows, alone or by its network, may be requested on every port."""
    assert Guard([allow]).check(url).host

    with pytest.raises(Refused):
        Guard(["192.168.0.0/16", "example.com", "fe80::/10"]).check(url)


@pytest.mark.parametrize("allow", ["intranet.example", "Intranet.Example."])
@pytest.mark.parametrize("host", ["intranet.example", "intranet.example.", "INTRANET.example"])
def test_an_allowed_name_may_be_reached_wherever_it_is(allow: str, host: str) -> None:
    """A name that the operator allows may resolve to anything, in whatever case and with a dot at its end."""
    assert Guard([allow]).admit(host, ["10.0.0.1", "::1"]) == ["10.0.0.1", "::1"]


@pytest.mark.parametrize("allow", ["intranet.example", "10.0.0.1/8", "127.1", "", "*"])
def test_an_allowed_name_allows_no_other(allow: str) -> None:
    """An entry stands for itself: not for subdomains, other names or its address under another name."""
    for host in ("sub.intranet.example", "intranet.example.evil.example", "xintranet.example"):
        with pytest.raises(Refused):
            Guard([allow]).admit(host, ["10.0.0.1"])
    with pytest.raises(Refused):
        Guard([allow]).check("http://127.0.0.1/")


def test_inner_addresses_of_a_public_name_are_left_out() -> None:
    """Of a name with public and inner addresses only those that may be reached are used."""
    found = ["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111", "192.168.0.1"]

    assert Guard().admit("example.com", found) == ["1.1.1.1", "2606:4700::1111"]
    assert Guard(["192.168.0.1"]).admit("example.com", found) == ["1.1.1.1", "2606:4700::1111", "192.168.0.1"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "/path",
        "http:",
        "http:///path",
        "http:example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "unix:///run/docker.sock",
        "tcp://example.com:80/",
        "javascript:alert(1)",
        "gopher://example.com:25/_HELO",
        "http://[::1",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://example.com\\@127.0.0.1/",
        "http://xn--a/",
        "http://\ud800/",
        "http://" + "a." * 130 + "com/",
    ],
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    """Only http and https URLs with a host are requested."""
    with pytest.raises(Refused, match="Expected an http or https URL with a host"):
        Guard(["127.0.0.1", "localhost"]).check(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1.",
        "2130706433",
        "0x7f.1",
        "0x",
        "127.0.0.01",
        "1.1.1.1.1",
        "999.1.1.1",
        "example.1",
        "local%68ost",
        "localhost%00.example.com",
        "a b",
        "a..b",
        ".a",
        "a" * 64 + ".com",
        "[fe80::1%25eth0]",
    ],
)
def test_an_unusual_host_is_refused(host: str) -> None:
    """A host is a name or an address in its usual form; nothing is left for the system to interpret."""
    with pytest.raises(
        Refused, match="Expected a host's name in the URL, or an IP address in its usual form"
    ):
        Guard(["127.0.0.1", "fe80::/10"]).check(f"http://{host}/")


@pytest.mark.parametrize("userinfo", ["user:secret@", "user@", ":secret@", ":@", "example.com@", "a@b@"])
def test_credentials_in_a_url_are_refused(userinfo: str) -> None:
    """A URL with a user or a password is refused, and the message does not quote it."""
    with pytest.raises(Refused, match="without user and password") as refused:
        Guard().check(f"https://{userinfo}example.org/")

    assert "secret" not in str(refused.value)


@given(st.text() | st.text().map("http://{}/".format) | st.text().map("https://[{}]:1/".format))
def test_every_text_is_a_url_or_refused(text: str) -> None:
    """Whatever the text, `check` gives a URL with a public address or a plain name, or it refuses."""
    try:
        url = Guard().check(text)
    except Refused:
        return

    assert url.scheme in {"http", "https"}
    assert url.raw_host
    try:
        address = ipaddress.ip_address(url.raw_host)
    except ValueError:
        assert not url.raw_host.replace(".", "").isdigit()
    else:
        assert inside(address) is None


async def test_a_name_that_resolves_inside_is_refused() -> None:
    """A name is judged by the addresses that it resolves to."""
    with pytest.raises(Refused, match='add "localhost" to allow in the table \\[outbound\\]'):
        await GuardedResolver(Guard()).resolve("localhost", 80)


async def test_a_name_resolves_to_what_is_allowed() -> None:
    """What the resolver gives for a name are the admitted addresses, so the connection needs no second lookup."""
    results = await GuardedResolver(Guard(["127.0.0.1"])).resolve("localhost", 80)

    assert [(r["host"], r["port"], r["hostname"]) for r in results] == [("127.0.0.1", 80, "localhost")]


async def test_a_name_that_does_not_resolve_is_the_systems_error() -> None:
    """A name without an address is an OSError, which the client tells as unreachable."""
    with pytest.raises(OSError):
        await GuardedResolver(Guard()).resolve("nowhere.invalid", 80)
