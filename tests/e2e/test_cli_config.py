"""`klenhook config`, run as people run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

CANARY = "canary-0123456789-canary"
GOOD = f"""
[sources.klen]
secrets = ["{CANARY}", "env:KLEN_WEBHOOK_SECRET", "file:secret"]
api_key = "{CANARY}"
[ops]
token = "{CANARY}"
[logging]
level = "debug"
[handlers.hello]
timeout = 5
greeting = "{CANARY}"
"""
PLUGIN = """
from receiver import CalendarCreated, Context, Settings, on


class Greeting(Settings):
    greeting: str


@on(CalendarCreated)
async def hello(event: CalendarCreated, ctx: Context[Greeting]) -> None:
    pass
"""


def klenhook(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The command, run in this folder with these variables."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "klenhook"), *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "KLEN_WEBHOOK_SECRET": CANARY, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def write(folder: Path, text: str = GOOD) -> Path:
    """A folder with a configuration and a plugin."""
    (folder / "config.toml").write_text(text)
    (folder / "secret").write_text(CANARY)
    (folder / "plugins").mkdir()
    (folder / "plugins" / "hello.py").write_text(PLUGIN)
    return folder


def test_check_of_a_good_one(tmp_path: Path) -> None:
    """A good configuration is told with its file, its sources and its handlers; status 0."""
    ran = klenhook(write(tmp_path), "config", "check")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"OK: {tmp_path}/config.toml" in ran.stdout
    assert "source klen: POST /webhooks/klen, signature klen, 3 secrets" in ran.stdout
    assert f"plugins: {tmp_path}/plugins\n" in ran.stdout
    assert "handlers: hello" in ran.stdout
    assert CANARY not in ran.stdout


def test_check_of_a_wrong_one(tmp_path: Path) -> None:
    """All mistakes are told at once, without a traceback or a secret; status 2."""
    wrong = (
        GOOD.replace("level", "levl").replace("api_key", "api_kee").replace("timeout = 5", 'timeout = "5"')
    )

    ran = klenhook(write(tmp_path, wrong), "config", "check", KLENHOOK_SERVER__LISTN=CANARY)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"4 mistakes in {tmp_path}/config.toml" in ran.stderr
    assert "logging.levl: unknown key; did you mean logging.level?" in ran.stderr
    assert "sources.klen.api_kee: unknown key; did you mean sources.klen.api_key?" in ran.stderr
    assert 'handlers.hello.timeout: expected a number, found text "5"' in ran.stderr
    assert "KLENHOOK_SERVER__LISTN: unknown variable; did you mean KLENHOOK_SERVER__LISTEN?" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert CANARY not in ran.stderr


def test_check_of_a_handlers_settings(tmp_path: Path) -> None:
    """A handler's own settings are checked, too."""
    ran = klenhook(write(tmp_path, GOOD.replace("greeting", "greting")), "config", "check")

    assert ran.returncode == 2
    assert "handlers.hello.greting: " in ran.stderr
    assert CANARY not in ran.stderr


def test_check_with_a_broken_plugin(tmp_path: Path) -> None:
    """A plugin that cannot be loaded is no mistake of the configuration, but is mentioned."""
    write(tmp_path)
    (tmp_path / "plugins" / "other.py").write_text("import nothing_of_this_name")

    ran = klenhook(tmp_path, "config", "check")

    assert ran.returncode == 0
    assert "klenhook handlers check" in ran.stderr


def test_no_file(tmp_path: Path) -> None:
    """Without a file both commands say how to write one; status 2."""
    for command in ("check", "show"):
        ran = klenhook(tmp_path, "config", command)

        assert ran.returncode == 2
        assert "klenhook init" in ran.stderr


def test_show(tmp_path: Path) -> None:
    """What is in effect is shown as TOML, each key with its origin, secrets hidden."""
    ran = klenhook(write(tmp_path), "config", "show", KLENHOOK_SERVER__MAX_BODY_BYTES="5")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert 'level = "debug"  # file' in ran.stdout
    assert 'format = "console"  # default' in ran.stdout
    assert "max_body_bytes = 5  # KLENHOOK_SERVER__MAX_BODY_BYTES" in ran.stdout
    shown = tomllib.loads(ran.stdout)
    assert shown["sources"]["klen"]["secrets"] == ["********", "env:KLEN_WEBHOOK_SECRET", "file:secret"]
    assert shown["handlers"]["hello"] == {
        "enabled": True,
        "paused": False,
        "timeout": 5,
        "greeting": "********",
    }
    assert CANARY not in ran.stdout


def test_show_json(tmp_path: Path) -> None:
    """With --json it is one object, the same as in TOML."""
    write(tmp_path)

    ran = klenhook(tmp_path, "config", "show", "--json")

    assert tomllib.loads(klenhook(tmp_path, "config", "show").stdout) == json.loads(ran.stdout)
    assert CANARY not in ran.stdout
