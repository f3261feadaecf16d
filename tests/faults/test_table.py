"""The table of faults is true: its tests exist, and no test of a fault is missing from it."""

from __future__ import annotations

import pytest

from tests.faults.table import TESTS, named, written


def test_every_test_in_the_table_exists() -> None:
    """Each name in a row is a test function."""
    there = {name for folder in ("faults", "e2e", "unit", "contract", "fuzz") for name in written(folder)}

    assert set(named()) <= there


def test_every_test_of_a_fault_is_in_the_table() -> None:
    """What is in this folder injects a fault, and the table tells what is expected of it."""
    assert {name for name in written("faults") if "test_table.py" not in name} <= set(named())


@pytest.mark.parametrize("line", (TESTS / "faults" / "README.md").read_text("utf-8").splitlines())
def test_a_row_has_all_its_cells(line: str) -> None:
    """A result is written into the last cell, so none may be missing."""
    if line.startswith("| F"):
        assert line.count(" | ") == 5, line
