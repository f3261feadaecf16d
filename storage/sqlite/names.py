"""Names that repeat in every row, kept as numbers: sources, handlers, sets of headers.

The rule easiest to break: a number given inside a transaction that is rolled back never existed, so the
memory is emptied on every rollback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

MOST_REMEMBERED: Final = 4_096
"""Headers come from outside: what is remembered of them is bounded."""


class Names:
    """Numbers of names, asked from the database once."""

    def __init__(self) -> None:
        self._sources: dict[str, int] = {}
        self._handlers: dict[str, int] = {}
        self._provenances: dict[tuple[str, str], int] = {}

    def forget(self) -> None:
        """Drop what is remembered."""
        self._sources.clear()
        self._handlers.clear()
        self._provenances.clear()

    def source(self, connection: sqlite3.Connection, name: str) -> int:
        """The number of a source, made if it is new."""
        if (number := self._sources.get(name)) is None:
            connection.execute("INSERT INTO source (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            row = connection.execute("SELECT source_id FROM source WHERE name = ?", (name,)).fetchone()
            number = self._sources[name] = int(row[0])
        return number

    def handler(self, connection: sqlite3.Connection, name: str) -> int:
        """The number of a handler, made if it is new."""
        if (number := self._handlers.get(name)) is None:
            connection.execute("INSERT INTO handler (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            row = connection.execute("SELECT handler_id FROM handler WHERE name = ?", (name,)).fetchone()
            number = self._handlers[name] = int(row[0])
        return number

    def provenance(self, connection: sqlite3.Connection, headers: str, fingerprint: str | None) -> int:
        """The number of a set of headers and the secret that came with it, made if it is new."""
        key = (headers, fingerprint or "")
        if (number := self._provenances.get(key)) is None:
            connection.execute(
                "INSERT INTO provenance (headers, secret_fingerprint) VALUES (?, ?) ON CONFLICT DO NOTHING",
                key,
            )
            row = connection.execute(
                "SELECT provenance_id FROM provenance WHERE headers = ? AND secret_fingerprint = ?", key
            ).fetchone()
            if len(self._provenances) >= MOST_REMEMBERED:
                self._provenances.clear()
            number = self._provenances[key] = int(row[0])
        return number
