"""How a call of an isolated handler ended, as the child tells it and the service reads it.

The rule easiest to break: `read` judges what a child sent, so every field says what it may hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from receiver.isolation.messages import ProtocolError
from receiver.retry import LONGEST_WAIT
from storage.work import Effects  # noqa: TC001 -- pydantic evaluates the annotations

Wait = Annotated[float, Field(ge=0, le=LONGEST_WAIT)]


@dataclass(frozen=True, slots=True)
class Reply:
    """How a call ended."""

    ending: Literal["done", "retry", "discard", "failed", "died"]
    text: str | None = None
    """For `retry` and `discard` the reason; for `failed` the exception's type and text, then its traceback;
    for `died` what became of the process, such as `killed by SIGSEGV` or `exit status 3`."""
    after: Wait | None = None
    """Seconds. For `retry` what the handler gave, for `failed` what a server it asked has asked for."""
    effects: Effects | None = None
    """For `done`: what to commit together with it."""


_REPLY: Final = TypeAdapter(Reply)


def dump(reply: Reply) -> Any:
    """The reply as JSON values."""
    return _REPLY.dump_python(reply, mode="json")


def read(value: Any) -> Reply:
    """The reply that a child's JSON values mean.

    Raises:
        ProtocolError: they mean none.
    """
    try:
        return _REPLY.validate_python(value)
    except ValidationError:
        raise ProtocolError("a reply that means nothing") from None
