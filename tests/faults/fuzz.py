"""Coverage-guided fuzzing of what reads bytes from outside: `python -m tests.faults.fuzz TARGET -runs=N`.

Whatever arrives ends in a value or in the one error that is documented; anything else is a finding. Bodies
begin with those of the corpus.
"""

from __future__ import annotations

import sys
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import atheris
from multidict import CIMultiDict

from receiver.errors import InvalidJSON, InvalidSignature
from tests.corpus.make import CORPUS

with atheris.instrument_imports(include=["receiver"]):
    from receiver.events import parse_event
    from receiver.intake import Delivery, read_event
    from receiver.jsonbody import canonical, parse_json
    from receiver.signing import STYLES, Verifier

if TYPE_CHECKING:
    from collections.abc import Callable

SECRETS: Final = {
    style: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    if style == "standard-webhooks"
    else "a-long-enough-test-secret"
    for style in STYLES
}
NOW: Final = 1_746_094_530
_verifiers = {style: Verifier(style, [secret]) for style, secret in SECRETS.items()}


def signing(data: bytes) -> None:
    """Headers and a body of any style: refused, since nobody can guess a signature."""
    provider = atheris.FuzzedDataProvider(data)
    style = provider.PickValueInList(sorted(STYLES))
    headers: CIMultiDict[str] = CIMultiDict()
    for names in STYLES[style].headers:
        for name in (names.signature, names.timestamp, names.message_id):
            if name:
                for _ in range(provider.ConsumeIntInRange(0, 2)):
                    text = provider.ConsumeBytes(100).decode("utf-8", "surrogateescape")
                    headers.add(name, text)
    try:
        _verifiers[style].verify(headers, provider.ConsumeBytes(200), now=NOW)
    except InvalidSignature:
        return
    raise AssertionError("a forged request was accepted")


def json_body(data: bytes) -> None:
    """What is JSON can be written again, and reads the same."""
    try:
        value = parse_json(data)
    except InvalidJSON:
        return
    assert canonical(parse_json(canonical(value))) == canonical(value)


def intake(data: bytes) -> None:
    """What is JSON makes a row, and an event that can be handled."""
    delivery = Delivery(source="klen", body=data, received_at_ms=NOW * 1000, secret_fingerprint="x")
    try:
        event = read_event(delivery)
    except InvalidJSON:
        return
    assert event.body == data
    repr(parse_event(data, event_id=event.event_id, source="klen", received_at=datetime.now(UTC)))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "signing": signing,
    "json": json_body,
    "intake": intake,
}

if __name__ == "__main__":
    target = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as found:  # the first folder is the one it writes to
        options = [f"-artifact_prefix={found}/", "-max_len=4096", found, str(CORPUS / "bodies")]
        atheris.Setup([*sys.argv, *options], TARGETS[target])
        atheris.Fuzz()
