"""How much of what came together is parsed at the same time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from receiver import folding, intake
from receiver.intake import Delivery, read_deliveries
from receiver.parts import MOST_BYTES, in_parts
from storage.records import NewEvent, Refused
from tests.support.klen import webhook
from tests.support.logs import START
from tests.unit.test_folding import unrouted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType


ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Item:
    body: bytes


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([1], [[1]]),
        ([700] * 128, [[700] * 128]),
        ([MOST_BYTES, 1, 1], [[MOST_BYTES], [1, 1]]),
        ([MOST_BYTES - 1, 1, 1], [[MOST_BYTES - 1, 1], [1]]),
        ([4 * MOST_BYTES] * 3, [[4 * MOST_BYTES]] * 3),
        ([1, 4 * MOST_BYTES, 1], [[1], [4 * MOST_BYTES], [1]]),
    ],
)
def test_a_part_has_no_more_bytes_than_it_may_unless_it_is_one_body(
    sizes: list[int], expected: list[list[int]]
) -> None:
    """Nothing is left out, and the order is kept."""
    parts = list(in_parts([Item(b"x" * size) for size in sizes]))

    assert [[len(item.body) for item in part] for part in parts] == expected


def watched(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[int]:
    """How many bodies the module reads at the same time, each time."""
    together: list[int] = []
    read = module._read

    def watching(some: Sequence[Any]) -> Any:
        together.append(len(some))
        return read(some)

    monkeypatch.setattr(module, "_read", watching)
    return together


def large(number: int) -> bytes:
    return webhook(title=f"Title {number}", description="x" * MOST_BYTES)


def test_deliveries_of_several_parts_give_the_rows_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that are no JSON among them; and no two large ones are parsed at once."""
    together = watched(monkeypatch, intake)
    bodies = [large(1), b"{", webhook(), large(2), b"NaN"]

    rows = read_deliveries([Delivery("klen", body, START, None) for body in bodies])

    assert [type(row) for row in rows] == [NewEvent, Refused, NewEvent, NewEvent, Refused]
    assert [row.body for row in rows] == bodies
    titles = [row.title for row in rows if isinstance(row, NewEvent)]
    assert (titles[0], titles[2]) == ("Title 1", "Title 2")
    assert max(together) <= 2


def test_a_batch_of_several_parts_is_folded_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a part says is known in the next one, and one state is made of all."""
    together = watched(monkeypatch, folding)
    events = [unrouted(number, large(number)) for number in range(1, 4)]

    batch = folding.fold_batch(events)

    assert together == [1, 1, 1]
    assert [[change.name for change in one.routing.changes] for one in batch.events] == [
        ["created"],
        ["retitled"],
        ["retitled"],
    ]
    assert [(state.last_seq, '"Title 3"' in state.calendar_event) for state in batch.states] == [(3, True)]


HUNGRY = """
import json, resource
from receiver.folding import fold_batch
from receiver.intake import Delivery, read_deliveries
from tests.support.klen import webhook
from tests.unit.test_folding import unrouted

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 if sys.platform == "linux" else 1024)

content = json.loads(webhook()) | {"more": {f"key {n}": [n] for n in range(40_000)}}
bodies = [json.dumps(content | {"number": number}).encode() for number in range(COUNT)]
before = peak()
read_deliveries([Delivery("klen", body, 0, None) for body in bodies])
fold_batch([unrouted(number, body) for number, body in enumerate(bodies, 1)])
print((peak() - before) // 1024)
"""


def test_many_of_the_largest_bodies_take_no_more_memory_than_one() -> None:
    """Bodies of nearly a megabyte, parsed some ten each: not all at the same time."""
    program = HUNGRY.replace("COUNT", "32").replace("import json", "import sys, json")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert int(done.stdout) < 60, done.stdout
