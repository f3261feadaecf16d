"""Everything klenhook raises on purpose, so that one glance tells whose fault it is.

    ReceiverError
    ├── Rejected                     theirs: the request is refused, with this status and code
    │   ├── InvalidSignature   401
    │   ├── InvalidJSON        400
    │   ├── PayloadTooLarge    413
    │   ├── UnsupportedEncoding 415
    │   ├── RequestTimeout     408
    │   └── Unavailable        503   ours, answered in their direction: they try again later
    ├── ConfigError                  the operator's: every mistake in the configuration at once
    ├── PluginError                  the operator's: a plugin that does not load, with its file
    └── EventError                   a stored body that is not the event it was asked for as

The rule easiest to break: no message here may quote a secret, a signature, a body or a person's data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class ReceiverError(Exception):
    """Base of every error that klenhook raises on purpose."""


class Rejected(ReceiverError):  # noqa: N818 -- what happened to the request, not a fault of the program
    """A request is refused. The class says how it is answered: in the vendor's shape, code and text."""

    status: ClassVar[int]
    code: ClassVar[str]
    text: ClassVar[str]

    def __init__(self, reason: str = "") -> None:
        """`reason` is for the log and the metrics only; the answer never carries it."""
        super().__init__(reason or self.text)
        self.reason = reason


class InvalidSignature(Rejected):
    """The request is not signed, or not with one of our secrets. Every cause is answered alike."""

    status = 401
    code = "invalid_signature"
    text = "The signature is missing or does not match the request body."


class InvalidJSON(Rejected):
    """The body is signed but is not JSON."""

    status = 400
    code = "invalid_json"
    text = "The request body is not valid JSON in UTF-8."


class PayloadTooLarge(Rejected):
    """The body is over the limit."""

    status = 413
    code = "payload_too_large"
    text = "The request body is larger than this endpoint accepts."


class UnsupportedEncoding(Rejected):
    """The body is compressed or otherwise encoded; signatures are over plain bytes."""

    status = 415
    code = "unsupported_encoding"
    text = "Send the body without a Content-Encoding."


class RequestTimeout(Rejected):
    """The body did not arrive in time."""

    status = 408
    code = "request_timeout"
    text = "The request body did not arrive in time."


class Unavailable(Rejected):
    """The event cannot be stored now. The sender should try again."""

    status = 503
    code = "unavailable"
    text = "The event could not be stored. Please try again."


class ConfigError(ReceiverError):
    """The configuration is wrong. `problems` has one line per mistake, all of them."""

    def __init__(self, problems: Sequence[str], *, source: str = "the configuration") -> None:
        """`source` names the file, or what else was read."""
        self.problems = tuple(problems)
        count = "1 mistake" if len(self.problems) == 1 else f"{len(self.problems)} mistakes"
        super().__init__(f"{count} in {source}:\n" + "\n".join(f"  {problem}" for problem in self.problems))


class PluginError(ReceiverError):
    """A plugin cannot be used. `file` is where it is, the message what to do."""

    def __init__(self, message: str, *, file: Path | None = None) -> None:
        """`message` is a whole sentence for the person who wrote the plugin."""
        self.file = file
        super().__init__(f"{file}: {message}" if file else message)


class EventError(ReceiverError):
    """A body cannot be read as the event it is asked for as."""
