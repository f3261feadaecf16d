"""Millions of inputs that a fuzzer thinks up: each ends in a value, or in the error that is documented."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults.trial import ROOT

if TYPE_CHECKING:
    from tests.faults.conftest import Figure

RUNS = 3_500_000
LONGEST = 1_200
"""Seconds for each target; it stops at whichever comes first."""


@pytest.mark.prove
@pytest.mark.timeout(LONGEST * 2)
@pytest.mark.parametrize("target", ["signing", "json", "intake"])
def test_no_input_surprises(target: str, figure: Figure) -> None:
    """Coverage shows the fuzzer the way; nothing but our own errors comes out."""
    pytest.importorskip("atheris", reason="needs a platform that atheris has wheels for")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.fuzz", target, f"-runs={RUNS}", f"-max_total_time={LONGEST}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    [told] = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
    figure(f"{target}: {int(told.split()[1]):,} runs")
