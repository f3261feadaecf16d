"""Who is meant: a person, by the e-mail addresses and phone numbers that they are known by. Pure.

Whoever has the given address or number is the person. What else came together with those counts too, but
only where nothing contradicts it: a number that two people share does not make them one. The rule easiest
to break: what cannot be taken back has to err on the side of too little, and the other way round.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from receiver.jsonbody import JSON

__all__ = ["Customer", "Person", "customer_of"]

_SHORTEST: Final = 7
"""Digits of a phone number that means one person."""
_LONGEST: Final = 15
_WHOLE_INLAND: Final = 9
"""Digits from which on a number without its country is taken for the one with it."""
_KEPT_DIGITS: Final = 6
"""The last digits of a number, which no spelling leaves out."""
_address = re.compile(r"[^\s@]+@[^\s@]+")
_number = re.compile(r"\+?[\d ().\-/\u00a0]+")
_number_in_text = re.compile(r"\+?\(?\d[\d ().\-/\u00a0]{5,}\d")
_other_bytes: Final = bytes(set(range(256)) - set(b"0123456789"))


class Customer(NamedTuple):
    """The person an event is about. Empty is what is not known."""

    email: str
    phone: str
    """Digits."""


@dataclass(frozen=True)
class Person:
    """Addresses in lower case, numbers as digits."""

    emails: frozenset[str] = frozenset()
    phones: frozenset[str] = frozenset()
    other_emails: frozenset[str] = frozenset()
    """What they are known by besides."""
    other_phones: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """The person with all of these addresses and numbers.

        Raises:
            ValueError: one is neither; says what was expected.
        """
        emails, phones = set(), set()
        for name in map(str.strip, names):
            if _address.fullmatch(name):
                emails.add(_folded(name))
            elif _number.fullmatch(name) and _SHORTEST <= len(_digits(name)) <= _LONGEST:
                phones.add(_digits(name))
            else:
                raise ValueError(
                    "expected an e-mail address, or a phone number of 7 to 15 digits such as +15551234567"
                )
        return cls(frozenset(emails), frozenset(phones))

    def known_by(self, customers: Iterable[Customer]) -> Self:
        """The same person, with what came together with their addresses and numbers."""
        found = list(customers)
        return replace(
            self,
            other_emails=frozenset(c.email for c in found if c.email) - self.emails,
            other_phones=frozenset(c.phone for c in found if len(c.phone) >= _SHORTEST) - self.phones,
        )

    def is_customer(self, customer: Customer) -> bool:
        """Whether that is them."""
        if customer.email in self.emails or _is_one_of(customer.phone, self.phones):
            return True
        if not (customer.email or customer.phone):
            return False
        return (not customer.email or customer.email in self.other_emails) and (
            not customer.phone or _is_one_of(customer.phone, self.other_phones)
        )

    def is_mentioned(self, text: str) -> bool:
        """Whether the text holds a given address or number, as people write those."""
        folded = _folded(text)
        if any(email in folded and _stands_alone(email, folded) for email in self.emails):
            return True
        return bool(self.phones) and any(
            _is_one_of(_digits(number), self.phones) for number in _number_in_text.findall(text)
        )

    def is_mentioned_in_bytes(self, content: bytes) -> bool:
        """As `is_mentioned`, for bytes that need not be JSON nor UTF-8."""
        return any(self.is_mentioned(text) for text in _readings(content))

    def may_be_in(self, body: bytes) -> bool:
        """A quick look that misses nothing: whether it is worth reading this JSON at all."""
        emails, phones = self.emails | self.other_emails, self.phones | self.other_phones
        if b"\\u" in body or not body.isascii():  # an address may be spelled in escapes, or in other letters
            return True
        if emails and b"@" in body:
            lower = body.lower()
            if any(email.encode() in lower for email in emails):
                return True
        if phones:
            digits = body.translate(None, _other_bytes)
            return any(phone[-_KEPT_DIGITS:].encode() in digits for phone in phones)
        return False


def customer_of(body: JSON) -> Customer:
    """Whom a body is about."""
    about = body if isinstance(body, dict) else {}
    calendar_event, call = about.get("calendar_event"), about.get("call")
    if isinstance(calendar_event, dict):
        customer = calendar_event.get("customer")
        phone = None
    elif isinstance(call, dict):
        customer, phone = call.get("contact"), call.get("phone_number")
    else:
        return Customer("", "")
    customer = customer if isinstance(customer, dict) else {}
    return Customer(_text(customer.get("email"), _folded), _text(customer.get("phone") or phone, _digits))


def _text(value: Any, read: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return str(read(str(value)))


def _folded(text: str) -> str:
    return text.strip().casefold()


def _digits(text: str) -> str:
    digits = "".join(c for c in text if c.isascii() and c.isdigit())
    return digits.removeprefix("00") if len(digits) > _LONGEST - 4 else digits


def _is_one_of(digits: str, phones: Iterable[str]) -> bool:
    return len(digits) >= _SHORTEST and any(_is_same(digits, phone) for phone in phones)


def _is_same(one: str, other: str) -> bool:
    if one == other:
        return True
    shorter, longer = sorted((one.removeprefix("0"), other.removeprefix("0")), key=len)
    return len(shorter) >= _WHOLE_INLAND and longer.endswith(shorter)


def _stands_alone(email: str, text: str) -> bool:
    """Not as the end or the beginning of a longer address."""
    return re.search(rf"(?<![\w.%+-]){re.escape(email)}(?![\w-]|\.\w)", text) is not None


def _readings(content: bytes) -> Iterator[str]:
    """What the bytes may say."""
    text = content.decode("utf-8", "replace")
    yield text
    if "\\u" in text:
        yield re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text)
    if b"\0" in content:
        for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
            for start in range(2):
                yield content[start:].decode(encoding, "replace")


def texts_of(value: JSON) -> Iterator[str]:
    """Every text in a value, and every number as text."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from texts_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts_of(part)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield json.dumps(value)
