"""What can go wrong with the log, as the caller has to react to it.

    StorageError
    ├── LogUnavailable      it cannot be written now; the sender should try again later
    ├── LogBroken           it must not be written any more; stop and let recovery decide
    ├── LogUnusable         it was refused at opening, untouched: foreign, newer, or damaged
    ├── LogLocked           another service holds it
    ├── LogDamaged          it is not what was written; nothing was done with it
    └── QueryError          a question was refused or took too long

The text of the database's own error is kept in ``__cause__``, never alone in front of a user.
"""

from __future__ import annotations


class StorageError(Exception):
    """Base of every error that `storage` raises on purpose."""


class LogUnavailable(StorageError):  # noqa: N818 -- a condition to wait out, not a fault of the program
    """The log cannot be written at the moment: it is locked, full or read-only."""


class LogBroken(StorageError):  # noqa: N818 -- as above: names the state of the log
    """A sync failed, a page is damaged or the file is gone: nothing more may be acknowledged."""


class LogUnusable(StorageError):  # noqa: N818 -- as above
    """The file is no log of ours, is from a newer version, or cannot be read. It was left as it is."""


class LogLocked(StorageError):  # noqa: N818 -- as above
    """Another service has this log open. One log belongs to one service."""


class LogDamaged(StorageError):  # noqa: N818 -- as above
    """A check has found what SQLite or the hashes of bodies say is wrong. It was left as it is."""


class QueryError(StorageError):
    """A query was refused (it wants to write), is wrong, or took longer than it may."""
