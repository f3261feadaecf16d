"""Sample events: the vendor's documented payloads, and changes to them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from receiver.columns import columns
from receiver.events import EVENT_TYPES, parse_event
from receiver.jsonbody import parse_json
from receiver.samples import SAMPLE_TYPES, assign, sample_event, to_body

FILES = Path(__file__).resolve().parents[1] / "samples"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, UTC)


def test_there_is_one_of_every_webhook() -> None:
    """The samples are those of the events we know, no more and no fewer."""
    assert set(EVENT_TYPES) == set(SAMPLE_TYPES)


@pytest.mark.parametrize("event_type", SAMPLE_TYPES)
def test_a_sample_is_the_vendors_payload(event_type: str) -> None:
    """Apart from its time, a sample is the payload in the file of that name."""
    written = json.loads((FILES / f"{event_type}.json").read_text("utf-8"))

    assert written | {"timestamp": "2026-01-02T03:04:05.678Z"} == sample_event(event_type, timestamp=NOW)


@pytest.mark.parametrize("event_type", SAMPLE_TYPES)
def test_a_sample_is_understood(event_type: str) -> None:
    """Intake finds nothing odd about a sample, and reads it as the event of its class."""
    body = to_body(sample_event(event_type, timestamp=NOW))

    assert columns(parse_json(body)).flags == ()
    event = parse_event(body, event_id="e-1", source="klen", received_at=NOW)
    assert type(event) is EVENT_TYPES[event_type]


def test_samples_share_nothing() -> None:
    """Changing one sample leaves the next one as documented."""
    assign(sample_event("calendar.created", timestamp=NOW), "customer.name", "Ada")

    assert (
        sample_event("calendar.created", timestamp=NOW)["calendar_event"]["customer"]["name"] == "John Smith"
    )


@pytest.mark.parametrize(
    ("event_type", "path", "found_at"),
    [
        ("calendar.created", "title", ("calendar_event", "title")),
        ("calendar.created", "customer.email", ("calendar_event", "customer", "email")),
        ("calendar.created", "event_type", ("calendar_event", "event_type")),
        ("calendar.created", "calendar_event.customer.email", ("calendar_event", "customer", "email")),
        ("calendar.created", "new.deep.key", ("calendar_event", "new", "deep", "key")),
        ("call.ended", "contact.name", ("call", "contact", "name")),
        ("call.ended", "timestamp", ("timestamp",)),
    ],
)
def test_a_path_leads_into_the_subject(event_type: str, path: str, found_at: tuple[str, ...]) -> None:
    """A path is inside the appointment or call, missing objects are made, and only `timestamp` is outside."""
    event = sample_event(event_type, timestamp=NOW)

    assign(event, path, "new")

    found: Any = event
    for key in found_at:
        found = found[key]
    assert found == "new"
    assert event_type == event["event_type"]


@pytest.mark.parametrize("path", ["", ".", "customer.", ".name", "customer..name", "title.x", "id.x.y"])
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    """An empty part, or a way through a value, is an error that quotes the path."""
    with pytest.raises(ValueError, match=r"path|leads") as raised:
        assign(sample_event("calendar.created", timestamp=NOW), path, 1)

    assert repr(path) in str(raised.value)


def test_a_body_is_compact_utf8() -> None:
    """The bytes are those JSON.stringify makes, which is what some of the vendor's own examples sign."""
    assert '{"a":[1,2],"b":"é"}'.encode() == to_body({"a": [1, 2], "b": "é"})
    with pytest.raises(ValueError, match="surrogates"):
        to_body({"a": "\ud800"})
