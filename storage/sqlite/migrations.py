"""The tables, as numbered migrations. `user_version` is the number of those applied.

Tables are private and named in the singular; the views of `views.py`, in the plural, are what people use.
The rule easiest to break: a migration that was released never changes; add the next one.

Time is stored in milliseconds since 1970, names that repeat (sources, handlers, sets of headers) as numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlite_utils import Database, Migrations

from storage.sqlite.connection import APPLICATION_ID, SCHEMA_VERSION, user_version
from storage.sqlite.search import CREATE as SEARCH
from storage.sqlite.views import VIEWS

if TYPE_CHECKING:
    import sqlite3

migrations = Migrations("klenhook")

FIRST = (
    "CREATE TABLE source (source_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    # How deliveries come: nearly every request of a sender has the same allow-listed headers and secret.
    """CREATE TABLE provenance (
        provenance_id INTEGER PRIMARY KEY,
        headers TEXT NOT NULL,
        secret_fingerprint TEXT NOT NULL,
        UNIQUE (headers, secret_fingerprint)
    ) STRICT""",
    # AUTOINCREMENT: a number is never used again, also not after the newest events were pruned.
    """CREATE TABLE event (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        event_id TEXT NOT NULL UNIQUE,
        source_id INTEGER NOT NULL REFERENCES source,
        origin TEXT NOT NULL,
        received_at INTEGER NOT NULL,
        delivery_id TEXT,
        provenance_id INTEGER NOT NULL REFERENCES provenance,
        event_type TEXT,
        calendar_event_uuid TEXT,
        calendar_event_id INTEGER,
        call_id TEXT,
        occurred_at INTEGER,
        title TEXT,
        status TEXT,
        start_at INTEGER,
        end_at INTEGER,
        flags TEXT,
        body_sha256 BLOB NOT NULL,
        body BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX event_by_time ON event (received_at)",
    "CREATE INDEX event_by_type ON event (event_type)",
    # What makes two deliveries one event: 8 bytes over the content, then 8 over the body or the delivery id.
    # It outlives the body, so that an old delivery stays a duplicate. near: the vendor's number of what the
    # event is about, or 0; it keeps what is written together on few pages.
    """CREATE TABLE identity (
        near INTEGER NOT NULL,
        digest BLOB NOT NULL,
        source_id INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        PRIMARY KEY (near, digest, source_id)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE repeat (
        repeat_id INTEGER PRIMARY KEY,
        seq INTEGER NOT NULL REFERENCES event ON DELETE CASCADE,
        received_at INTEGER NOT NULL,
        delivery_id TEXT,
        provenance_id INTEGER NOT NULL REFERENCES provenance
    ) STRICT""",
    "CREATE INDEX repeat_by_event ON repeat (seq)",
    # What events are about. An event may bring the uuid, the vendor's number, or both.
    """CREATE TABLE subject (
        subject_id INTEGER PRIMARY KEY,
        source_id INTEGER NOT NULL REFERENCES source,
        kind TEXT NOT NULL,
        uuid TEXT,
        number INTEGER
    ) STRICT""",
    "CREATE UNIQUE INDEX subject_by_uuid ON subject (uuid, source_id, kind) WHERE uuid IS NOT NULL",
    "CREATE UNIQUE INDEX subject_by_number ON subject (number, source_id, kind) WHERE number IS NOT NULL",
    # Events without a row here are unrouted. Routing goes in log order: those are the ones past the last row.
    """CREATE TABLE routing (
        seq INTEGER PRIMARY KEY REFERENCES event ON DELETE CASCADE,
        subject_id INTEGER REFERENCES subject,
        verdict TEXT
    ) STRICT""",
    "CREATE INDEX routing_by_subject ON routing (subject_id, seq) WHERE subject_id IS NOT NULL",
    "CREATE TABLE handler (handler_id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    # due_at: when it may be claimed. NULL while it runs, is finished, or an earlier run of the same
    # handler and subject is unfinished; so a claim never looks at runs that cannot be claimed.
    # subject_id: NULL for runs that keep no order. postponed: attempts that spent no try.
    """CREATE TABLE run (
        run_id INTEGER PRIMARY KEY,
        seq INTEGER NOT NULL REFERENCES event ON DELETE CASCADE,
        handler_id INTEGER NOT NULL REFERENCES handler,
        subject_id INTEGER REFERENCES subject,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        postponed INTEGER NOT NULL DEFAULT 0,
        due_at INTEGER,
        owner TEXT
    ) STRICT""",
    "CREATE INDEX run_by_event ON run (seq)",
    "CREATE INDEX run_due ON run (handler_id, due_at) WHERE due_at IS NOT NULL",
    """CREATE INDEX run_in_line ON run (handler_id, subject_id, seq)
        WHERE subject_id IS NOT NULL AND state IN ('pending', 'running', 'retrying')""",
    "CREATE INDEX run_running ON run (owner) WHERE state = 'running'",
    "CREATE INDEX run_by_state ON run (state, handler_id) WHERE state NOT IN ('pending', 'running', 'done')",
    """CREATE TABLE attempt (
        run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
        attempt INTEGER NOT NULL,
        started_at INTEGER,
        finished_at INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        error TEXT,
        PRIMARY KEY (run_id, attempt)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE refused (
        refused_id INTEGER PRIMARY KEY AUTOINCREMENT,
        source_id INTEGER NOT NULL REFERENCES source,
        received_at INTEGER NOT NULL,
        delivery_id TEXT,
        provenance_id INTEGER NOT NULL REFERENCES provenance,
        reason TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'kept',
        body_sha256 BLOB NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (body_sha256, source_id)
    ) STRICT""",
    # One row that is written to see whether the log can be written.
    "CREATE TABLE probe (probe_id INTEGER PRIMARY KEY, times INTEGER NOT NULL) STRICT",
    "INSERT INTO probe VALUES (1, 0)",
)


@migrations(name="0001_first")
def first(db: Database) -> None:
    """Events, their deliveries, runs and attempts; quarantine."""
    for statement in FIRST:
        db.conn.execute(statement)


SECOND = (
    # What a handler keeps. run_id: the run that wrote the value, which is its version.
    """CREATE TABLE store (
        handler_id INTEGER NOT NULL REFERENCES handler,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        run_id INTEGER NOT NULL,
        PRIMARY KEY (handler_id, key)
    ) STRICT, WITHOUT ROWID""",
    # What is to be sent. due_at and owner mean what they mean in run.
    """CREATE TABLE message (
        message_id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
        ordinal INTEGER NOT NULL,
        handler_id INTEGER NOT NULL REFERENCES handler,
        subject_id INTEGER REFERENCES subject,
        url TEXT NOT NULL,
        origin TEXT NOT NULL,
        headers TEXT NOT NULL,
        body BLOB NOT NULL,
        idempotency_key TEXT NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        due_at INTEGER,
        owner TEXT,
        created_at INTEGER NOT NULL,
        finished_at INTEGER,
        status INTEGER,
        error TEXT
    ) STRICT""",
    "CREATE INDEX message_by_run ON message (run_id)",
    "CREATE INDEX message_due ON message (due_at) WHERE due_at IS NOT NULL",
    """CREATE INDEX message_in_line ON message (handler_id, subject_id, message_id)
        WHERE subject_id IS NOT NULL AND state IN ('pending', 'running', 'retrying')""",
    "CREATE INDEX message_running ON message (owner) WHERE state = 'running'",
    # What was asked for again. last_seq: how far it is filled; upto_seq: what came later is not part of it.
    """CREATE TABLE replay (
        replay_id INTEGER PRIMARY KEY AUTOINCREMENT,
        created_at INTEGER NOT NULL,
        filled_at INTEGER,
        selection TEXT NOT NULL,
        target TEXT,
        total INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        upto_seq INTEGER NOT NULL
    ) STRICT""",
    "ALTER TABLE run ADD COLUMN replay_id INTEGER REFERENCES replay",
    "CREATE INDEX run_by_replay ON run (replay_id, state) WHERE replay_id IS NOT NULL",
    "ALTER TABLE attempt ADD COLUMN code_version TEXT",
    # Live runs and replayed ones are claimed apart, so that a long replay never delays news.
    "DROP INDEX run_due",
    "CREATE INDEX run_due ON run (handler_id, replay_id IS NOT NULL, due_at) WHERE due_at IS NOT NULL",
)


@migrations(name="0002_effects_and_replays")
def second(db: Database) -> None:
    """Stores and messages of handlers; replays; the code version of attempts."""
    for statement in SECOND:
        db.conn.execute(statement)


THIRD = (
    # What is known of a calendar event. memory: which events told what, to take in late ones.
    # revision: counts changes of the row, so that none is overwritten unseen.
    """CREATE TABLE state (
        subject_id INTEGER PRIMARY KEY REFERENCES subject,
        revision INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        status TEXT,
        start_at INTEGER,
        end_at INTEGER,
        booked_at INTEGER,
        cancelled_at INTEGER,
        customer TEXT,
        calendar_event TEXT NOT NULL,
        memory TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX state_by_start ON state (start_at)",
    # Who cancelled and booked again.
    "CREATE INDEX state_by_customer ON state (customer, booked_at) WHERE customer IS NOT NULL",
    # What events changed. By name first: that is how people look for changes; place: their order in an event.
    """CREATE TABLE change (
        name TEXT NOT NULL,
        seq INTEGER NOT NULL REFERENCES event ON DELETE CASCADE,
        place INTEGER NOT NULL,
        before TEXT,
        after TEXT,
        reason TEXT,
        PRIMARY KEY (name, seq)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX change_by_event ON change (seq)",
    "CREATE INDEX routing_by_verdict ON routing (verdict) WHERE verdict IS NOT NULL",
    # Filters of lists lead an index each, with the number of the event next: a page is one of its ends.
    "CREATE INDEX run_by_handler ON run (handler_id, seq)",
    "DROP INDEX run_by_state",
    """CREATE INDEX run_by_state ON run (state, seq, handler_id)
        WHERE state NOT IN ('pending', 'running', 'done')""",
    "CREATE INDEX event_by_source ON event (source_id) WHERE source_id > 1",
)


@migrations(name="0003_calendar")
def third(db: Database) -> None:
    """States of calendar events; what events changed; events by verdict."""
    for statement in THIRD:
        db.conn.execute(statement)


FOURTH = (
    *SEARCH,
    # That people were forgotten, and how much that took; nothing of whom.
    """CREATE TABLE erasure (
        erasure_id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        calendar_events INTEGER NOT NULL,
        calls INTEGER NOT NULL,
        events INTEGER NOT NULL,
        mentions INTEGER NOT NULL,
        quarantined INTEGER NOT NULL,
        stored INTEGER NOT NULL
    ) STRICT""",
)


@migrations(name="0004_search_and_erasure")
def fourth(db: Database) -> None:
    """The index of words; who was forgotten when, without the who."""
    for statement in FOURTH:
        db.conn.execute(statement)


FIFTH = (
    # Comparisons with the vendor. cursor: how far one has got, JSON of the service's own.
    """CREATE TABLE reconciliation (
        reconciliation_id INTEGER PRIMARY KEY AUTOINCREMENT,
        source_id INTEGER NOT NULL REFERENCES source,
        started_at INTEGER NOT NULL,
        finished_at INTEGER,
        first_day TEXT NOT NULL,
        last_day TEXT NOT NULL,
        cursor TEXT,
        requests INTEGER NOT NULL DEFAULT 0,
        compared INTEGER NOT NULL DEFAULT 0,
        error TEXT
    ) STRICT""",
    """CREATE TABLE found (
        seq INTEGER PRIMARY KEY REFERENCES event ON DELETE CASCADE,
        reconciliation_id INTEGER NOT NULL REFERENCES reconciliation
    ) STRICT""",
    "CREATE INDEX found_by_reconciliation ON found (reconciliation_id)",
)


@migrations(name="0005_reconciliations")
def fifth(db: Database) -> None:
    """Comparisons with the vendor, and what they found."""
    for statement in FIFTH:
        db.conn.execute(statement)


SEVENTH = (
    # What was due and did not come, so that it is told once.
    """CREATE TABLE overdue (
        subject_id INTEGER NOT NULL REFERENCES subject ON DELETE CASCADE,
        expected TEXT NOT NULL,
        due_at INTEGER NOT NULL,
        PRIMARY KEY (subject_id, expected, due_at)
    ) STRICT, WITHOUT ROWID""",
)


@migrations(name="0007_overdue")
def seventh(db: Database) -> None:
    """What was told to be overdue."""
    for statement in SEVENTH:
        db.conn.execute(statement)


def prepare(connection: sqlite3.Connection) -> None:
    """Mark a new file as ours, before it has any table; the header comes first, whole or not at all."""
    connection.execute("BEGIN")  # not IMMEDIATE: that already writes a header, and auto_vacuum comes too late
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("COMMIT")


def migrate(connection: sqlite3.Connection) -> list[str]:
    """Apply what is missing and make the views anew. The names of the migrations applied.

    A migration and its record are one transaction. The number in the header follows them.
    """
    db = Database(connection, execute_plugins=False)
    applied = [migration.name for migration in migrations.pending(db)]
    if applied:
        migrations.apply(db)
    wanted = {name: f"CREATE VIEW {name} AS {query.strip()}" for name, query in VIEWS.items()}
    found = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'view'").fetchall())
    if wanted != found or user_version(connection) != SCHEMA_VERSION:
        with db.atomic():
            for name in found:
                connection.execute(f'DROP VIEW "{name}"')
            for statement in wanted.values():
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return applied
