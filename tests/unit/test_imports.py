"""Who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import receiver
from receiver.cli.serve import BESIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("receiver", "storage", "handlers")
PURE = (
    "errors.py",
    "jsonbody.py",
    "retry.py",
    "signing.py",
    "keys.py",
    "reading.py",
    "shapes.py",
    "columns.py",
    "intake.py",
    "folding.py",
    "parts.py",
    "takers.py",
    "deciding.py",
    "twins.py",
    "words.py",
    "changes.py",
    "state.py",
    "told.py",
    "events",
)
EFFECTS = {"aiohttp", "asyncio", "click", "rich", "socket", "sqlite3", "sqlite_utils", "threading"}

PUBLIC = [
    "AgentChanged",
    "AnyChange",
    "AnyEvent",
    "CalendarCancelled",
    "CalendarCompleted",
    "CalendarCreated",
    "CalendarReminder",
    "CalendarUpdated",
    "CallEnded",
    "CallFailed",
    "CallRecording",
    "CallStarted",
    "CallSummary",
    "CallTranscript",
    "Cancelled",
    "Changed",
    "Completed",
    "ConferenceChanged",
    "Confirmed",
    "Context",
    "CustomerChanged",
    "Discard",
    "KindChanged",
    "KlenError",
    "Moved",
    "NoShow",
    "OtherChanged",
    "Overdue",
    "Rescheduled",
    "Retitled",
    "Retry",
    "RetryPolicy",
    "Settings",
    "StatusChanged",
    "UnknownEvent",
    "on",
]


def imports(file: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every import of a file, at its top or not: the module, and the names taken from it."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def rooms_used(file: Path) -> set[str]:
    return {module.partition(".")[0] for module, _ in imports(file)} & set(ROOMS)


def test_storage_knows_neither_receiver_nor_handlers() -> None:
    """Imports run one way: `storage` imports only itself."""
    assert {file: used for file in files("storage") if (used := rooms_used(file) - {"storage"})} == {}


def test_receiver_has_no_import_of_handlers() -> None:
    """Imports run one way: `receiver` loads handlers by location and never by name."""
    assert [file for file in files("receiver") if "handlers" in rooms_used(file)] == []


def test_handlers_use_the_public_vocabulary() -> None:
    """A built-in handler is written as a user writes one: with names of `receiver.__all__` only."""
    for file in files("handlers"):
        for module, names in imports(file):
            assert not module.startswith("."), f"{file} imports a neighbour"
            assert module.partition(".")[0] not in {"storage", "handlers"}, f"{file} imports {module}"
            if module.partition(".")[0] == "receiver":
                assert module in {"receiver", "receiver.testing"}, f"{file} imports {module}"
                assert module != "receiver" or set(names) <= set(receiver.__all__), f"{file} imports {names}"


def test_the_pure_core_has_no_effects() -> None:
    """The pure modules import no network, no database, no thread and no event loop."""
    core = [file for name in PURE for file in [ROOT / "receiver" / name, *files(f"receiver/{name}")]]
    for file in core:
        if file.is_file():
            used = {module.partition(".")[0] for module, _ in imports(file)}
            assert not used & EFFECTS, f"{file} imports {used & EFFECTS}"


def test_the_vocabulary_is_pinned() -> None:
    """What plugins may import is this list; each name is there, and `dir` shows it."""
    assert sorted(receiver.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(receiver))
    for name in PUBLIC:
        assert getattr(receiver, name).__name__ == name


def test_an_unknown_name_is_an_error() -> None:
    """A name that `receiver` does not have is an AttributeError, so a typo in an import is an ImportError."""
    with pytest.raises(AttributeError, match="module 'receiver' has no attribute 'CalendarCreate'"):
        getattr(receiver, "CalendarCreate")  # noqa: B009 -- a type checker would refuse the plain form


@pytest.mark.parametrize("module", ["receiver", "receiver.errors", "receiver.cli", "receiver.cli.handlers"])
def test_importing_is_cheap(module: str) -> None:
    """Importing the vocabulary or a command loads nothing heavy."""
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    heavy = {"pydantic", "pydantic_settings", "aiohttp", "rich", "sqlite3", "sqlite_utils", "structlog"}
    assert set() == heavy & set(run.stdout.split())


def test_what_reads_bodies_beside_the_log_is_light() -> None:
    """The process that writes the log imports the functions it is given, and with them nothing heavy."""
    names = ", ".join(["storage.sqlite.writing", *BESIDE])
    code = f"import sys, {names}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    heavy = {"asyncio", "aiohttp", "pydantic", "rich", "structlog", "receiver.events"}
    assert set() == heavy & set(run.stdout.split())
