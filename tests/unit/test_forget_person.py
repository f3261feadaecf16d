"""Who is meant when somebody is to be forgotten, and what is left of a body."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.columns import columns
from receiver.forget.person import Customer, Person, customer_of, texts_of
from receiver.forget.redact import Placeholders, redacted, without_mentions
from receiver.jsonbody import canonical, parse_json
from tests.support.klen import webhook

EMAIL = "john.smith@example.com"
PHONE = "+15551234567"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def person(*names: str) -> Person:
    return Person.of(names)


@pytest.mark.parametrize(
    "name", ["", "john", "John Smith", "123456", "+1234567890123456", "a@b c", "@", "x@"]
)
def test_a_person_is_an_address_or_a_number(name: str) -> None:
    """Anything else is refused, and not repeated in the message."""
    with pytest.raises(ValueError, match="expected an e-mail address, or a phone number") as refused:
        person(name)
    assert not name or name not in str(refused.value).split()


@pytest.mark.parametrize(
    ("name", "customer"),
    [
        (EMAIL, {"email": "John.Smith@EXAMPLE.com "}),
        (EMAIL, {"email": EMAIL, "phone": "+49 30 1234567"}),
        (PHONE, {"phone": "+1 (555) 123-4567"}),
        ("555-123-4567", {"phone": PHONE}),
        (PHONE, {"phone": "(555) 123 4567"}),
        ("001 555 123 4567", {"phone": 15551234567}),
        (PHONE, {"phone": PHONE, "email": "mary@example.com"}),
    ],
)
def test_whoever_has_the_address_or_number_is_the_person(name: str, customer: dict[str, Any]) -> None:
    """However either is spelled, and whatever else is known of the customer."""
    assert person(name).is_customer(customer_of(parse_json(webhook(customer=customer))))
    call = {"contact": customer, "phone_number": customer.get("phone")}
    assert person(name).is_customer(customer_of({"event_type": "call.ended", "call": call}))


@pytest.mark.parametrize(
    ("name", "customer"),
    [
        (EMAIL, {"email": "xjohn.smith@example.com"}),
        (EMAIL, {"email": "john.smith@example.com.evil"}),
        (EMAIL, {"name": EMAIL}),
        (EMAIL, None),
        (EMAIL, EMAIL),
        (PHONE, {"phone": "+15551234568"}),
        (PHONE, {"phone": "+445551234567"}),
        (PHONE, {"phone": "1234567"}),
        (PHONE, {"phone": True}),
    ],
)
def test_nobody_else_is(name: str, customer: Any) -> None:
    """Neither a longer address nor the end of another country's number."""
    assert not person(name).is_customer(customer_of(parse_json(webhook(customer=customer))))


def test_what_came_together_counts_where_nothing_contradicts_it() -> None:
    """A number that came with the address means the person, unless another address came with it."""
    john = person(EMAIL).known_by([Customer(EMAIL, "15551234567"), Customer(EMAIL, "")])

    assert john.is_customer(Customer("", "15551234567"))
    assert not john.is_customer(Customer("mary@example.com", "15551234567"))
    assert not john.is_customer(Customer("", "15550000000"))
    assert not john.is_customer(Customer("", ""))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (EMAIL, f"Ask {EMAIL.upper()}."),
        (EMAIL, f"<{EMAIL}>"),
        (PHONE, "call (555) 123-4567 back"),
        (PHONE, "tel:+15551234567"),
    ],
)
def test_a_text_mentions_somebody(name: str, text: str) -> None:
    """By the given address or number, however it is written."""
    assert person(name).is_mentioned(text)
    for encoding in ("utf-8", "utf-16", "utf-16-be", "utf-32"):
        assert person(name).is_mentioned_in_bytes(text.encode(encoding))
    assert person(name).is_mentioned_in_bytes(json.dumps(text).replace("@", "\\u0040").encode())
    assert person(name).may_be_in(json.dumps({"x": text}).encode())


@pytest.mark.parametrize(
    "text", ["john.smith@example.community", "xjohn.smith@example.com", "5551234568", "smith"]
)
def test_a_text_that_mentions_nobody(text: str) -> None:
    """What only looks like it is left alone."""
    assert not person(EMAIL, PHONE).is_mentioned(text)


def test_what_stays_of_a_body() -> None:
    """Ids, kinds, times, statuses, yes and no stay; equal texts have equal placeholders."""
    body = parse_json(
        webhook(
            "calendar.updated",
            location="Room 7",
            reason="Room 7",
            duration_minutes=60,
            has_video_conference=True,
            video_conference_url="https://meet.example.com/x",
            previous_start="2025-05-01T13:00:00.000Z",
            ai_agent={"id": 42, "name": "Scheduler"},
            priority={"level": 3, "John S": ["x", None, ""]},
        )
    )
    placeholders = Placeholders()

    assert redacted(body, placeholders) == {
        "event_type": "calendar.updated",
        "calendar_event": {
            "id": 123,
            "uuid": "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "title": "forgotten-1",
            "event_type": "meeting",
            "status": "confirmed",
            "start_time": "2025-05-01T14:00:00.000Z",
            "end_time": "2025-05-01T15:00:00.000Z",
            "customer": {
                "name": "forgotten-2",
                "email": "forgotten-3@forgotten.invalid",
                "phone": "forgotten-4",
            },
            "location": "forgotten-5",
            "reason": "forgotten-5",
            "duration_minutes": 60,
            "has_video_conference": True,
            "video_conference_url": "https://forgotten.invalid/6",
            "previous_start": "2025-05-01T13:00:00.000Z",
            "ai_agent": {"id": 42, "name": "forgotten-7"},
            "priority": {"level": "forgotten-8", "forgotten-9": ["forgotten-10", None, ""]},
        },
        "timestamp": "2025-05-01T10:15:30.000Z",
        "forgotten": True,
    }
    assert redacted(body, placeholders) == redacted(body, placeholders)
    assert placeholders.of(1.0, "x") == placeholders.of(1, "y")


@pytest.mark.parametrize(
    "fields",
    [
        {"status": EMAIL},
        {"status": ["John"]},
        {"event_type": "John\nSmith"},
        {"start_time": "when John can"},
        {"duration_minutes": "John"},
        {"ai_agent": "John"},
        {"ai_agent": {"id": "John Smith"}},
    ],
)
def test_a_value_in_the_wrong_place_goes(fields: dict[str, Any]) -> None:
    """What stands where an id, a time or a status is expected, and is none, is content."""
    body = redacted(parse_json(webhook(**fields)), Placeholders())

    assert not any("John" in text or "@example" in text for text in texts_of(body))


@given(JSON)
def test_whatever_a_body_is(value: Any) -> None:
    """What is left of any body is JSON with the same columns but for its title, and none of its own texts."""
    for body in (value, {"calendar_event": value}, {"event_type": "call.ended", "call": value}):
        left = redacted(body, Placeholders())
        assert parse_json(canonical(left)) == left
        assert all("forgotten" in text or len(text) < 65 for text in texts_of(left))


@given(st.sampled_from(["calendar.created", "calendar.cancelled"]), st.text(), st.text())
def test_the_columns_stay(event_type: str, title: str, name: str) -> None:
    """Redacting a webhook changes no column but the title."""
    body = parse_json(webhook(event_type, title=title, customer={"name": name}))

    assert columns(redacted(body, Placeholders()))._replace(title=None) == columns(body)._replace(title=None)


def test_only_mentions_go() -> None:
    """Of somebody else's event only the texts go that hold the address or number."""
    body = {"a": ["x", f"for {EMAIL}"], EMAIL: 1, "n": 15551234567, "b": {"c": "(555) 123-4567", "d": 4}}

    assert without_mentions(body, person(EMAIL, PHONE)) == {
        "a": ["x", "forgotten"],
        "n": "forgotten",
        "b": {"c": "forgotten", "d": 4},
    }
