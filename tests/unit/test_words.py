"""What events are found by, and what people type for them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.jsonbody import parse_json
from receiver.words import terms_of, words_of
from tests.support.klen import webhook

TEXT = st.text(st.characters())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


def words(**calendar_event: Any) -> set[str]:
    return set(words_of(parse_json(webhook(**calendar_event))).split(" "))


def found_by(text: str, **calendar_event: Any) -> bool:
    """Whether the event has a word of every group; a word with a star is the beginning of one."""
    known = words(**calendar_event)

    def has(term: str) -> bool:
        if term.endswith("*"):
            return any(word.startswith(term[:-1]) for word in known)
        return term in known

    return all(any(has(term) for term in group) for group in terms_of(text))


def test_the_words_of_an_event() -> None:
    """Title, location, description, reason and customer count; ids, kinds, statuses and agents do not."""
    found = words(
        title="First talk",
        location="Room 7",
        description="Bring photos",
        reason="Ill",
        customer={"name": "Ada", "email": "a@b.example", "phone": "+1 555", "notes": "Likes tea"},
        ai_agent={"id": 42, "name": "Scheduler"},
        event_type="appointment",
    )

    expected = "first talk room 7 bring photos ill ada a@b.example a b example 1555 #5551 likes tea"
    assert found == set(expected.split(" "))


def test_the_words_of_a_call() -> None:
    """A call is found by its contact and number."""
    call = {"phone_number": "+15551234567", "contact": {"name": "Ada"}, "summary": "Secret"}

    assert words_of({"event_type": "call.ended", "call": call}).split() == [
        "15551234567",
        "#76543215551",
        "ada",
    ]


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("zoe", "Zoë"),
        ("ZOË", "zoe"),
        ("Zoe\u0308", "Zoë"),
        ("strasse", "Straße"),
        ("Søren Łódź", "soren lodz"),
        ("会議", "明日の会議室"),
        ("O'Brien", "Mrs O'Brien"),
        ("follow-up", "Follow up"),
        ("confer*", "conference"),
        ("john.smith@example.com", "for John.Smith@Example.com, please"),
        ("john+tag@example.com", "<john+tag@example.com>"),
        ("example.com", "x@example.com"),
        ("@example.com", "x@example.com"),
        ("+1 (555) 123-4567", "call 555.123.4567 back"),
        ("", "anything"),
    ],
)
def test_text_is_found_however_it_is_spelled(typed: str, stored: str) -> None:
    """Case, accents and signs do not matter; an address counts whole and in its words."""
    assert found_by(typed, title=stored)


@pytest.mark.parametrize(
    "typed",
    [
        "+15551234567",
        "15551234567",
        "+1 (555) 123-4567",
        "001 555 123 4567",
        "1.555.123.4567",
        "(555) 123-4567",
        "5551234567",
        "0555 1234567",
        "123-4567",
        "+1 555",
        "+1555123",
        "John +1 555 123 4567 Smith",
    ],
)
def test_a_phone_number_is_found_however_it_is_spelled(typed: str) -> None:
    """With its country, without it, inland, by its end or its beginning, among other words."""
    assert found_by(typed)
    assert found_by(typed, customer={"name": "John Smith", "phone": "+1 (555) 123-4567"})
    assert found_by(typed, customer={"name": "John Smith", "phone": 15551234567})


@pytest.mark.parametrize("typed", ["+1 555 123 4568", "555 123 456", "+44 5551234567 8", "mary@example.com"])
def test_another_number_is_not_found(typed: str) -> None:
    """One digit more or less is another number."""
    assert not found_by(typed)


def test_a_number_stored_without_its_country_is_found_with_it() -> None:
    """What is typed may have more at its beginning than what came."""
    assert found_by("+49 171 1234567", customer={"phone": "0171 1234567"})
    assert found_by("000 4567", customer={"phone": "+15550004567"})


def test_numbers_that_are_no_phones_are_found_too() -> None:
    """A row of digits in a question may as well be words."""
    assert found_by("12345 2025", title="2025 in room 12345")


@pytest.mark.parametrize("typed", ["", " ", "*", "@", "-", '"', "* * *", "\u0301"])
def test_signs_alone_are_no_question(typed: str) -> None:
    """Text without a word gives no group."""
    assert terms_of(typed) == ()


def test_a_long_text_has_an_end() -> None:
    """What comes from outside is cut: texts, words and their number."""
    assert len(words(description=" ".join(f"{n:x}" for n in range(100_000)))) == 2_000
    assert max(map(len, words(title="z" * 50_000))) == 64
    assert found_by("z" * 100, title="z" * 50_000)


def test_who_was_forgotten_has_no_words() -> None:
    """A body with that mark is not found by anything."""
    assert words_of({"calendar_event": {"title": "x"}, "forgotten": True}) == ""


@given(JSON)
def test_every_body_has_words(value: Any) -> None:
    """Whatever JSON it is, its words can be stored, and blanks are only between them."""
    for body in (value, {"calendar_event": value}, {"calendar_event": {"title": value, "customer": value}}):
        assert words_of(body).encode().split() == words_of(body).encode().split(
            b" " if words_of(body) else None
        )


@given(st.text(min_size=1))
def test_a_title_is_found_by_itself(title: str) -> None:
    """Whatever a title is, typing it finds it."""
    assert found_by(title.replace("*", " ")[:500], title=title) or len(terms_of(title)) >= 32
