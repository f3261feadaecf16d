"""Finding events by words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from storage.records import Selection
from storage.work import NewRun
from tests.support.logs import START, new_event, routing

if TYPE_CHECKING:
    from storage.log import EventLog


async def learn(log: EventLog, *texts: str) -> None:
    """Record and route one event with these words for each text."""
    for n, _ in enumerate(texts):
        await log.append(new_event(event_type="calendar.created" if n % 2 else "calendar.updated"))
    events = await log.unrouted(500)
    routings = [
        routing(event, NewRun("hello"))._replace(words=text)
        for event, text in zip(events, texts, strict=True)
    ]
    await log.route(routings, now_ms=START)


async def found(log: EventLog, *groups: tuple[str, ...], **more: Any) -> list[int]:
    """The numbers of what is found; each way of asking agrees."""
    selection = Selection(words=groups, **{"limit": 0} | more)
    seqs = [record.seq for record in await log.page(selection)]
    assert seqs == [record.seq async for record in log.stream(selection)]
    if not selection.limit:
        assert len(seqs) == await log.count(selection)
    return seqs


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([("ada",)], [4, 1]),
        ([("ada",), ("tea",)], [4]),
        ([("bob", "tea")], [4, 3, 2]),
        ([("bob", "tea"), ("ada",)], [4]),
        ([("te*",)], [4, 3, 2]),
        ([("tea",)], [4, 2]),
        ([("te",)], [4, 3, 2]),
        ([("team",)], [3]),
        ([("team", "nothing")], [3]),
        ([("te", "nothing")], []),
        ([("john@a.example",)], [1]),
        ([("john@a",)], [1]),
        ([("#4321",)], [2]),
        ([("#43*",)], [2]),
        ([("jo\u0301",)], []),
        ([("会",), ("議",)], [3]),
        ([("nothing",)], []),
    ],
)
async def test_events_are_found_by_their_words(
    log: EventLog, groups: list[tuple[str, ...]], expected: list[int]
) -> None:
    """An event is found by one word of every group; a lone word nobody has stands for its beginnings."""
    await learn(log, "ada john@a.example", "bob tea 1234 #4321", "bob team 会 議", "ada tea", "")

    assert await found(log, *groups) == expected


@pytest.mark.parametrize(
    "word",
    [
        '"',
        "'",
        "*",
        "-",
        "(",
        "NEAR(",
        "a AND",
        "OR",
        "NOT x",
        "words:",
        "^a",
        "{}",
        'a"*',
        "\\",
        "",
        "?",
        "\0",
        "b c",
    ],
)
async def test_no_word_is_a_mistake(log: EventLog, word: str) -> None:
    """Whatever stands in a word, it is only a word, in which other signs do not count."""
    await learn(log, "ada")

    assert await found(log, (word,)) in ([], [1])
    assert await found(log, ("ada", word)) == [1]


async def test_words_go_together_with_filters_and_pages(log: EventLog) -> None:
    """What is found comes newest first, or behind a number oldest first, and every filter narrows it."""
    await learn(log, *["tea"] * 9)

    assert await found(log, ("tea",), limit=2) == [9, 8]
    assert await found(log, ("tea",), after_seq=3, limit=2) == [4, 5]
    assert await found(log, ("tea",), type_glob="*.created") == [8, 6, 4, 2]
    assert await found(log, ("tea",), handler="nobody") == []


async def test_a_long_find_goes_past_pages(log: EventLog) -> None:
    """A stream gives each of many finds once."""
    for _ in range(3):
        await learn(log, *["tea"] * 400)

    seqs = [record.seq async for record in log.stream(Selection(words=(("tea",),), limit=0))]
    assert seqs == list(range(1_200, 0, -1))
