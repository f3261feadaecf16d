"""What `deploy/datasette.json` has to say: it is made from `storage/README.md`, where views are documented.

`python -m tests.support.datasette > deploy/datasette.json` makes it anew.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from storage.sqlite.migrations import migrate

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "storage" / "README.md"
FILE = ROOT / "deploy" / "datasette.json"


def views() -> dict[str, tuple[str, dict[str, str]]]:
    """By name of each documented view: what it is, and what each column means."""
    text = README.read_text("utf-8").partition("\n## Views\n")[2].partition("\n## ")[0]
    found = {}
    for section in text.split("\n### ")[1:]:
        name, _, rest = section.partition("\n")
        described = {
            column: _plain(meaning)
            for columns, meaning in re.findall(r"^\| (`.*?`) \| (.*) \|$", rest, re.MULTILINE)
            for column in re.findall(r"`([a-z0-9_]+)`", columns)
        }
        found[name.strip("`")] = (_plain(rest.partition("\n|")[0]), described)
    return found


def recipes() -> dict[str, tuple[str, str]]:
    """By name of each query that the README offers: its title and its SQL."""
    text = README.read_text("utf-8").partition("\n## Queries\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^([A-Z][^\n]*):\n\n```sql\n(.*?)```$", text, re.MULTILINE | re.DOTALL)
    return {_slug(title): (title, sql.strip()) for title, sql in blocks}


def metadata() -> dict[str, Any]:
    """The file."""
    shown = {
        name: {"description": description, "columns": columns}
        for name, (description, columns) in views().items()
    }
    hidden = {name: {"hidden": True} for name in _tables()}
    queries = {name: {"title": title, "sql": sql} for name, (title, sql) in recipes().items()}
    return {
        "title": "klenhook",
        "description": "Webhooks of Klen AI: what came, what it changed, and what became of it. Times are in UTC.",
        "databases": {
            "klenhook": {
                "description": "The log. Its views are public and stable; the tables behind them are hidden.",
                "tables": {**shown, **hidden},
                "queries": queries,
            }
        },
    }


def _tables() -> list[str]:
    """What a new log has besides views."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(sqlite3.connect(f"{folder}/log.db", isolation_level=None)) as new,
    ):
        migrate(new)
        rows = new.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        return [str(row[0]) for row in rows]


def _plain(text: str) -> str:
    return re.sub(r"\[(.*?)\]\(.*?\)", r"\1", " ".join(text.replace("`", "").split()))


def _slug(title: str) -> str:
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-")


if __name__ == "__main__":
    print(json.dumps(metadata(), indent=2, ensure_ascii=False))
