"""What the text of a key must look like: addresses, paths, URLs and references to secrets.

Each function returns the value or raises ValueError with what was expected. The rule easiest to break: the
message never quotes the value; whoever reports it knows the key, and so whether the value may be shown.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# A secret is a line. What is longer is the wrong file, perhaps one without an end.
MAX_SECRET_BYTES: Final = 65_536
HEALTH_PATHS: Final = ("/healthz", "/readyz")

PERIOD: Final = re.compile(r"([0-9]{1,5}) ?([smhd])")
UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HOST: Final = re.compile(
    r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*"
)
# Characters that every client, proxy and router writes alike; `%`, `{` and `?` are not among them.
# https://www.rfc-editor.org/rfc/rfc3986#section-3.3
URL_PATH: Final = re.compile(r"/[A-Za-z0-9/._~!$&'()*+,;=:@-]*")


class Address(NamedTuple):
    """Where a listener listens. Port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Only this machine can connect."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


def parse_address(value: object) -> Address:
    """`host:port`, with an IPv6 address in brackets."""
    if isinstance(value, Address):
        return value
    expected = 'expected "host:port" such as "127.0.0.1:8080" or "[::1]:8080", with a port from 0 to 65535'
    match = (
        re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})", value) if isinstance(value, str) else None
    )
    if match is None or int(match[3]) > 65_535:  # noqa: PLR2004 -- the highest port there is
        raise ValueError(expected)
    if (match[1] and not _is_address(match[1], 6)) or (match[2] and not _is_host(match[2])):
        raise ValueError(expected)
    return Address(match[1] or match[2], int(match[3]))


def check_source_path(path: str) -> str:
    """The path of a source's URL, free of what clients and proxies rewrite."""
    if not path.startswith("/"):
        raise ValueError('expected a path that begins with "/", such as "/webhooks/klen"')
    if "?" in path or "#" in path:
        raise ValueError("expected a path without a query or a fragment")
    if path in HEALTH_PATHS:
        raise ValueError(
            f"expected another path than {' and '.join(HEALTH_PATHS)}, which answer health checks"
        )
    if not URL_PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ValueError("expected a path of plain ASCII letters, digits and -._~!$&'()*+,;=:@/")
    return path


def check_header_name(name: str) -> str:
    """The name of an HTTP header, or nothing for the one usual with that way to sign."""
    # https://www.rfc-editor.org/rfc/rfc9110#name-tokens
    if name and not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        raise ValueError('expected the name of a header, such as "X-Signature"')
    return name


def check_storage_url(url: str) -> str:
    """The address of the log: a file, so far."""
    if re.match(r"postgres(ql)?(\+\w+)?:", url):
        raise ValueError("postgresql:// is not supported yet; use sqlite:///FILE")
    name = url.removeprefix("sqlite:///")
    if name in {url, ""} or name.endswith("/") or ":memory:" in name or not name.isprintable() or "?" in name:
        raise ValueError("expected sqlite:///FILE, or sqlite:////ABSOLUTE/FILE with four slashes")
    return url


def check_api_url(url: str) -> str:
    """The base of the vendor's API, without a slash at its end."""
    expected = "expected an http or https URL without user, password or query"
    if not re.fullmatch(r"https?://[!-~]+", url):
        raise ValueError(expected)
    try:
        parts = urlsplit(url)
        usable = parts.hostname and parts.port != 0
    except ValueError:
        raise ValueError(expected) from None
    if not usable or "@" in parts.netloc or "?" in url or "#" in url:
        raise ValueError(expected)
    return url.rstrip("/")


def check_period(text: str) -> str:
    """How often: a number with its unit, or `off`."""
    if text != "off" and not period_seconds(text):
        raise ValueError('expected how often, such as "15m", "30s", "2h" or "1d", or "off"')
    return text


def period_seconds(text: str) -> float | None:
    """The seconds of a period, None for `off` or what is none."""
    match = PERIOD.fullmatch(text)
    return float(match[1]) * UNITS[match[2]] if match else None


def check_destination(text: str) -> str:
    """A host, an address or a network."""
    if _is_host(text):
        return text
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            'expected a host, an address or a network such as "10.0.0.0/8", without a port'
        ) from None
    return text


def resolve_secret(text: str, base: Path, environ: Mapping[str, str]) -> str:
    """What `env:NAME` or `file:PATH` stands for; any other text is the secret itself.

    `PATH` is relative to `base`, the folder of the configuration file; one newline at its end is dropped.

    Raises:
        ValueError: the variable or the file does not give a text. The message names it, without a value.
    """
    kind, colon, name = text.partition(":")
    if colon and kind == "env":
        return _from_variable(name, environ)
    if colon and kind == "file":
        return _from_file(base / name if name else None)
    return text


def _from_variable(name: str, environ: Mapping[str, str]) -> str:
    if not VARIABLE.fullmatch(name):
        raise ValueError("expected the name of an environment variable after env:")
    if name not in environ:
        raise ValueError(f"the environment variable {name} is not set")
    value = environ[name]
    if not _is_utf8(value):
        raise ValueError(f"the environment variable {name} is not text in UTF-8")
    return value


def _from_file(path: Path | None) -> str:
    if path is None:
        raise ValueError("expected the path of a file after file:")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read the file {path}: {error.strerror}") from None
    except ValueError:
        raise ValueError("expected the path of a file after file:") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"the file {path} is longer than {MAX_SECRET_BYTES} bytes; is it the right one?")
    try:
        return re.sub(r"\r?\n\Z", "", content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"the file {path} is not text in UTF-8") from None


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _is_host(text: str) -> bool:
    """An IPv4 address or a name. What looks like a bad address is no name."""
    return _is_address(text, 4) or bool(HOST.fullmatch(text) and not re.fullmatch(r"[0-9.]+", text))
