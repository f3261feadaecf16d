"""What the commands print is harmless to terminals, line readers and spreadsheets; and helping costs little."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.cli.common import one_line, printable, to_json, write_table
from receiver.cli.db import db
from receiver.cli.log import log
from receiver.cli.log.export import to_cells
from storage.records import EventRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = "\x1b[31mred\x9b1m \u202eabc\n  99  fake\r\u2028 [bold]x[/y] \ud800\0"


def event(**values: Any) -> EventRecord:
    usual: dict[str, Any] = {
        "seq": 1,
        "event_id": "0196a1f2-7c40-7d3e-9a51-5f0e6c2b8d17",
        "source": "klen",
        "event_type": "calendar.created",
        "calendar_event_uuid": None,
        "calendar_event_id": -5,
        "occurred_at": None,
        "received_at": "2025-05-01T10:15:30.000Z",
        "delivery_id": None,
        "verdict": None,
        "changes": [],
        "deliveries": 1,
        "origin": "webhook",
        "runs": {"hello": "done"},
        "title": None,
        "status": None,
        "start_time": None,
        "end_time": None,
    }
    return EventRecord(**usual | values)


@given(st.text(st.characters()))
def test_stored_text_cannot_drive_a_terminal(text: str) -> None:
    """Control characters, direction marks and half surrogates are shown as escapes."""
    assert printable(text).replace("\n", "").isprintable()
    assert one_line(text).isprintable()


def test_harmless_text_is_shown_as_it_is() -> None:
    """Letters of any script, and line breaks, stay."""
    assert printable("Zoë 会議\n[bold] \\") == "Zoë 会議\n[bold] \\"


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers() | st.lists(st.text())))
def test_a_record_is_one_line_of_json(record: dict[str, Any]) -> None:
    """Whatever a record holds, it is one line, printable, and the same when read back."""
    line = to_json(record)

    assert line.isprintable()
    assert [line] == line.splitlines()
    assert record == json.loads(line)


def test_json_shows_letters_of_any_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON has letters as they are where the output can have them, else as escapes."""
    for encoding, expected in (("utf-8", '{"a": "é会"}'), ("ascii", '{"a": "\\u00e9\\u4f1a"}')):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))

        assert expected == to_json({"a": "é会"})


def test_a_cell_is_one_line_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """A table has one line per row; markup, escapes and line breaks in names and cells are shown."""
    write_table(None, [HOSTILE, "b"], [[HOSTILE, [("x", "red"), (HOSTILE, "")]]], elastic=["b"])

    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[31mred\\x9b1m \\u202eabc\\n  99  fake\\x0d\\u2028 [bold]x[/y] \\ud800\\x00" in lines[1]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_a_spreadsheet_runs_no_cell(start: str) -> None:
    """Text that a spreadsheet would run begins with an apostrophe; numbers and other text are as they are."""
    cells = to_cells(event(title=f"{start}1+1", delivery_id=f"{start}x", status="a=b"))

    assert f"'{start}1+1" == cells[14]
    assert f"'{start}x" == cells[8]
    assert cells[15] == "a=b"
    assert cells[5] == -5
    assert [cells[10], cells[13]] == ["[]", '{"hello": "done"}']


def commands(group: click.Group) -> Iterator[click.Command]:
    yield group
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


@pytest.mark.parametrize("command", [*commands(log), *commands(db)], ids=lambda command: command.name)
def test_help_has_an_example(command: click.Command) -> None:
    """Each command's help shows it in use, on lines of its own."""
    text = command.get_help(click.Context(command, info_name=command.name))

    assert re.search(r"^  Example:\n    klenhook (log|db) ", text, re.MULTILINE)
    assert "\\b" not in text


@pytest.mark.parametrize("module", ["receiver.cli.log", "receiver.cli.db"])
def test_help_is_cheap(module: str) -> None:
    """Importing the commands loads nothing heavy."""
    code = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    heavy = {
        "asyncio",
        "pydantic",
        "pydantic_settings",
        "aiohttp",
        "rich",
        "sqlite3",
        "sqlite_utils",
        "structlog",
    }
    assert set() == heavy & set(run.stdout.split())
