"""The index of words, for `log search`: one row per routed event, numbered as the event.

It keeps for each word which events have it, and nothing else: no copy of the words and no places. So it takes
a tenth of a body and less, gives the newest events of any word without reading the others, and to take an
event out its words must be given again. The rule easiest to break: exactly the words that were put in, or
the index goes wrong without a sound until `klenhook db rebuild` compares it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from storage.sqlite.append import insert

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

CREATE: Final = (
    # By event and not by calendar event, since events are what is asked for, newest first: their numbers
    # are the rows, so a page is the end of a list. Words come ready, so the tokenizer only splits at blanks.
    # The short prefixes make the beginnings that many words share as quick as a word.
    """CREATE VIRTUAL TABLE search USING fts5 (
        words, content = '', columnsize = 0, detail = none, prefix = '2 3 4 5 6',
        tokenize = "ascii tokenchars '@.%+#-_'"
    )""",
)
LEAST_MERGED: Final = 16
EVENTS_TO_A_PAGE: Final = 4
"""Pages of the index that are written again with each change of it: so many, and one for so many events."""

_other = re.compile(r"[^0-9A-Za-z@.%+#_\-\x80-\U0010ffff]")
"""What the tokenizer would split a word at."""
_SEARCH: Final = ("INSERT INTO search (rowid, words) VALUES ", 2, "")


def prepare(connection: sqlite3.Connection) -> None:
    """Leave it to us when parts of the index are merged: by itself it does much at once, up to 0.1 s."""
    found = connection.execute("SELECT v FROM search_config WHERE k = 'automerge'").fetchone()
    if found != (0,):
        connection.execute("INSERT INTO search (search, rank) VALUES ('automerge', 0)")


def learn(connection: sqlite3.Connection, events: Iterable[tuple[int, str]]) -> None:
    """Put the words of events into the index."""
    rows = [(seq, words) for seq, words in events if words]
    insert(connection, _SEARCH, rows)
    _merge(connection, len(rows))


def unlearn(connection: sqlite3.Connection, events: Iterable[tuple[int, str]]) -> None:
    """Take events out of the index, with the words they were put in with.

    In order at best: with each number that is lower than the one before, it begins a new part of itself.
    """
    rows = [(seq, words) for seq, words in events if words]
    connection.executemany("INSERT INTO search (search, rowid, words) VALUES ('delete', ?, ?)", rows)
    _merge(connection, len(rows))


def _merge(connection: sqlite3.Connection, events: int) -> None:
    """Merge parts of the index, as much as so many events make necessary on the average."""
    if events:
        pages = LEAST_MERGED + events // EVENTS_TO_A_PAGE
        connection.execute("INSERT INTO search (search, rank) VALUES ('merge', ?)", (pages,))


def indexed(connection: sqlite3.Connection) -> tuple[int, dict[int, int]]:
    """The last event that is routed, and the marks of the words of those up to it."""
    last = _last_routed(connection)
    # A temporary table is no change of the log, whose file this connection cannot write anyway.
    connection.execute("PRAGMA query_only = OFF")
    connection.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS temp.indexed USING fts5vocab ('main', 'search', 'instance')"
    )
    connection.execute("PRAGMA query_only = ON")
    marks: dict[int, int] = {}
    for word, seq in connection.execute("SELECT term, doc FROM indexed WHERE doc <= ?", (last,)):
        marks[seq] = marks.get(seq, 0) ^ hash(word)
    return last, marks


def empty(connection: sqlite3.Connection, items: list[None]) -> list[int]:
    """Take all words out of the index; the last event that is routed."""
    connection.execute("INSERT INTO search (search) VALUES ('delete-all')")
    return [_last_routed(connection)] * len(items)


def _last_routed(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM routing").fetchone()[0])


def fill(connection: sqlite3.Connection, pages: list[Sequence[tuple[int, str]]]) -> list[None]:
    """Put the words of events into the index."""
    for page in pages:
        learn(connection, page)
    return [None] * len(pages)


def is_body(connection: sqlite3.Connection, seq: int, body: bytes) -> bool:
    """Whether the event still has the body that its words were taken from."""
    row = connection.execute("SELECT 1 FROM event WHERE seq = ? AND body = ?", (seq, body)).fetchone()
    return row is not None


def expression(connection: sqlite3.Connection, groups: Sequence[Sequence[str]]) -> str:
    """What to match, in the index's language. A word alone that no event has stands for its beginnings."""
    return " AND ".join(f"({' OR '.join(_alternatives(connection, group))})" for group in groups)


def _alternatives(connection: sqlite3.Connection, group: Sequence[str]) -> list[str]:
    [word, *others] = group
    if not others and len(word) > 1 and not word.endswith("*") and not _knows(connection, word):
        return [_quoted(f"{word}*")]
    return [_quoted(word) for word in group]


def _knows(connection: sqlite3.Connection, word: str) -> bool:
    question = "SELECT 1 FROM search WHERE search MATCH ? LIMIT 1"
    return connection.execute(question, (_quoted(word),)).fetchone() is not None


def _quoted(word: str) -> str:
    """A word as a string of one token, in which nothing has a meaning but the star at its end."""
    stem = _other.sub("", word.removesuffix("*"))
    return f'"{stem}" *' if word.endswith("*") else f'"{stem}"'
