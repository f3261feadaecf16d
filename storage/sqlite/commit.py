"""The group commit: a batch of operations in one transaction, and what becomes of it when the disk says no.

The rule easiest to break: no result may be told before `COMMIT` has returned, nor after it if the files are
no longer ours.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from storage.errors import LogBroken, LogUnavailable
from storage.sqlite.faults import Fault, classify, name_of
from storage.tally import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from storage.sqlite.operations import WritingConnection

BATCH_ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
SYNC_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
"""The bounds of what is counted: a good drive syncs in less than a millisecond, a spinning disk in 16."""
MOST_ROWS: Final = 512
"""A batch's rows. Beyond that little throughput is won and each waiter waits longer."""
PROBE_SECONDS: Final = 1.0
"""How often a log that could not be written is tried again."""
RETRY_SECONDS: Final = 0.05
"""How long a lock of somebody else is left alone, besides what SQLite waits for it."""


class Task(Protocol):
    """One item for an operation."""

    @property
    def operation(self) -> Callable[[Any, list[Any]], list[Any]] | None:
        """None: the item is an action that is done alone, between transactions."""

    @property
    def item(self) -> Any:
        """What the operation gets, in a list with others."""


@dataclass(slots=True)
class State:
    """How the writing goes."""

    healthy: bool = True
    broken: str | None = None
    """Why nothing must be written any more."""
    pulse: int = 0
    """Counts what is tried: a writer that hangs does not."""
    batch_rows: Histogram = field(default_factory=lambda: Histogram(BATCH_ROWS))
    sync_seconds: Histogram = field(default_factory=lambda: Histogram(SYNC_SECONDS))


class Committer:
    """Works off batches, one after the other, in one thread.

    If one item makes an operation fail, each item is run alone, so that a bad one never sinks its neighbours.
    """

    def __init__(self, connection: WritingConnection, path: Path) -> None:
        self._connection = connection
        self._files = (path, path.with_name(path.name + "-wal"))
        self._inodes = _inodes(self._files)
        self.state = State()

    def work_off(self, batch: Sequence[Task], wanted: Callable[[], bool]) -> list[Any]:
        """A result or an exception for each task. A foreign lock is waited for as long as it is `wanted`."""
        if batch[0].operation is None:
            return [self._act(batch[0].item)]
        return self._commit(batch, wanted)

    def _act(self, action: Callable[[Any], Any]) -> Any:
        """Do one action by itself; its result, or an exception."""
        if self.state.broken is not None:
            return LogBroken(self.state.broken)
        try:
            result = action(self._connection)
        except Exception as error:  # noqa: BLE001 -- sorted out by classify; the writer must live on
            fault = classify(error)
            return error if fault is Fault.ROW else self._refuse(error, fault, 1)[0]
        return result if self._files_are_ours() else self._all_broken(1)[0]

    def _commit(self, batch: Sequence[Task], wanted: Callable[[], bool]) -> list[Any]:
        """Run one batch in one transaction; a result or an exception per item."""
        run = self._run_together
        state = self.state
        while state.broken is None:
            state.pulse += 1
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                results = _apply(batch, run)
                began = time.perf_counter()
                self._connection.execute("COMMIT")
                state.sync_seconds.observe(time.perf_counter() - began)
                state.batch_rows.observe(len(batch))
            except Exception as error:  # noqa: BLE001 -- sorted out by classify; the writer must live on
                self._roll_back()
                fault = classify(error)
                if fault is Fault.ROW and run == self._run_together:
                    run = self._run_apart
                    continue
                if fault is Fault.WAIT:
                    state.healthy = False
                    if wanted():
                        time.sleep(RETRY_SECONDS)
                        continue
                return self._refuse(error, fault, len(batch))
            if self._files_are_ours():
                state.healthy = True
                return results
        return self._all_broken(len(batch))

    def _run_together(self, operation: Any, items: list[Any]) -> list[Any]:
        """The usual way: without savepoints, which cost two statements for each operation."""
        results: list[Any] = operation(self._connection, items)
        return results

    def _run_apart(self, operation: Any, items: list[Any]) -> list[Any]:
        """The way after a failure, to find the items at fault: each alone, behind a savepoint."""
        results: list[Any] = []
        for item in items:
            try:
                results += self._guarded(operation, [item])
            except Exception as error:
                if classify(error) is not Fault.ROW:
                    raise
                results.append(error)
        return results

    def _guarded(self, operation: Any, items: list[Any]) -> list[Any]:
        """Run an operation so that its failure leaves nothing behind."""
        self._connection.execute("SAVEPOINT operation")
        try:
            results: list[Any] = operation(self._connection, items)
        except Exception:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO operation")
            self._connection.forget()
            raise
        self._connection.execute("RELEASE operation")
        return results

    def _roll_back(self) -> None:
        self._connection.forget()
        # SQLite rolls back by itself on a full disk; a second ROLLBACK would raise.
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _refuse(self, error: Exception, fault: Fault, count: int) -> list[Any]:
        if fault is Fault.STOP:
            self._break(f"The log failed with {name_of(error)}: {error}")
            return self._all_broken(count)
        self.state.healthy = False
        refusal = LogUnavailable(f"The log cannot be written now ({name_of(error)}: {error}).")
        refusal.__cause__ = error
        return [refusal] * count

    def _break(self, message: str) -> None:
        self.state.healthy = False
        self.state.broken = message

    def _all_broken(self, count: int) -> list[Any]:
        return [LogBroken(self.state.broken)] * count

    def _files_are_ours(self) -> bool:
        """After a commit, before it is acknowledged: what we wrote must be what the next to open it reads."""
        for path, known, found in zip(self._files, self._inodes, _inodes(self._files), strict=True):
            if found != known:
                self._break(f"{path} was moved, replaced or deleted while klenhook was using it.")
                return False
        return True

    def probe(self) -> None:
        """Write one row, to see whether the log can be written again."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("UPDATE probe SET times = times + 1")
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            if classify(error) is Fault.STOP:
                self._break(f"The log failed with {name_of(error)}: {error}")
        else:
            self.state.healthy = self._files_are_ours()


def _apply(batch: Sequence[Task], run: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Hand the items to `run`, those of one operation at once."""
    results: list[Any] = [None] * len(batch)
    groups: dict[Any, list[int]] = {}
    for index, task in enumerate(batch):
        groups.setdefault(task.operation, []).append(index)
    for operation, indexes in groups.items():
        items = [batch[index].item for index in indexes]
        for index, result in zip(indexes, run(operation, items), strict=True):
            results[index] = result
    return results


def _inodes(paths: Iterable[Path]) -> list[tuple[int, int] | None]:
    return [_inode(path) for path in paths]


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 -- on every commit: os.stat is the cheap one
    except OSError:
        return None
    return found.st_dev, found.st_ino
