"""Taking everything of a person out of the log.

A body gives way to what is left of it, and what is known of its calendar event to what the bodies say then.
The rule easiest to break: both change together, one made from the other, and only if nothing has changed
meanwhile.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from receiver.columns import columns
from receiver.errors import ReceiverError
from receiver.folding import new_state, rows_of
from receiver.forget.finding import Found, find, read
from receiver.forget.redact import Placeholders, redacted, without_mentions
from receiver.history import as_they_came
from receiver.jsonbody import JSON, canonical
from receiver.words import FORGOTTEN, words_of
from storage.calendar import Restated
from storage.records import Selection
from storage.removal import Rewriting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from receiver.clock import Clock
    from receiver.forget.person import Person
    from storage.calendar import HistoryRecord, StoredState
    from storage.log import EventLog
    from storage.removal import StoredItem

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
        before = [read(event.body) for event in history]
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
        before = read(bodies.get(seq, b""))
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
    return canonical(without_mentions(read(item.value.encode()), person)).decode()


async def _erase_traces(log: EventLog, seqs: list[int]) -> int:
    """Erase what runs left, until none of them has the old content any more; how many still have."""
    clock = asyncio.get_running_loop()
    deadline = clock.time() + RUNNING_SECONDS
    while True:
        under_way = sum([await log.erase_traces(seqs[n : n + BATCH]) for n in range(0, len(seqs), BATCH)])
        if not under_way or clock.time() > deadline:
            return under_way
        await asyncio.sleep(POLL_SECONDS)
