"""The workflows: safe by zizmor's rules, and what they call exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ZIZMOR = shutil.which("zizmor", path=str(Path(sys.executable).parent))


@pytest.mark.skipif(ZIZMOR is None, reason="needs zizmor")
def test_nothing_in_the_workflows_is_unsafe() -> None:
    """No action without its commit, no credentials left behind, no input in a script, updates with a cooldown."""
    assert ZIZMOR is not None
    done = subprocess.run(
        [ZIZMOR, "--offline", "--no-progress", str(ROOT / ".github")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_what_a_workflow_makes_can_be_made(workflow: Path) -> None:
    """Each `make` target in it is in the Makefile; each job has a time limit."""
    jobs: dict[str, Any] = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    wanted = {
        target
        for job in jobs.values()
        for step in job["steps"]
        for call in re.findall(r"^make (.*)$", step.get("run", ""), re.MULTILINE)
        for target in call.split()
    }
    makefile = (ROOT / "Makefile").read_text("utf-8")

    assert wanted <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert all(job["timeout-minutes"] <= 30 for job in jobs.values())
