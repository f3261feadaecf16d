"""A slower disk than the machine has: every sync of the service and of the yardsticks takes longer.

What a sync costs decides most comparisons here, and machines differ in it by a factor of a hundred. The rule
easiest to break: everybody gets the same disk, so what is started inherits it from the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support import preload


def use(folder: Path, milliseconds: float) -> None:
    """Let whatever is started from now on sync so much slower; the library is in `folder`."""
    library = preload.built(Path(__file__).with_suffix(".c"), folder)
    if library is None:
        sys.exit(f"A slower disk needs {preload.NEEDED}.")
    os.environ |= {"LD_PRELOAD": str(library), "SYNC_LONGER_US": str(round(milliseconds * 1000))}
