"""Checking a log: what is damaged is found and named, whatever is damaged, and nothing else is."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from storage import check_log, open_log
from storage.records import Damage
from tests.support.klen import distinct
from tests.support.logs import new_event, new_refused, route_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EVENTS = 120
ALTERED = "the body is not the one that came: its SHA-256 differs"


def fill(folder: Path) -> tuple[Path, Mapping[str, bytes]]:
    """A log of events, short and long, some routed; and their bodies by event id."""
    bodies: dict[str, bytes] = {}

    async def filling() -> None:
        log = await open_log(url(folder / "log.db"))
        for number in range(EVENTS):
            event = new_event(distinct().decode() + " " * (number % 7) * 1_000, f"delivery {number}")
            bodies[(await log.append(event)).event_id] = event.body
        await route_all(log)
        await log.quarantine(new_refused(b"no JSON, and never was"))
        await log.aclose()

    asyncio.run(filling())
    return folder / "log.db", bodies


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 -- repeatable, not secret


def url(file: Path) -> str:
    return f"sqlite:///{file}"


def check(file: Path) -> list[Damage]:
    return list(check_log(url(file)))


def flip(file: Path, offset: int, bit: int) -> None:
    """Turn one bit of the file over."""
    with file.open("r+b") as data:
        data.seek(offset)
        [byte] = data.read(1)
        data.seek(offset)
        data.write(bytes([byte ^ 1 << bit]))


def pages(file: Path, name: str, kind: str = "leaf") -> list[int]:
    """The pages of one kind that a table or an index has, if this SQLite can tell."""
    with closing(sqlite3.connect(file)) as connection:
        try:
            rows = connection.execute(
                "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ?", (name, kind)
            ).fetchall()
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no dbstat")
    return [page for (page,) in rows]


def destroy(file: Path, page: int) -> None:
    """Fill a page with noise."""
    with file.open("r+b") as data:
        data.seek((page - 1) * 4096)
        data.write(chance(page).randbytes(4096))


def test_a_sound_log_has_no_damage(tmp_path: Path) -> None:
    """What was written and closed is what is read."""
    file, _ = fill(tmp_path)

    assert check(file) == []


def test_every_flipped_bit_in_a_body_is_named(tmp_path: Path) -> None:
    """One bit anywhere in a stored body names that event and no other, where SQLite itself finds nothing."""
    file, bodies = fill(tmp_path)
    stored = file.read_bytes()
    randomness = chance(6)
    for _ in range(100):
        event_id, body = randomness.choice(list(bodies.items()))
        part = body[:300]  # a long body goes on in other pages
        offset = stored.index(part) + randomness.randrange(len(part))
        bit = randomness.randrange(8)
        flip(file, offset, bit)
        assert check(file) == [Damage("event", event_id, ALTERED)]
        flip(file, offset, bit)
    assert check(file) == []


def test_quarantine_is_checked_too(tmp_path: Path) -> None:
    """A body in quarantine is named by its number."""
    file, _ = fill(tmp_path)
    flip(file, file.read_bytes().index(b"no JSON, and"), 0)

    assert check(file) == [Damage("quarantine", None, f"quarantine 1: {ALTERED}")]


def test_a_body_that_was_forgotten_on_purpose_is_no_damage(tmp_path: Path) -> None:
    """Its hash stays that of the body which came, and a flag says why it differs."""
    file, bodies = fill(tmp_path)
    one, other = list(bodies)[:2]
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(
            "UPDATE event SET body = x'7b7d', flags = 'odd forgotten' WHERE event_id = ?", (one,)
        )
        connection.execute("UPDATE event SET body = x'7b7d' WHERE event_id = ?", (other,))
        connection.commit()

    assert check(file) == [Damage("event", other, ALTERED)]


@pytest.mark.parametrize("seed", range(12))
def test_destroyed_pages_are_found(tmp_path: Path, seed: int) -> None:
    """Wherever they are, the check gets to its end and names events that are gone, if their names are not, too."""
    file, bodies = fill(tmp_path)
    randomness = chance(seed)
    last = file.stat().st_size // 4096
    for page in randomness.sample(range(2, last + 1), 3):
        destroy(file, page)
    left = file.read_bytes()
    found = check(file)

    assert found
    named = {damage.event_id for damage in found} - {None}
    destroyed = {event_id for event_id, body in bodies.items() if len(body) < 1_000 and body not in left}
    assert named <= bodies.keys()
    assert destroyed <= named or any("index of event ids" in damage.message for damage in found)


def test_events_without_their_index_are_named_all_the_same(tmp_path: Path) -> None:
    """If the index of event ids is destroyed, that is told, and events are checked by their number."""
    file, bodies = fill(tmp_path)
    for page in pages(file, "sqlite_autoindex_event_1"):
        destroy(file, page)
    event_id, body = next(iter(bodies.items()))
    flip(file, file.read_bytes().index(body[:300]), 3)
    found = check(file)

    assert Damage("event", event_id, ALTERED) in found
    assert any("index of event ids" in damage.message for damage in found)


def test_events_without_their_table_are_named_by_the_index(tmp_path: Path) -> None:
    """If pages of the table are destroyed, the index still knows which events were there."""
    file, bodies = fill(tmp_path)
    for page in pages(file, "event"):
        destroy(file, page)

    assert bodies.keys() == {damage.event_id for damage in check(file)} - {None}


def test_rows_of_nothing_are_found(tmp_path: Path) -> None:
    """A run of an event that is not there is damage."""
    file, bodies = fill(tmp_path)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM event WHERE event_id = ?", (list(bodies)[5],))
        connection.commit()

    assert {damage.message for damage in check(file)} >= {
        "1 rows of run belong to rows of event that are not there"
    }


async def test_a_log_in_use_has_no_damage(tmp_path: Path) -> None:
    """While a service writes, nothing is taken for damaged."""
    log = await open_log(url(tmp_path / "log.db"))
    try:
        checking = asyncio.get_running_loop().run_in_executor(
            None, lambda: [check(tmp_path / "log.db") for _ in range(20)]
        )
        while not checking.done():
            await asyncio.gather(*(log.append(new_event()) for _ in range(50)))
            await route_all(log)
        assert await checking == [[]] * 20
    finally:
        await log.aclose()
