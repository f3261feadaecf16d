"""Finding everything of a person in the log.

All bodies are looked through, since a person may be mentioned where no index reaches. The rule easiest to
break: whole calendar events and calls are theirs if one of their events is; of others, only the mentions are.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from receiver.errors import InvalidJSON
from receiver.forget.person import Customer, Person, customer_of, texts_of
from receiver.jsonbody import JSON, parse_json
from receiver.words import FORGOTTEN
from storage.removal import Erasure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from storage.reader import EventReader
    from storage.removal import Content, StoredItem

__all__ = ["Found", "find", "read"]


@dataclass(slots=True)
class Found:
    """What the log has of a person."""

    person: Person
    calendar_events: set[int] = field(default_factory=set)
    """Our numbers of them."""
    calls: set[int] = field(default_factory=set)
    loose: set[int] = field(default_factory=set)
    """Events of theirs that are about neither."""
    mentions: dict[int, int | None] = field(default_factory=dict)
    """Events of others with what they are about."""
    events: set[int] = field(default_factory=set)
    """All events of theirs."""
    quarantined: list[int] = field(default_factory=list)
    stored: list[StoredItem] = field(default_factory=list)
    customers: set[Customer] = field(default_factory=set)

    def erasure(self, at_ms: int) -> Erasure:
        """How much it is."""
        return Erasure(
            at_ms=at_ms,
            calendar_events=len(self.calendar_events),
            calls=len(self.calls),
            events=len(self.events),
            mentions=len(self.mentions),
            quarantined=len(self.quarantined),
            stored=len(self.stored),
        )

    def counts(self) -> dict[str, int]:
        """The same, for people and scripts."""
        return {name: number for name, number in asdict(self.erasure(0)).items() if name != "at_ms"}

    def __bool__(self) -> bool:
        return any(self.counts().values())


async def find(log: EventReader, person: Person) -> Found:
    """Everything of a person, by what is given and by what came together with it."""
    found = await _look_through(log, person)
    wider = person.known_by(found.customers)
    if wider != person:
        found = await _look_through(log, wider)
    for subject in found.calendar_events | found.calls:
        found.events.update(event.seq for event in await log.history(subject))
    found.events |= found.loose
    for seq in found.events & found.mentions.keys():
        del found.mentions[seq]
    await _find_elsewhere(log, found)
    return found


async def _look_through(log: EventReader, person: Person) -> Found:
    found = Found(person)
    async for page in _contents(log):
        await asyncio.to_thread(_sort, page, found)
    return found


async def _contents(log: EventReader) -> AsyncIterator[list[Content]]:
    last = 0
    while page := await log.contents(last):
        yield page
        last = page[-1].seq


def _sort(page: Iterable[Content], found: Found) -> None:
    """Put events that are the person's, or mention them, where they belong."""
    person = found.person
    for content in page:
        if not person.may_be_in(content.body):
            continue
        body = read(content.body)
        if isinstance(body, dict) and FORGOTTEN in body and FORGOTTEN in content.flags:
            continue
        customer = customer_of(body)
        if person.is_customer(customer):
            found.customers.add(customer)
            if content.subject is None:
                found.loose.add(content.seq)
            else:
                kind = found.calls if isinstance(body, dict) and "call" in body else found.calendar_events
                kind.add(content.subject)
        elif any(map(person.is_mentioned, texts_of(body))):
            found.mentions[content.seq] = content.subject


def read(body: bytes) -> JSON:
    """A recorded body; None for what is no JSON."""
    try:
        return parse_json(body)
    except InvalidJSON:  # intake has refused those
        return None


async def _find_elsewhere(log: EventReader, found: Found) -> None:
    for record in await log.quarantined(limit=0):
        refused = await log.quarantined_body(record.id)
        if refused is not None and found.person.is_mentioned_in_bytes(refused.body):
            found.quarantined.append(record.id)
    last = ("", "")
    while items := await log.stored_items(last):
        found.stored += [item for item in items if found.person.is_mentioned(f"{item.key}\n{item.value}")]
        last = items[-1].handler, items[-1].key
