"""The sandbox's state in a file, so that it goes on where it was: for `--db FILE`.

Each change is a row of its own, written when it happens. The rule easiest to break: the file has the keys of
nobody but the sandbox, yet the webhooks' secrets may be a real service's, so only its owner may read it.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter, ValidationError

from receiver.sandbox.appointment import Appointment
from receiver.sandbox.delivery import Delivery
from receiver.sandbox.errors import SandboxError
from receiver.sandbox.webhooks import Webhook

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID: Final = 0x6B6C5342
"""Tells that a SQLite file is a sandbox's."""
TABLE: Final = """
CREATE TABLE IF NOT EXISTS items (kind TEXT, id INTEGER, value TEXT, PRIMARY KEY (kind, id)) WITHOUT ROWID
"""

_adapters: Final[dict[str, TypeAdapter[Any]]] = {
    one.__name__: TypeAdapter(one) for one in (Appointment, Delivery, Webhook)
}
_clock: Final = TypeAdapter(tuple[int, datetime])


@dataclass(frozen=True, slots=True)
class Kept:
    """All that an earlier run left; nothing of a new file."""

    seed: int | None
    now: datetime | None
    appointments: list[Appointment]
    webhooks: list[Webhook]
    deliveries: list[Delivery]


class Archive:
    """A SQLite file, locked as long as it is open."""

    def __init__(self, path: Path) -> None:
        """Open or make it.

        Raises:
            SandboxError: it cannot be used; says why.
        """
        self._path = path
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, timeout=0.5)
        except (OSError, sqlite3.Error) as error:
            raise SandboxError(f"Cannot keep the sandbox in {path}: {error}.") from None
        try:
            self._set_up()
            self.kept = self._read_all()
        except sqlite3.Error as error:
            self.close()
            raise SandboxError(
                f"Cannot keep the sandbox in {path}: {error}. Does another sandbox use it?"
            ) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unlock the file."""
        self._db.close()

    def save(self, item: Appointment | Delivery | Webhook) -> None:
        """Write it, or write over what it was."""
        kind = type(item).__name__
        number = item.number if isinstance(item, Delivery) else item.id
        self._write(kind, number, _adapters[kind].dump_json(item).decode())

    def forget(self, webhook: Webhook) -> None:
        """A webhook was deleted."""
        self._db.execute("DELETE FROM items WHERE kind = 'Webhook' AND id = ?", (webhook.id,))

    def save_clock(self, seed: int, now: datetime) -> None:
        """What cannot be seen from the items."""
        self._write("clock", 0, _clock.dump_json((seed, now)).decode())

    def _set_up(self) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        (mark,) = self._db.execute("PRAGMA application_id").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if mark != APPLICATION_ID and tables:
            raise SandboxError(f"{self._path} belongs to another program. Name another file, or a new one.")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(f"PRAGMA application_id={APPLICATION_ID}")
        self._db.execute(TABLE)

    def _read_all(self) -> Kept:
        try:
            [(seed, now)] = self._read("clock", _clock) or [(None, None)]
            items = {kind: self._read(kind, adapter) for kind, adapter in _adapters.items()}
        except ValidationError:
            raise self._damaged() from None
        deliveries = items["Delivery"]
        if [one.number for one in deliveries] != list(range(1, len(deliveries) + 1)):
            raise self._damaged()
        return Kept(seed, now, items["Appointment"], items["Webhook"], deliveries)

    def _damaged(self) -> SandboxError:
        return SandboxError(f"{self._path} is damaged. Remove it to begin anew.")

    def _read(self, kind: str, adapter: TypeAdapter[Any]) -> list[Any]:
        rows = self._db.execute("SELECT value FROM items WHERE kind = ? ORDER BY id", (kind,))
        return [adapter.validate_json(value) for (value,) in rows]

    def _write(self, kind: str, number: int, value: str) -> None:
        self._db.execute(
            "INSERT INTO items VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (kind, number, value),
        )
