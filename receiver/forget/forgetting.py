"""Finding everything of a person in the log, and taking it out.

All bodies are looked through, since a person may be mentioned where no index reaches. Whole calendar events
and calls are theirs if one of their events is; in events of others only the texts that mention them go. The
rule easiest to break: a calendar event's bodies and its state change together, one made from the other.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from receiver.errors import InvalidJSON, ReceiverError
from receiver.events import columns
from receiver.folding import new_state, rows_of
from receiver.forget.person import Customer, Person, customer_of, texts_of
from receiver.forget.redact import Placeholders, redacted, without_mentions
from receiver.history import as_they_came
from receiver.jsonbody import JSON, canonical, parse_json
from receiver.words import FORGOTTEN, words_of
from storage.calendar import Restated
from storage.records import Selection
from storage.work import Erasure, Rewriting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from receiver.clock import Clock
    from storage.calendar import HistoryRecord, StoredState
    from storage.log import EventLog, EventReader
    from storage.work import Content, StoredItem

ROUTING_SECONDS: Final = 10.0
"""How long events that are not routed yet are waited for: the service routes within a second."""
RUNNING_SECONDS: Final = 90.0
"""How long handlers that still have the old content are waited for; most have a minute."""
POLL_SECONDS: Final = 0.3
MOST_TRIES: Final = 20
BATCH: Final = 200
"""Events whose traces go in one transaction."""


class NotRoutedError(ReceiverError):
    """Events wait for routing, so it is not known yet what they are about."""


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
        body = _read(content.body)
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


def _read(body: bytes) -> JSON:
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


async def forget(log: EventLog, person: Person, clock: Clock) -> dict[str, Any]:
    """Take out everything of a person that is in the log now; how much it was.

    `under_way` in the answer is how many runs and messages had the old content and did not end in time;
    `left_in_wal` is true if the write-ahead file could not be emptied. Doing it again sees to both.

    Raises:
        NotRoutedError: events wait for routing, and nobody routes them; nothing was changed.
    """
    await _until_routed(log)
    found = await find(log, person)
    if found:
        await _forget(log, found, Placeholders(await log.note_erasure(found.erasure(clock.now_ms()))))
    under_way = await _erase_traces(log, sorted(found.events | found.mentions.keys()))
    emptied = await log.scrub()
    return {**found.counts(), "under_way": under_way, "left_in_wal": not emptied}


async def _forget(log: EventLog, found: Found, names: Placeholders) -> None:
    person = found.person
    for subject in sorted(found.calendar_events | found.calls):
        await _rewrite(log, subject, lambda _seq, body: redacted(body, names))
    for subject in sorted({subject for subject in found.mentions.values() if subject is not None}):
        await _rewrite(log, subject, lambda seq, body: _less(seq, body, found))
    for seq in sorted(found.loose):
        await _rewrite_loose(log, seq, lambda body: redacted(body, names))
    for seq in sorted(seq for seq, subject in found.mentions.items() if subject is None):
        await _rewrite_loose(log, seq, lambda body: without_mentions(body, person))
    for number in found.quarantined:
        await log.erase_refused(number)
    for item in found.stored:
        await log.rewrite_stored(item, _without(item, person))


async def _until_routed(log: EventLog) -> None:
    """Wait until it is known of every event what it is about."""
    newest = await log.page(Selection(limit=1))
    for _ in range(round(ROUTING_SECONDS / POLL_SECONDS)):
        waiting = await log.unrouted(1)
        if not waiting or waiting[0].seq > newest[0].seq:
            return
        await asyncio.sleep(POLL_SECONDS)
    raise NotRoutedError(
        "Events wait for routing, so it is not known yet what they are about. "
        "Start the service, which routes them, and try again. Nothing was changed."
    )


def _less(seq: int, body: JSON, found: Found) -> JSON:
    return without_mentions(body, found.person) if seq in found.mentions else body


async def _rewrite(log: EventLog, subject: int, change: Callable[[int, JSON], JSON]) -> None:
    """Change the bodies of a calendar event or call, and what is known of it to what they say then."""
    for _ in range(MOST_TRIES):
        known = await log.known(subject)
        history = await log.history(subject)
        before = [_read(event.body) for event in history]
        after = [
            body if _is_forgotten(body) else change(event.seq, body)
            for event, body in zip(history, before, strict=True)
        ]
        events = [
            _rewriting(event.seq, event.body, old, new)
            for event, old, new in zip(history, before, after, strict=True)
            if old is not new
        ]
        new_bodies = {event.seq: event.body for event in events}
        history = [replace(event, body=new_bodies.get(event.seq, event.body)) for event in history]
        restated = None if known is None else _restated(subject, known, history)
        if await log.rewrite(events, restated) and len(await log.history(subject)) == len(history):
            return
    raise NotRoutedError("A calendar event changes all the time. Try again.")


def _restated(subject: int, known: StoredState, history: Sequence[HistoryRecord]) -> Restated | None:
    """What follows from the events of a calendar event, made from what is known of it."""
    steps = as_they_came(history)
    states = [(step.record.seq, step.state) for step in steps if step.state is not None]
    if not states:
        return None
    last_seq, state = states[-1]
    return Restated(
        new_state(subject, state, revision=known.revision, last_seq=last_seq),
        tuple((step.record.seq, step.verdict, rows_of(step.changes)) for step in steps),
    )


def _is_forgotten(body: JSON) -> bool:
    return isinstance(body, dict) and body.get(FORGOTTEN) is True


async def _rewrite_loose(log: EventLog, seq: int, change: Callable[[JSON], JSON]) -> None:
    """Change the body of one event that is about nothing else, if it is still there."""
    for _ in range(MOST_TRIES):
        bodies = await log.bodies([seq])
        before = _read(bodies.get(seq, b""))
        if not bodies or _is_forgotten(before):
            return
        if await log.rewrite([_rewriting(seq, bodies[seq], before, change(before))], None):
            return


def _rewriting(seq: int, body: bytes, before: JSON, after: JSON) -> Rewriting:
    return Rewriting(
        seq=seq,
        before=body,
        body=canonical(after),
        title=columns(after).title,
        words_before=words_of(before),
        words_after=words_of(after),
    )


def _without(item: StoredItem, person: Person) -> str | None:
    """What is left of a stored value; nothing if its key is about the person."""
    if person.is_mentioned(item.key):
        return None
    return canonical(without_mentions(_read(item.value.encode()), person)).decode()


async def _erase_traces(log: EventLog, seqs: list[int]) -> int:
    """Erase what runs left, until none of them has the old content any more; how many still have."""
    clock = asyncio.get_running_loop()
    deadline = clock.time() + RUNNING_SECONDS
    while True:
        under_way = sum([await log.erase_traces(seqs[n : n + BATCH]) for n in range(0, len(seqs), BATCH)])
        if not under_way or clock.time() > deadline:
            return under_way
        await asyncio.sleep(POLL_SECONDS)
