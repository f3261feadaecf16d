"""What the READMEs say is so: their commands exist, their code loads, and the five-minute walk is walked."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from receiver.cli import cli
from receiver.config import load_config
from receiver.events import EVENT_TYPES
from receiver.plugins import survey_handlers
from tests.support.klen import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    file.relative_to(ROOT)
    for file in [
        *ROOT.glob("*.md"),
        *(
            found
            for room in ("receiver", "storage", "handlers", "tests", "deploy")
            for found in (ROOT / room).rglob("*.md")
        ),
    ]
)
README = (ROOT / "README.md").read_text("utf-8")
WALK = "## Five minutes to your own handler"

ENVIRON = {"KLEN_WEBHOOK_SECRET": SECRET, "CRM_TOKEN": SECRET}
BINARIES = Path(sys.executable).parent
"""Where `klenhook` is, in the environment the tests run in."""


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """A section of the README, up to the next heading of any level."""
    return re.split(r"^##+ ", README.partition(f"{title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def commands(
    group: click.Group = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its path: `("log", "list")`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())
GROUPS = [
    cli,
    *(
        found
        for name in cli.list_commands(click.Context(cli))
        if isinstance(found := cli.get_command(click.Context(cli), name), click.Group)
    ),
]


def mentioned() -> Iterator[tuple[str, str]]:
    """Every `klenhook ...` in a document's bash block, with the document."""
    for document in DOCUMENTS:
        for block in blocks((ROOT / document).read_text("utf-8"), "bash"):
            for line in block.splitlines():
                if line.startswith("klenhook "):
                    yield str(document), line


@pytest.mark.parametrize(("document", "line"), list(mentioned()))
def test_a_command_in_a_document_exists(document: str, line: str) -> None:
    """Each command line in a bash block is one that the program takes, options and all."""
    words = shlex.split(line.removesuffix("&"))[1:]
    path = max((path for path in COMMANDS if tuple(words[: len(path)]) == path), key=len, default=None)
    assert path is not None, f"{document}: no such command"

    command = COMMANDS[path]
    try:
        command.make_context(" ".join(path), list(words[len(path) :]))
    except click.UsageError as error:
        pytest.fail(f"{document}: {line}: {error.format_message()}")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_in_the_readme(path: tuple[str, ...]) -> None:
    """The table of commands has them all."""
    assert f"`klenhook {' '.join(path)}`" in section("## Looking things up")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    """`--help` says what the command does and shows it, on lines of its own."""
    text = COMMANDS[path].get_help(click.Context(COMMANDS[path], info_name=path[-1]))

    assert re.search(rf"^ *(Example: )?klenhook {' '.join(path)}", text, re.MULTILINE), text


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_help_shows_no_marks(group: click.Command) -> None:
    """Click's mark for lines to keep works, so it is not seen: the docstring is not raw."""
    assert "\\b" not in group.get_help(click.Context(group))


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_every_webhook_is_in_the_readme(event_type: str) -> None:
    """The table of events has each with its class."""
    assert f"| `{event_type}` | `{EVENT_TYPES[event_type].__name__}` |" in section("## Events")


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_the_code_in_a_document_runs(document: Path, tmp_path: Path) -> None:
    """Its Python blocks load as plugins, with its TOML blocks as their configuration."""
    text = (ROOT / document).read_text("utf-8")
    for number, block in enumerate(blocks(text, "python")):
        (tmp_path / "plugins").mkdir(exist_ok=True)
        (tmp_path / "plugins" / f"block_{number}.py").write_text(block, "utf-8")
    config = tmp_path / "config.toml"
    config.write_text(
        '[sources.klen]\nsecrets = ["env:KLEN_WEBHOOK_SECRET"]\n' + "".join(blocks(text, "toml")), "utf-8"
    )

    loaded, mistakes = survey_handlers(load_config(config, environ=ENVIRON), environ=ENVIRON)

    assert (loaded.broken, loaded.empty, mistakes) == ((), (), [])
    assert len(blocks(text, "python")) <= len(loaded.handlers)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    """A link to a file of ours leads to one."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / document).read_text("utf-8")):
        assert (ROOT / document).parent.joinpath(target).exists(), f"{document}: {target}"


def test_every_file_of_the_service_is_explained() -> None:
    """receiver/README.md names each file and folder there, and nothing that is not."""
    text = (ROOT / "receiver" / "README.md").read_text("utf-8").partition("## Files")[2].partition("\n## ")[0]
    there = {file.name for file in (ROOT / "receiver").glob("*.py")}
    there |= {f"{file.parent.name}/" for file in (ROOT / "receiver").glob("*/__init__.py")}

    named = {
        name
        for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    }
    assert there == named


def test_the_example_configuration_is_named() -> None:
    """The README sends readers to config.example.toml, which has every key."""
    assert "(config.example.toml)" in section("## Configuration")
    assert tomllib.loads((ROOT / "config.example.toml").read_text("utf-8"))


def test_the_five_minutes(tmp_path: Path) -> None:
    """Typed as it stands in an empty folder, the walk ends with two events and both handlers done."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ready = "until klenhook_is_up; do sleep 0.1; done\n"
    script = (
        "set -e\n"
        f"klenhook_is_up() {{ {shlex.quote(sys.executable)} -c "
        f"\"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}/readyz', timeout=1)\" 2>/dev/null; }}\n"
        "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
        # A reader takes a moment between two blocks: the service is up, and handlers have run.
        + "sleep 0.5\n".join(
            block + ready if block.rstrip().endswith("&") else block
            for block in blocks(section(WALK), "bash")
        )
    )
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("KLENHOOK_", "KLEN_"))}
    environ |= {
        "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}",
        "KLENHOOK_SERVER__LISTEN": f"127.0.0.1:{port}",
    }

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "calendar.created: Client Meeting" in done.stdout
    assert "calendar.cancelled: Client Meeting" in done.stdout
    assert re.search(r"calendar\.cancelled .*sorry done", done.stdout), done.stdout
    assert (tmp_path / "my-hooks" / "klenhook.db").exists()
