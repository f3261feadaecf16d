"""What every test gets: log lines set back to their defaults; and the long campaigns, `--prove`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from tests.faults.table import Results

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    """Campaigns are short by default."""
    parser.addoption(
        "--prove",
        action="store_true",
        help="run the long fault campaigns, and write their results into tests/faults/README.md",
    )
    parser.addoption(
        "--results",
        action="store_true",
        help="write the results of the short ones into tests/faults/README.md",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The results of campaigns are kept."""
    if config.getoption("--prove") or config.getoption("--results"):
        config.pluginmanager.register(Results())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without the campaigns, tests that are nothing else are left out."""
    if not config.getoption("--prove"):
        items[:] = [item for item in items if item.get_closest_marker("prove") is None]


@pytest.fixture(autouse=True)
def _default_logs() -> Iterator[None]:
    """A test may configure logging; the next one does not inherit its output."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = before[0], before[1]
