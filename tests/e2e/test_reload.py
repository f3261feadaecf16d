"""Reloading a running service: all of it or nothing, and no genuine request is refused meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import unused_port

from storage.records import Selection
from tests.support.klen import SECRET, distinct, exchange, post, request, signature, webhook
from tests.support.service import Process, running, write_config, write_plugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from receiver.service import Service

NEW = "the-next-secret-after-rotation"
PLUGIN = """
from receiver import AnyEvent, on

@on(AnyEvent)
async def {name}(event: AnyEvent) -> None:
    print("{word}", flush=True)
"""


class Watching(Process):
    """`klenhook serve --reload` as a process."""

    def __init__(self, folder: Path, *, port: int) -> None:
        self.folder = folder
        self.port = port
        self.output = folder / "serve.log"
        with self.output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "receiver", "serve", "--reload", "--config", "config.toml"],
                cwd=folder,
                stdout=output,
                stderr=output,
            )


def plugin(folder: Path, word: str, name: str = "hello") -> None:
    write_plugin(folder, PLUGIN.format(name=name, word=word), name)


async def ready(service: Service) -> Any:
    return (await exchange(service.port, request(method="GET", path="/readyz"))).json


async def runs(service: Service, handler: str, count: int, state: str = "done") -> None:
    """Wait until so many of the handler's runs are in this state."""
    async with asyncio.timeout(10):
        while True:
            page = await service.log.page(Selection(limit=0))
            if sum(record.runs.get(handler) == state for record in page) == count:
                return
            await asyncio.sleep(0.02)


def until(condition: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, process.output.read_text()
        time.sleep(0.05)


# --- all of it


async def test_plugins_are_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The next run goes to the new code, handlers of new files get events, those of removed files none."""
    plugin(tmp_path, "word-old")
    async with running(tmp_path) as service:
        await post(service.port, distinct())
        await runs(service, "hello", 1)
        plugin(tmp_path, "word-new")
        plugin(tmp_path, "second", "more")
        assert await service.reload() is None
        await post(service.port, distinct())
        await runs(service, "hello", 2)
        await runs(service, "more", 1)
        (tmp_path / "plugins" / "hello.py").unlink()
        assert await service.reload() is None
        await post(service.port, distinct())
        await runs(service, "more", 2)
        await runs(service, "hello", 2)
        assert await ready(service) == {"status": "ok", "log": "ok"}

    said = capsys.readouterr().out.split()
    assert [word for word in said if word.startswith("word-")] == ["word-old", "word-new"]


async def test_a_run_under_way_ends_with_the_old_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that has begun goes on, also when it imports its old neighbour only now."""
    write_plugin(tmp_path, "WORD = 'old-neighbour'", "_shared")
    write_plugin(
        tmp_path,
        "import asyncio\nfrom receiver import AnyEvent, on\nfrom . import _shared\n"
        "@on(AnyEvent)\nasync def slow(event: AnyEvent) -> None:\n"
        "    print('begun', flush=True)\n    await asyncio.sleep(0.6)\n"
        "    from ._shared import WORD\n    print(WORD, flush=True)\n",
        "slow",
    )
    async with running(tmp_path) as service:
        await post(service.port, distinct())
        await runs(service, "slow", 1, "running")
        write_plugin(tmp_path, "WORD = 'new-neighbour'", "_shared")
        assert await service.reload() is None
        await runs(service, "slow", 1)
        await post(service.port, distinct())
        await runs(service, "slow", 2)

    assert re.findall(r"\w+-neighbour", capsys.readouterr().out) == ["old-neighbour", "new-neighbour"]


async def test_waiting_runs_start_when_a_handler_is_paused_no_longer(tmp_path: Path) -> None:
    """Runs of a paused handler wait, and start at once after the reload."""
    plugin(tmp_path, "x")
    async with running(tmp_path, "[handlers.hello]\npaused = true") as service:
        await post(service.port, distinct())
        await runs(service, "hello", 1, "pending")
        write_config(tmp_path, "[handlers.hello]\npaused = false")
        started = time.monotonic()
        assert await service.reload() is None
        await runs(service, "hello", 1)
        assert time.monotonic() - started < 0.9


async def test_a_secret_is_rotated_without_a_refusal(tmp_path: Path) -> None:
    """Under load, from [old] by [new, old] to [new], each genuine request is accepted; then old ones are not."""
    secret, refused, sent = SECRET, [], 0

    async def send(service: Service) -> None:
        nonlocal sent
        while secret:
            answer = await post(service.port, distinct(), secret=secret)
            sent += 1
            if answer.status != 200:
                refused.append(answer)

    async with running(tmp_path) as service:
        config = tmp_path / "config.toml"
        first = config.read_text()
        senders = [asyncio.create_task(send(service)) for _ in range(4)]
        await asyncio.sleep(0.2)
        config.write_text(first.replace(f'["{SECRET}"]', f'["{NEW}", "{SECRET}"]'))
        assert await service.reload() is None
        await asyncio.sleep(0.2)
        secret = NEW
        await asyncio.sleep(0.2)  # what was signed with the old one has been answered
        config.write_text(first.replace(SECRET, NEW))
        assert await service.reload() is None
        await asyncio.sleep(0.2)
        secret = ""
        await asyncio.gather(*senders)
        late = await post(service.port, distinct(), secret=SECRET)

    assert (refused, late.status) == ([], 401)
    assert sent > 20


async def test_a_body_under_way_is_judged_by_the_secret_it_was_sent_under(tmp_path: Path) -> None:
    """A request whose headers came before the reload is accepted with the secret that was valid then."""
    async with running(tmp_path) as service:
        body = distinct()
        data = request(body, {"X-Klen-Signature": signature(body)})
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(data[:-10])
        await asyncio.sleep(0.1)
        config = tmp_path / "config.toml"
        config.write_text(config.read_text().replace(SECRET, NEW))
        assert await service.reload() is None
        writer.write(data[-10:])
        assert (await reader.readline()).split()[1] == b"200"
        writer.close()


async def test_paths_and_limits_change(tmp_path: Path) -> None:
    """A source's path and the body limit are as the new file says, larger and smaller, from the next request on."""
    async with running(tmp_path) as service:
        config = tmp_path / "config.toml"
        text = config.read_text()
        large = webhook(title="x" * 1_100_000)
        assert (await post(service.port, large)).status == 413
        config.write_text(
            text.replace("[server]", "[server]\nmax_body_bytes = 2_000_000").replace(
                "[sources.klen]", '[sources.klen]\npath = "/other"'
            )
        )
        assert await service.reload() is None
        assert (await post(service.port, large)).status == 404
        moved = request(large, {"X-Klen-Signature": signature(large)}, path="/other")
        assert (await exchange(service.port, moved)).status == 200
        config.write_text(text.replace("[server]", "[server]\nmax_body_bytes = 100"))
        assert await service.reload() is None
        assert (await post(service.port, distinct())).status == 413


# --- or nothing

BAD: dict[str, Callable[[Path], Any]] = {
    "syntax": lambda folder: (folder / "config.toml").write_text("[server\n"),
    "empty": lambda folder: (folder / "config.toml").write_text(""),
    "half written": lambda folder: (folder / "config.toml").write_bytes(
        (folder / "config.toml").read_bytes()[:-12]
    ),
    "missing": lambda folder: (folder / "config.toml").unlink(),
    "unknown key": lambda folder: write_config(folder, "[dispatch]\nconcurency = 3"),
    "empty secret": lambda folder: (folder / "config.toml").write_text('[sources.klen]\nsecrets = [""]'),
    "handler's settings": lambda folder: write_config(folder, "[handlers.hello]\nqqqq = 'CANARY'"),
    "handler's name": lambda folder: write_config(folder, "[handlers.helo]"),
    "broken plugin": lambda folder: write_plugin(folder, "x = 1\nraise ValueError('CANARY')", "zz_broken"),
    "exiting plugin": lambda folder: write_plugin(folder, "raise SystemExit", "zz_broken"),
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_mistake_keeps_everything_old(
    tmp_path: Path, bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Code, secrets and settings stay as they were; one line says why; mending it loads all of the new."""
    plugin(tmp_path, "word-old")
    async with running(tmp_path) as service:
        good = (tmp_path / "config.toml").read_text()
        plugin(tmp_path, "word-new")
        (tmp_path / "config.toml").write_text(good.replace(SECRET, NEW))
        BAD[bad](tmp_path)

        refused = await service.reload()

        assert refused is not None
        assert "CANARY" not in str(refused)
        assert (await post(service.port, distinct())).status == 200
        await runs(service, "hello", 1)
        report = await ready(service)
        assert (report["status"], report["reload"]) == ("degraded", "refused")

        (tmp_path / "config.toml").write_text(good.replace(SECRET, NEW))
        (tmp_path / "plugins" / "zz_broken.py").unlink(missing_ok=True)
        assert await service.reload() is None
        assert (await ready(service))["status"] == "ok"
        assert (await post(service.port, distinct())).status == 401
        assert (await post(service.port, distinct(), secret=NEW)).status == 200
        await runs(service, "hello", 2)

    said = capsys.readouterr().out
    assert [word for word in said.split() if word.startswith("word-")] == ["word-old", "word-new"]


async def test_a_broken_plugin_is_named_with_its_line(tmp_path: Path) -> None:
    """The reason and `/readyz` name the file; the reason has the line and the kind of exception, not its text."""
    async with running(tmp_path) as service:
        write_plugin(tmp_path, "x = 1\nraise ValueError('CANARY')", "bad")
        refused = await service.reload()
        report = await ready(service)

    assert str(refused) == f"{tmp_path / 'plugins' / 'bad.py'}, line 2: ValueError"
    assert [one["file"] for one in report["broken_plugins"]] == ["bad.py"]


async def test_a_plugin_that_takes_long_to_load_leaves_intake_alone(tmp_path: Path) -> None:
    """While a plugin is being loaded, deliveries are answered."""
    async with running(tmp_path) as service:
        write_plugin(tmp_path, "import time\ntime.sleep(1.5)\n" + PLUGIN.format(name="x", word="x"), "x")
        reloading = asyncio.create_task(service.reload())
        await asyncio.sleep(0.1)
        started = time.monotonic()
        assert (await post(service.port, distinct())).status == 200
        assert time.monotonic() - started < 1
        assert not reloading.done()
        assert await reloading is None


# --- as a process


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    plugin(tmp_path, "word-one")
    return tmp_path


def test_sighup(folder: Path) -> None:
    """It reloads, again and again; what needs a restart is named; a mistake is one error line without secrets."""
    port = unused_port()
    write_config(folder, port=port)
    with Process(folder, port=port) as process:
        process.wait_ready()
        said = process.output.read_text
        plugin(folder, "word-two")
        config = folder / "config.toml"
        good = config.read_text()
        config.write_text(
            good.replace(str(port), "1")
            + '[storage]\nurl = "sqlite:///other.db"\n[logging]\nlevel = "debug"\n'
        )
        os.kill(process.pid, signal.SIGHUP)
        until(lambda: "reloaded" in said(), process)
        for key in ("server.listen", "storage.url", "logging.level"):
            assert re.search(rf"restart only.*{re.escape(key)}", said())
        asyncio.run(post(port, distinct()))
        until(lambda: "word-two" in said(), process)

        config.write_text(good.replace(SECRET, "CANARY"))
        os.kill(process.pid, signal.SIGHUP)
        until(lambda: "reload refused" in said(), process)
        asyncio.run(post(port, distinct()))
        until(lambda: said().count("word-two") == 2, process)

        config.write_text(good)
        os.kill(process.pid, signal.SIGHUP)
        until(lambda: said().count("reloaded") == 2, process)
        assert process.terminate() == 0

    assert not (folder / "other.db").exists()
    assert "CANARY" not in said()
    assert "Traceback" not in said()
    [line] = [line for line in said().splitlines() if "reload refused" in line]
    assert "sources.klen.secrets" in line


def test_serve_reload_follows_the_files(folder: Path) -> None:
    """A saved plugin or configuration is loaded, editors' files are not, a broken one is explained and mended."""
    port = unused_port()
    write_config(folder, port=port)
    with Watching(folder, port=port) as process:
        process.wait_ready()
        said = process.output.read_text
        plugins = folder / "plugins"
        for name in (".hello.py.swp", "hello.py~", "4913", ".#hello.py"):
            (plugins / name).write_text("1/0")
        (plugins / "__pycache__").mkdir(exist_ok=True)
        (plugins / "__pycache__" / "x.py").write_text("1/0")
        time.sleep(0.5)

        plugin(folder, "word-two")
        until(lambda: "reloaded" in said(), process)
        assert "plugins/hello.py" in said()
        asyncio.run(post(port, distinct()))
        until(lambda: "word-two" in said(), process)

        write_plugin(folder, "x = 1\nnot python (\n", "hello")
        until(lambda: "mend the file" in said(), process)
        assert re.search(r"hello\.py, line 2: SyntaxError", said())
        asyncio.run(post(port, distinct()))
        until(lambda: said().count("word-two") == 2, process)

        saved = plugins / "hello.py.tmp"  # as editors do that replace the file
        saved.write_text(PLUGIN.format(name="hello", word="word-three"))
        saved.replace(plugins / "hello.py")
        until(lambda: said().count("reloaded") == 2, process)
        asyncio.run(post(port, distinct()))
        until(lambda: "word-three" in said(), process)

        write_config(folder, "[handlers.hello]\nenabled = false", port=port)
        until(lambda: said().count("reloaded") == 3, process)
        assert "handlers.hello" in said()
        assert process.terminate() == 0

    assert "swp" not in said()
    assert "__pycache__" not in said()
