"""Writes the corpus of hostile input: `python -m tests.corpus.make`. A test checks that the files are these.

`bodies/` are bodies, to be signed as the vendor signs. `http/` are requests as they go over the wire, signed
where that matters. `outcomes.json` says for each what may come of it: statuses, or `closed` for no answer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from tests.corpus.bodies import bodies
from tests.corpus.wire import requests

CORPUS: Final = Path(__file__).parent


def files() -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Every file by its path in the corpus: what is in it, and what may come of it."""
    found: dict[str, tuple[bytes, tuple[str, ...]]] = {}
    for folder, ending, cases in (("bodies", "json", bodies()), ("http", "http", requests())):
        for name, content, outcomes in cases:
            path = f"{folder}/{name}.{ending}"
            assert path not in found, path
            found[path] = (content, outcomes)
    return found


def main() -> None:
    """Write them all."""
    outcomes = {}
    for path, (content, allowed) in files().items():
        file = CORPUS / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        outcomes[path] = list(allowed)
    text = ",\n".join(f" {json.dumps(path)}: {json.dumps(allowed)}" for path, allowed in outcomes.items())
    (CORPUS / "outcomes.json").write_text(f"{{\n{text}\n}}\n")


if __name__ == "__main__":
    main()
