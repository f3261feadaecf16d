"""Libraries in C that are put between a process and the C library (`LD_PRELOAD`), built where they are used.

The rule easiest to break: not every machine can build them, and whoever asks has to say what is missing then.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

NEEDED: Final = "Linux and a C compiler (cc)"


def built(source: Path, folder: Path) -> Path | None:
    """The library of this source file, made in the folder; None where it cannot be made."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = folder / f"{source.stem}.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl", "-lpthread"],
        check=True,
        capture_output=True,
    )
    return library
