"""`klenhook init`: two files that work at once, and nothing of anybody's overwritten."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from receiver.config import Config, load_config
from receiver.plugins import survey_handlers
from tests.support.klen import SECRET
from tests.support.service import klenhook

if TYPE_CHECKING:
    from pathlib import Path

ENVIRON = {"KLEN_WEBHOOK_SECRET": SECRET}


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    found = folder.rglob("*")
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


@pytest.mark.parametrize("arguments", [(), ("my hooks",), ("deep/er/hooks",)], ids=["here", "blank", "deep"])
def test_what_it_writes_works_at_once(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """With the secret set, the configuration is right, changes no default, and the plugin loads."""
    done = klenhook(tmp_path, "init", *arguments)

    config = load_config(tmp_path.joinpath(*arguments) / "config.toml", environ=ENVIRON)
    default = Config.model_validate({"sources": {"klen": {"secrets": [SECRET]}}})
    assert config.model_dump() == default.model_dump()
    loaded, mistakes = survey_handlers(config)
    assert ([handler.name for handler in loaded.handlers], loaded.broken, mistakes) == (["hello"], (), [])
    assert done.stdout == ""


def test_it_says_what_to_type_next(tmp_path: Path) -> None:
    """The commands name the configuration, quoted for the shell; in the same folder they need not."""
    elsewhere = klenhook(tmp_path, "init", "my hooks").stderr
    here = klenhook(tmp_path, "init").stderr

    assert "serve --config 'my hooks/config.toml' &" in elsewhere
    assert "send calendar.created --config 'my hooks/config.toml'" in elsewhere
    assert "--config" not in here
    for text in (elsewhere, here):
        assert "export KLEN_WEBHOOK_SECRET=" in text


def test_the_configuration_is_private(tmp_path: Path) -> None:
    """People put secrets into config.toml, so only its owner can read it, whatever the umask."""
    before = os.umask(0o022)
    try:
        klenhook(tmp_path, "init")
    finally:
        os.umask(before)

    assert (tmp_path / "config.toml").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "plugins" / "hello.py").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "present", [["config.toml"], ["plugins/hello.py"], ["config.toml", "plugins/hello.py"]]
)
def test_it_never_overwrites(tmp_path: Path, present: list[str]) -> None:
    """If one of its files is there, it names it, writes nothing at all, and exits 1."""
    for name in present:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = files(tmp_path)

    done = klenhook(tmp_path, "init", status=1)

    assert before == files(tmp_path)
    assert all(name in done.stderr for name in present)
    assert "nothing was written" in done.stderr.lower()


def test_a_link_to_nowhere_counts_as_present(tmp_path: Path) -> None:
    """A dangling link is the user's too, and is not written through."""
    (tmp_path / "config.toml").symlink_to(tmp_path / "elsewhere.toml")

    klenhook(tmp_path, "init", status=1)

    assert not (tmp_path / "elsewhere.toml").exists()
    assert not (tmp_path / "plugins").exists()


def test_it_takes_back_what_it_began(tmp_path: Path) -> None:
    """When the second file cannot be written, the first is removed, and the message says what is in the way."""
    (tmp_path / "plugins").write_text("a file where a folder should be")

    done = klenhook(tmp_path, "init", status=1)

    assert files(tmp_path) == {"plugins": b"a file where a folder should be"}
    assert "plugins" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_cannot_be_the_folder(tmp_path: Path) -> None:
    """DIR that is a file ends in a message, not a traceback."""
    (tmp_path / "taken").write_text("")

    done = klenhook(tmp_path, "init", "taken", status=1)

    assert "taken" in done.stderr
    assert "Traceback" not in done.stderr
