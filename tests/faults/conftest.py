"""How much of a campaign is run: a short form always, the long one with `--prove`."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.faults import shim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Size(Protocol):
    """Chooses between the short form's number and the long one's."""

    def __call__(self, short: int, long: int) -> int: ...


@pytest.fixture(name="size")
def _size(pytestconfig: pytest.Config) -> Size:
    """`size(50, 1000)`: 50, or 1,000 with `--prove`."""
    prove = pytestconfig.getoption("--prove")
    return lambda short, long: long if prove else short


class Figure(Protocol):
    """Takes a measured figure, for the table and for whoever runs the test with `-s`."""

    def __call__(self, text: str) -> None: ...


@pytest.fixture(name="figure")
def _figure(record_property: Callable[[str, object], None]) -> Figure:
    def note(text: str) -> None:
        print(text)
        record_property("figure", text)

    return note


@pytest.fixture(name="moments")
def _moments(record_property: Callable[[str, object], None]) -> random.Random:
    """Random moments; the seed is shown when a test fails, and can be given as FAULTS_SEED."""
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(2**32))  # noqa: S311 -- moments, not secrets
    record_property("seed", seed)
    print(f"FAULTS_SEED={seed}")
    return random.Random(seed)  # noqa: S311 -- as above


@pytest.fixture(name="library", scope="session")
def _library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preloaded library of `shim.py`."""
    return shim.build(tmp_path_factory.mktemp("shim"))
