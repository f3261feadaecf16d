"""`python -m receiver` is the command `klenhook`, without the working directory's modules in the way."""

from __future__ import annotations

import sys
from pathlib import Path

# Python puts the working directory first; a user's own handlers.py or storage/ must not replace ours.
if not sys.flags.safe_path and Path.cwd() != Path(__file__).resolve().parents[1]:
    sys.path[:] = [entry for entry in sys.path if entry and Path(entry).resolve() != Path.cwd()]

from receiver.cli import main

if __name__ == "__main__":
    main()
