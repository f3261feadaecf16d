"""What every test gets: log lines set back to their defaults, and hypothesis profiles."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _default_logs() -> Iterator[None]:
    """A test may configure logging; the next one does not inherit its output."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers, root.level = before[0], before[1]
