"""The table in README.md: every fault, the tests that inject it, and how they ended last.

The tests keep it: with `--prove` each row gets its last result, and a test compares rows and tests. The rule
easiest to break: a row is one line, and its tests are the words in code marks that have `::` in them.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

README: Final = Path(__file__).with_name("README.md")
TESTS: Final = README.parents[1]

_named = re.compile(r"`([a-z0-9_/]+\.py::\w+)`")


class Results:
    """A pytest plugin that notes how the tests of the table ended, and writes it there."""

    def __init__(self) -> None:
        self._outcomes: dict[str, str] = {}
        self._figures: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One phase of one test; of its parameters the worst counts."""
        name = report.nodeid.partition("[")[0].removeprefix("tests/")
        if report.when == "call" or report.outcome != "passed":
            ranks = ["passed", "skipped", "failed"]
            self._outcomes[name] = max(self._outcomes.get(name, "passed"), report.outcome, key=ranks.index)
        if report.when == "call":
            figures = [str(value) for key, value in report.user_properties if key == "figure"]
            self._figures.setdefault(name, []).extend(figures)

    def pytest_sessionfinish(self) -> None:
        """Write the results into those rows whose tests all ran: a campaign may be run in parts."""
        lines = README.read_text("utf-8").splitlines()
        README.write_text("".join(f"{self._renewed(line)}\n" for line in lines), "utf-8")

    def _renewed(self, line: str) -> str:
        names = _named.findall(line)
        if not line.startswith("|") or not names or not all(name in self._outcomes for name in names):
            return line
        outcomes = {self._outcomes[name] for name in names}
        verdict = next(word for word in ("failed", "skipped", "passed") if word in outcomes)
        figures = [figure for name in names for figure in self._figures.get(name, [])]
        result = f"{verdict} {time.strftime('%Y-%m-%d', time.gmtime())}"
        kept = line.rstrip(" |").rpartition(" | ")[0] if line.count(" | ") else line
        return f"{kept} | {': '.join([result, '; '.join(figures)]) if figures else result} |"


def named() -> Iterator[str]:
    """Every test that the table names, such as `faults/test_kill.py::test_name`."""
    for line in README.read_text("utf-8").splitlines():
        if line.startswith("|"):
            yield from _named.findall(line)


def written(folder: str) -> Iterator[str]:
    """Every test function in a folder of tests."""
    for file in sorted((TESTS / folder).glob("test_*.py")):
        for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text("utf-8"), re.MULTILINE):
            yield f"{folder}/{file.name}::{name}"


if __name__ == "__main__":  # for `make prove`: the tests that the table names in other folders
    print(*sorted({f"tests/{name}" for name in named() if not name.startswith("faults/")}))
