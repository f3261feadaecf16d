"""Stories: what may stand in the file, and what is said of a mistake."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from receiver.sandbox.durations import parse_duration
from receiver.sandbox.errors import SandboxError
from receiver.sandbox.scenario import bundled_stories, load_scenario, parse_scenario

if TYPE_CHECKING:
    from pathlib import Path

BOOK = '[[steps]]\nbook = "visit"\ntitle = "Visit"\nstarts_in = "3h"\nminutes = 30\n'


def test_a_story() -> None:
    """Title, faults and steps are read in order; keys of a step are the vendor's, or the two of ours."""
    read = parse_scenario(
        'title = "T"\n[faults]\ndrop = 1\ndelay = "2s"\n' + BOOK + '[[steps]]\nwait = "1h"\n'
    )

    assert (read.title, read.faults.drop, read.faults.delay) == ("T", 1.0, timedelta(seconds=2))
    assert [(step.number, step.verb, step.object) for step in read.steps] == [
        (1, "book", "visit"),
        (2, "wait", "1h"),
    ]
    assert read.steps[0].options == {"title": "Visit", "starts_in": "3h", "minutes": 30}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps = ", "expected TOML"),
        ("", "expected tables \\[\\[steps\\]\\]"),
        ("steps = [1]", "expected tables"),
        ("sted = 1\n" + BOOK, "unknown key 'sted'"),
        ("[faults]\nbroken = 1\n" + BOOK, "faults: expected a table with some of bad_signature, delay"),
        ("[faults]\ndrop = 2\n" + BOOK, "faults: drop: expected a chance from 0 to 1"),
        ('[faults]\ndrop = "x"\n' + BOOK, "faults: "),
        ("[faults]\ndelay = 2\n" + BOOK, "faults: expected a time such as"),
        ("[[steps]]\nwait = '1h'\noutage = '1h'", "step 1: expected exactly one of book, .*, found 2"),
        (BOOK + "[[steps]]\n", "step 2: expected exactly one of"),
        (BOOK + "titel = 'x'", "step 1, book: unknown key 'titel'"),
        ("[[steps]]\nwait = '1h'\nminutes = 1", "step 1, wait: unknown key 'minutes'"),
    ],
)
def test_mistakes(text: str, said: str) -> None:
    """Each mistake is named with its step and what was expected."""
    with pytest.raises(SandboxError, match=said):
        parse_scenario(text)


@pytest.mark.parametrize("name", bundled_stories())
def test_the_stories_that_come_with_it(name: str) -> None:
    """Each of them can be read, and has a title."""
    assert load_scenario(name).title


def test_files(tmp_path: Path) -> None:
    """A file is read by its path; without one, the stories there are are named."""
    (tmp_path / "mine.toml").write_text(BOOK)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")

    assert len(load_scenario(str(tmp_path / "mine.toml")).steps) == 1
    for wrong, said in (
        ("nowhere", "there are nobody-came, rough-day"),
        (str(tmp_path), "cannot be read"),
        (str(tmp_path / "bytes.toml"), "cannot be read"),
    ):
        with pytest.raises(SandboxError, match=said):
            load_scenario(wrong)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("2s", 2),
        ("40m", 2_400),
        ("1h30m", 5_400),
        ("1.5h", 5_400),
        ("3d", 259_200),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """A number with a unit, or several that add up."""
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "2", "s", "2 s", "-2s", "2sec", "1e9s", "٣s", "2s?", None, 2])
def test_no_durations(text: object) -> None:
    """Anything else is refused, and a number without a unit too."""
    with pytest.raises(ValueError, match="expected a time such as"):
        parse_duration(text)
