"""A disk that fails under the running service: it refuses and heals, or stops and says why; it never lies."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import sqlite3
import time
import urllib.error
import urllib.request
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.faults.book import BookWriter
from tests.faults.sender import body_of
from tests.faults.shim import FOREVER, Call, File, Shim
from tests.faults.trial import Trial
from tests.support.klen import Answer, post
from tests.support.service import Process, klenhook

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Figure, Size

HEALED_SECONDS = 5.0


class Hand:
    """A sender by hand: one event at a time, and the same book."""

    def __init__(self, trial: Trial) -> None:
        self._port = trial.port
        self._book = BookWriter(trial.folder / "book")
        self._number = 0

    async def send(self) -> Answer | None:
        """Send the next event; None if the connection was lost."""
        self._number += 1
        return await self.send_again()

    async def send_again(self) -> Answer | None:
        """Send the same event once more."""
        number, body = self._number, body_of(self._number, 0)
        await self._book.write(event=number, digest=hashlib.sha256(body).hexdigest())
        try:
            answer = await post(self._port, body, delivery_id=f"delivery-{number}")
        except (OSError, asyncio.IncompleteReadError):
            await self._book.write(event=number, lost=True)
            return None
        if answer.status == 200:
            report = answer.json
            await self._book.write(
                event=number, status=200, event_id=report["event_id"], outcome=report["status"]
            )
        return answer

    async def until_taken(self) -> float:
        """Send the same event until it is acknowledged; the seconds that took."""
        started = time.monotonic()
        while time.monotonic() - started < HEALED_SECONDS:
            answer = await self.send_again()
            if answer is not None and answer.status == 200:
                return time.monotonic() - started
            await asyncio.sleep(0.05)
        raise AssertionError("it did not heal")


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("last", [0, FOREVER], ids=["once", "for ever"])
@pytest.mark.parametrize(
    ("call", "error"),
    [
        (Call.WRITE, errno.ENOSPC),
        (Call.WRITE, errno.EIO),
        pytest.param(Call.WRITE, errno.EROFS, marks=pytest.mark.prove),
        (Call.SYNC, errno.EIO),
    ],
)
async def test_each_call_on_the_way_to_an_answer_may_fail(
    tmp_path: Path, library: Path, size: Size, call: Call, error: int, last: int
) -> None:
    """The answer is 200, or 503 with `Retry-After`; after a failed sync the service stops. Then it goes on."""
    trial = Trial(tmp_path)
    hand = Hand(trial)
    step = size(7 if call is Call.WRITE else 1, 1)
    with Shim(library, trial.log) as shim:
        process = trial.service(env=shim.env)
        try:
            process.wait_ready()
            assert (await hand.send()) is not None
            for first in range(1, 1000, step):
                await asyncio.sleep(0.05)  # the handler of the event before has ended
                shim.fail(call, error, first=first, last=min(first + last, FOREVER))
                answer = await hand.send()
                if call is Call.WRITE:
                    assert answer is not None, "it stopped, and could have gone on"
                failed = shim.failed
                if answer is not None and answer.status != 200:
                    assert (answer.status, "retry-after" in answer.headers) == (503, True)
                if call is Call.SYNC and failed:
                    assert await asyncio.to_thread(process.wait) == 1
                    shim.heal()
                    process = trial.service(env=shim.env)
                    process.wait_ready()
                shim.heal()
                await hand.until_taken()
                if not failed:
                    break
        finally:
            process.kill()
    await asyncio.to_thread(trial.settle)


def refusals(trial: Trial) -> int:
    """How many requests were refused; each of them honestly."""
    refused = [answer for answer in trial.book().answers if answer["status"] != 200]
    assert {(answer["status"], bool(answer["retry_after"])) for answer in refused} <= {(503, True)}
    return len(refused)


def readiness(process: Process) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{process.port}/readyz", timeout=5) as answer:
            return answer.status, json.load(answer)["status"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["status"]


def until(condition: object, seconds: float = HEALED_SECONDS) -> float:
    """Wait until it holds; the seconds that took."""
    assert callable(condition)
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it took too long"
        time.sleep(0.05)
    return time.monotonic() - started


@pytest.mark.timeout(300)
def test_a_full_disk_refuses_and_heals_by_itself(tmp_path: Path, library: Path, figure: Figure) -> None:
    """Senders are refused, readers are answered, and when there is space again it goes on, without a restart."""
    trial = Trial(tmp_path)
    with Shim(library, trial.log) as shim, trial.service(env=shim.env) as process:
        process.wait_ready()
        with trial.sending("book", "--connections", "4"):
            until(lambda: len(trial.book().acked) > 100)
            shim.fail(Call.WRITE | Call.TRUNCATE, errno.ENOSPC)
            until(lambda: readiness(process) == (503, "unavailable"))
            until(lambda: refusals(trial) > 10)
            assert klenhook(tmp_path, "log", "list", "--limit", "1").stdout
            acked = len(trial.book().acked)
            shim.heal()
            healed = until(lambda: len(trial.book().acked) > acked)
            until(lambda: readiness(process) == (200, "ok"))
        assert process.alive
        assert refusals(trial) > 10
    trial.settle()
    figure(f"goes on after {healed:.1f} s")


@pytest.mark.timeout(300)
def test_a_disk_that_is_full_at_the_start_refuses_and_heals(tmp_path: Path, library: Path) -> None:
    """It starts all the same, refuses, and goes on when there is space again."""
    trial = Trial(tmp_path)
    with trial.sending("book", "--connections", "4"):
        with trial.service() as process:
            until(lambda: len(trial.book().acked) > 50, 30)
            process.kill()
        with Shim(library, trial.log) as shim:
            shim.fail(Call.WRITE | Call.TRUNCATE, errno.ENOSPC)
            with trial.service(env=shim.env) as process:
                until(lambda: refusals(trial) > 10, 30)
                acked = len(trial.book().acked)
                shim.heal()
                until(lambda: len(trial.book().acked) > acked)
    trial.settle()


@pytest.mark.timeout(300)
def test_syncs_that_fail_for_ever_stop_it_each_time(tmp_path: Path, library: Path) -> None:
    """It ends with status 1 and a sentence, at every start anew, and no traceback; nothing acknowledged is lost."""
    trial = Trial(tmp_path)
    with Shim(library, trial.log) as shim, trial.sending("book", "--connections", "4"):
        with trial.service(env=shim.env) as process:
            process.wait_ready()
            time.sleep(0.3)
            shim.fail(Call.SYNC, errno.EIO)
            assert process.wait() == 1
        for _ in range(2):
            with trial.service(env=shim.env) as process:
                assert process.wait() in (1, 2)
        shim.heal()
    output = process.output.read_text()
    assert "Traceback" not in output
    assert "Error: The log failed with SQLITE_IOERR_FSYNC" in output
    trial.check()
    trial.settle()


@pytest.mark.timeout(300)
def test_a_slow_disk_refuses_nobody(tmp_path: Path, library: Path, figure: Figure) -> None:
    """With 10 ms more for each sync, batches grow, and every sender is answered."""
    trial = Trial(tmp_path)
    with Shim(library, trial.log) as shim:
        shim.delay_syncs(0.01)
        with trial.service(env=shim.env) as process:
            process.wait_ready()
            with trial.sending("book", "--connections", "64"):
                time.sleep(2)
    trial.check()
    assert refusals(trial) == 0
    figure(f"{len(trial.book().acked) / 2:,.0f}/s with a sender that syncs, too")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("held", "status"), [(0.5, 200), (4.0, 503)])
async def test_a_foreign_lock_is_waited_for(tmp_path: Path, held: float, status: int) -> None:
    """While another program writes, senders wait as long as they may, and are then refused; reads go on."""
    trial = Trial(tmp_path)
    hand = Hand(trial)
    with trial.service(env={"KLENHOOK_SERVER__STORE_TIMEOUT_SECONDS": "2"}) as process:
        await asyncio.to_thread(process.wait_ready)
        with closing(sqlite3.connect(trial.log, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            asyncio.get_running_loop().call_later(held, other.execute, "ROLLBACK")
            started = time.monotonic()
            answer = await hand.send()
            waited = time.monotonic() - started
            await asyncio.to_thread(klenhook, tmp_path, "log", "list")
            await asyncio.sleep(max(0, held - waited) + 0.1)
        assert answer is not None
        assert answer.status == status
        assert min(held, 2) * 0.9 < waited < min(held, 2) + 2
        await hand.until_taken()
    await asyncio.to_thread(trial.settle)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_that_is_taken_away_stops_it(tmp_path: Path, suffix: str) -> None:
    """It notices before it acknowledges anything more, names the file, and ends with status 1."""
    trial = Trial(tmp_path)
    file = trial.log.with_name(trial.log.name + suffix)
    with trial.sending("book", "--connections", "4"), trial.service() as process:
        process.wait_ready()
        until(lambda: len(trial.book().acked) > 20)
        file.rename(tmp_path / "elsewhere")
        assert process.wait() == 1
        (tmp_path / "elsewhere").rename(file)
    assert f"{file} was moved, replaced or deleted" in process.output.read_text()
    trial.check()
    trial.settle()


@pytest.mark.parametrize("error", [errno.EROFS, errno.EIO])
def test_a_log_that_opens_for_reading_only_is_refused_at_start(
    tmp_path: Path, library: Path, error: int
) -> None:
    """SQLite would go on without the right to write; the service ends with status 2 and changes nothing."""
    trial = Trial(tmp_path)
    klenhook(tmp_path, "db", "migrate")
    before = trial.log.read_bytes()
    with Shim(library, trial.log) as shim:
        shim.fail(Call.OPEN, error, files=(File.MAIN,))
        with trial.service(env=shim.env) as process:
            assert process.wait() == 2
    assert "cannot be written" in process.output.read_text()
    assert before == trial.log.read_bytes()
