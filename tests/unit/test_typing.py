"""What type checkers say about plugin code: both accept the right and refuse the wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
GOOD = ROOT / "tests" / "typing" / "good.py"
BAD = ROOT / "tests" / "typing" / "bad.py"


def mypy_errors(tmp_path: Path) -> dict[str, set[int]]:
    """Lines with errors, by file name."""
    del tmp_path
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--no-pretty",
        str(GOOD),
        str(BAD),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode in {0, 1}, run.stdout + run.stderr
    return _by_file(re.findall(r"(\w+\.py):(\d+): error:", run.stdout))


def basedpyright_errors(tmp_path: Path) -> dict[str, set[int]]:
    """Lines with errors, by file name."""
    project = tmp_path / "pyrightconfig.json"
    settings = {
        "include": [str(GOOD), str(BAD)],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    project.write_text(json.dumps(settings))
    command = [
        sys.executable,
        "-m",
        "basedpyright",
        "-p",
        str(project),
        "--pythonpath",
        sys.executable,
        "--outputjson",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ)
    found = json.loads(run.stdout)["generalDiagnostics"]
    return _by_file(
        [
            (Path(one["file"]).name, one["range"]["start"]["line"] + 1)
            for one in found
            if one["severity"] == "error"
        ]
    )


def _by_file(errors: list[tuple[str, int]] | list[tuple[str, str]]) -> dict[str, set[int]]:
    lines: dict[str, set[int]] = {GOOD.name: set(), BAD.name: set()}
    for name, line in errors:
        lines[name].add(int(line))
    return lines


@pytest.mark.parametrize("errors_of", [mypy_errors, basedpyright_errors])
def test_plugin_code(errors_of: Callable[[Path], dict[str, set[int]]], tmp_path: Path) -> None:
    """Right plugin code has no error, and wrong code has one at each marked line and nowhere else."""
    expected = {
        number for number, line in enumerate(BAD.read_text().splitlines(), 1) if line.endswith("  # error")
    }

    errors = errors_of(tmp_path)

    assert set() == errors[GOOD.name]
    assert expected == errors[BAD.name]
