"""Copies of one delivery at the same moment: one event, whoever comes first."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.faults.trial import Trial
from tests.support.klen import headers, read_answer, request, webhook

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.faults.conftest import Figure, Size

COPIES = 50


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("renewed", [False, True], ids=["same bytes", "renewed timestamps"])
async def test_copies_at_once_are_one_event(
    tmp_path: Path, size: Size, moments: random.Random, figure: Figure, *, renewed: bool
) -> None:
    """Of fifty answers one says `accepted`; all name the same event, and it has fifty deliveries."""
    rounds = size(25, 1_000)
    trial = Trial(tmp_path)
    with trial.service() as process:
        await asyncio.to_thread(process.wait_ready)
        connections = [await asyncio.open_connection("127.0.0.1", trial.port) for _ in range(COPIES)]
        for number in range(rounds):
            for copy, (_, writer) in enumerate(moments.sample(connections, COPIES)):
                second = copy % 7 if renewed else 0
                body = webhook(title=f"n{number}", timestamp=f"2025-05-01T10:15:3{second}.000Z")
                writer.write(request(body, headers(body, delivery_id=f"delivery-{number}")))
            answers = [(await read_answer(reader)).json for reader, _ in connections]
            assert len({answer["event_id"] for answer in answers}) == 1
            assert [answer["status"] for answer in answers].count("accepted") == 1
        for _, writer in connections:
            writer.close()
        assert process.terminate() == 0
    with closing(sqlite3.connect(trial.log)) as log:
        deliveries = [count for (count,) in log.execute("SELECT deliveries FROM events")]
    assert deliveries == [COPIES] * rounds
    figure(f"{rounds:,} times {COPIES} copies")
