"""What `log search` finds events by: the words of a body, and what a person types for them. Pure.

Both sides go through the same steps, so an address or a number is found however it is spelled. A phone
number is a word twice, as it is and from its end, since people leave out the country. The rule easiest to
break: the index keeps no copy of an event's words, so the same body must give the same words for ever; who
changes a step here has to have the index made anew.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import InvalidJSON
from receiver.jsonbody import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from receiver.jsonbody import JSON

__all__ = ["FORGOTTEN", "terms_of", "words_in", "words_of"]

FORGOTTEN: Final = "forgotten"
"""The key that marks a body whose people were forgotten. It has no words."""

MOST_CHARACTERS: Final = 20_000
"""Of one text: descriptions come from outside, and the log is busy while it learns their words."""
MOST_WORDS: Final = 2_000
LONGEST_WORD: Final = 64
MOST_TERMS: Final = 32
"""Of one question."""

_EVENT_TEXTS: Final = ("title", "location", "description", "reason")
_CUSTOMER_TEXTS: Final = ("name", "email", "notes")

# Languages that put no space between words: each of their signs is a word.
_UNSPACED: Final = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_word = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_ASCII_WORDS: Final = "".join(c if c.isalnum() else " " for c in map(chr, range(128)))
"""For `str.translate`: blanks between what `_word` finds, in a third of the time."""
_typed_word = re.compile(rf"(?:[{_UNSPACED}]|[^\W_{_UNSPACED}]+)\*?")
# The look-behinds keep both linear: a run of letters or digits is tried from its beginning only.
_email = re.compile(r"(?<![\w.%+-])[\w.%+-]+@[\w-]+(?:\.[\w-]+)*")
_phone = re.compile(r"(?<!\w)\+?\(?\d[\d ().\-/\u00a0]{5,}\d(?!\w)")
_begun_phone = re.compile(r"(?<!\w)\+ ?\(?\d[\d ().\-/\u00a0]*")
_ascii_digits = re.compile("[0-9]+")
_PHONE_DIGITS: Final = range(7, 16)
"""The longest is that of E.164; shorter runs are years and rooms."""
_LONGEST_INLAND: Final = 11
_COUNTRY_DIGITS: Final = (1, 2, 3)
_SHORTEST_PREFIX: Final = 2

# Letters that have no plain letter inside them as an accent does.
_PLAIN: Final = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe", "\u0131": "i", "ð": "d"})


def words_of(value: JSON) -> str:
    """The words of a parsed body, separated by blanks, each once; none for a body that says nothing."""
    if not isinstance(value, dict) or FORGOTTEN in value:
        return ""
    words: list[str] = []
    texts: list[str] = []
    for text, is_phone in _texts(value):
        if is_phone:
            words += _both_ways(text)
        else:
            texts.append(text[:MOST_CHARACTERS])
    text = _fold("\n".join(texts))
    if "@" in text:
        for piece in text.split():  # most have none
            if "@" in piece:
                words += [address[:LONGEST_WORD] for address in _email.findall(piece)]
    for number in _phone.findall(text):
        if len(_digits(number)) in _PHONE_DIGITS:
            words += _both_ways(number)
    split = text.translate(_ASCII_WORDS).split() if text.isascii() else _word.findall(text)
    words += [word[:LONGEST_WORD] for word in split]
    return " ".join(list(dict.fromkeys(words))[:MOST_WORDS])


def words_in(body: bytes) -> str:
    """The words of a recorded body."""
    try:
        return words_of(parse_json(body))
    except InvalidJSON:  # intake has refused those
        return ""


def _texts(body: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The texts that are searched, and whether each is a phone number."""
    about, call = body.get("calendar_event"), body.get("call")
    customer: object = None
    if isinstance(about, dict):
        yield from _some(about, _EVENT_TEXTS)
        customer = about.get("customer")
    elif isinstance(call, dict):
        yield from _phones(call.get("phone_number"))
        customer = call.get("contact")
    if isinstance(customer, dict):
        yield from _some(customer, _CUSTOMER_TEXTS)
        yield from _phones(customer.get("phone"))


def _some(values: Mapping[str, Any], keys: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    for key in keys:
        text = values.get(key)
        if isinstance(text, str) and text:
            yield text, False


def _phones(value: object) -> Iterator[tuple[str, bool]]:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        yield str(value)[:LONGEST_WORD], True


def terms_of(text: str) -> tuple[tuple[str, ...], ...]:
    """What somebody typed as groups of words: an event is meant that has one word of every group.

    A word with a `*` behind it stands for all that begin so. Nothing typed is wrong; text without a word
    gives no group.
    """
    text = _fold(text[:MOST_CHARACTERS])
    groups: list[tuple[str, ...]] = []

    def take(pattern: re.Pattern[str], text: str) -> str:
        return pattern.sub(lambda found: _taken(found, pattern, groups), text)

    for pattern in (_email, _phone, _begun_phone):
        text = take(pattern, text)
    groups += [(word,) for word in _typed_words(text)]
    return tuple(dict.fromkeys(groups))[:MOST_TERMS]


def _taken(found: re.Match[str], pattern: re.Pattern[str], groups: list[tuple[str, ...]]) -> str:
    """What is left of a piece of text after an address or a number in it became a group."""
    piece = found[0]
    if pattern is _email:
        groups.append((piece[:LONGEST_WORD],))
        return " "
    digits = _digits(piece)
    if pattern is _phone and len(digits) in _PHONE_DIGITS:
        spellings = tuple(_spellings(digits))
        # It may be no number of a phone after all, but words that are digits.
        groups += [(*spellings, word) for word in _word.findall(piece)]
        return " "
    if pattern is _begun_phone and len(digits) >= _SHORTEST_PREFIX:
        groups.append((f"{digits}*",))
        return " "
    return piece


def _spellings(digits: str) -> Iterator[str]:
    """How a number may stand in the log, given how it was typed: with more, or less, at its beginning."""
    yield f"{digits}*"
    yield f"{_backwards(digits)}*"
    rest = digits.removeprefix("0")
    if rest != digits:
        yield f"{_backwards(rest)}*"
    for country in _COUNTRY_DIGITS:
        if len(rest) - country in _PHONE_DIGITS:
            yield _backwards(rest[country:])


def _typed_words(text: str) -> Iterator[str]:
    for word in _typed_word.findall(text):
        stem = word.removesuffix("*")[:LONGEST_WORD]
        yield f"{stem}*" if word.endswith("*") and len(stem) >= _SHORTEST_PREFIX else stem


def _both_ways(text: str) -> tuple[str, ...]:
    """A phone number as two words: from its beginning, and from its end without a zero dialled inland."""
    digits = _digits(text)
    return (digits, _backwards(digits.removeprefix("0"))) if digits else ()


def _digits(text: str) -> str:
    """The digits of a phone number, without what is dialled to leave a country."""
    if text.isascii():
        digits = "".join(_ascii_digits.findall(text))[:LONGEST_WORD]
    else:
        digits = "".join(str(unicodedata.digit(c)) for c in text if c.isdigit())[:LONGEST_WORD]
    return digits.removeprefix("00") if len(digits) > _LONGEST_INLAND else digits


def _backwards(digits: str) -> str:
    return f"#{digits[::-1]}"


def _fold(text: str) -> str:
    """Without case and accents."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text).casefold().translate(_PLAIN)
    return "".join(c for c in decomposed if not unicodedata.combining(c))
