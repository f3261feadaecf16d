"""Whether a handler can be called again: deliver events, then all of them once more in another order.

The rule easiest to break: a comparison proves something only if every call came to its end, so a failure or
a `Retry` on the way fails it, too.
"""

from __future__ import annotations

import inspect
import json
import random
from typing import TYPE_CHECKING, Any

from receiver.testing.delivery import Delivered, Message, deliver

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from receiver.events import AnyEvent
    from receiver.outbound import Outbound
    from receiver.plugins import Settings


async def deliver_twice_shuffled(
    handler: Callable[..., object],
    events: Sequence[AnyEvent],
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    store: Mapping[str, Any] | None = None,
    http: Outbound | None = None,
    observe: Callable[[], Any] | None = None,
    seed: int = 0,
) -> list[Delivered]:
    """Deliver events in order, then again shuffled, and check that the second pass changed nothing.

    Compared are the handler's store, the messages by their keys, and what `observe` returns: whatever else
    it does that counts, such as a file's text or what a test's server has received and kept. It may be async.

    `seed` chooses the order; the other arguments are as for `deliver`. Returns the first pass's results.

    Raises:
        AssertionError: something differs, or a call did not end as done, discarded or ignored; says what.
    """
    first: list[Delivered] = []
    known = dict(store or {})
    for event in events:
        first.append(await deliver(handler, event, settings=settings, store=known, http=http))
        known = _ended(first[-1], event, "first").store
    sent = {message.key: message for delivered in first for message in delivered.messages}
    seen = await _observed(observe)

    again = _shuffled(events, seed)
    after, resent = known, dict(sent)
    for event in again:
        delivered = await deliver(handler, event, settings=settings, store=after, http=http, attempt=2)
        after = _ended(delivered, event, "second").store
        resent.update({message.key: message for message in delivered.messages})

    differences = [
        *_differences("store", known, after),
        *_differences("message", _by_key(sent), _by_key(resent)),
        *_differences("observed", {"value": seen}, {"value": await _observed(observe)}),
    ]
    if differences:
        order = ", ".join(f"{event.event_type} {event.event_id}" for event in again)
        raise AssertionError(
            "Calling the handler again for the same events changed what it did:\n  "
            + "\n  ".join(differences)
            + f"\nThe second order was {order} (seed={seed})."
        )
    return first


def _shuffled(events: Sequence[AnyEvent], seed: int) -> list[AnyEvent]:
    """Another order, whose last event is not the last one of before: else the newest might win by chance."""
    order = list(range(len(events)))
    random.Random(seed).shuffle(order)  # noqa: S311 -- an order, not a secret
    if order and order[-1] == len(events) - 1:
        order[0], order[-1] = order[-1], order[0]
    return [events[number] for number in order]


def _ended(delivered: Delivered, event: AnyEvent, which: str) -> Delivered:
    if delivered.outcome in ("failed", "retry"):
        raise AssertionError(
            f"In the {which} pass, {event.event_type} {event.event_id} ended as {delivered.outcome}: "
            f"{delivered.error!r}. Nothing can be compared."
        ) from delivered.error
    return delivered


def _by_key(messages: Mapping[str, Message]) -> dict[str, Any]:
    return {
        key: {"url": message.url, "json": message.json, "headers": dict(message.headers)}
        for key, message in messages.items()
    }


async def _observed(observe: Callable[[], Any] | None) -> Any:
    value = observe() if observe else None
    return await value if inspect.isawaitable(value) else value


def _differences(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line for each key whose value is another one."""
    return [
        f"{what} {key}: {_shown(before, key)} became {_shown(after, key)}"
        for key in sorted({*before, *after})
        if (key in before, before.get(key)) != (key in after, after.get(key))
    ]


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], default=repr) if key in values else "nothing"
