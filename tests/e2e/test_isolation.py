"""Isolated handlers: real plugins in real child processes, and what they cannot do to the service."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from receiver.config import Dispatch
from receiver.isolation import pool
from receiver.isolation.pool import Isolated
from receiver.isolation.process import NICE, Child
from receiver.isolation.reply import Reply
from receiver.isolation.request import call_message
from receiver.plugins.installed import GROUP
from receiver.plugins.search import Search
from storage.work import Claimed, Effects, NewMessage
from tests.support.klen import webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from receiver.isolation.pool import Services
    from receiver.plugins import Handler

HEAD = (
    "import asyncio, ctypes, os, signal, subprocess, sys, threading, time\n"
    "from pathlib import Path\n"
    "from receiver import CalendarCreated, Context, Discard, Retry, Settings, on\n"
    "note = Path(__file__).with_name('note')\n"
)


def handlers(folder: Path, source: str) -> dict[str, Handler]:
    """The handlers of a plugin file, as the service loads them."""
    file = folder / "plugin.py"
    file.write_text(HEAD + source)
    search = Search(Dispatch())
    search.add("plugins", folder, [file])
    assert search.broken == []
    return search.handlers


def handler(folder: Path, body: str, *, options: str = "timeout=10", kind: str = "async def") -> Handler:
    """One handler with this body; it may use `event` and `ctx`."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    source = (
        f"@on(CalendarCreated, {options})\n{kind} it(event: CalendarCreated, ctx: Context) -> None:\n{lines}"
    )
    return handlers(folder, source)["it"]


def run(body: bytes | None = None, *, attempt: int = 1) -> Claimed:
    return Claimed(
        run_id=1,
        handler="it",
        attempt=attempt,
        tries=1,
        seq=1,
        event_id="0190-event",
        source="klen",
        origin="webhook",
        event_type="calendar.created",
        received_at_ms=1_746_094_530_000,
        delivery_id="d-1",
        body=webhook() if body is None else body,
    )


@asynccontextmanager
async def isolated(**options: Any) -> AsyncIterator[Isolated]:
    children = Isolated(**options)
    try:
        yield children
    finally:
        await children.aclose()


async def called(it: Handler, *, services: Services | None = None, **options: Any) -> Reply:
    """How one call ends."""
    async with isolated(**options) as children:
        return await children.call(it, run(), services=services)


async def until(condition: Any, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


EVERYTHING = """
assert sys.stdin.read() == ''
note.write_text(' '.join(map(str, [os.getpid(), event.calendar_event.title, event.delivery_id, ctx.event_id,
    ctx.attempt, ctx.handler, ctx.idempotency_key, event.received_at.isoformat()])))
"""


@pytest.mark.parametrize("kind", ["async def", "def"])
async def test_a_call_happens_in_another_process_with_all_a_handler_gets(tmp_path: Path, kind: str) -> None:
    """Event and context are those of the run; the process is not the service's."""
    assert Reply("done") == await called(handler(tmp_path, EVERYTHING, kind=kind))

    pid, rest = (tmp_path / "note").read_text().split(" ", 1)
    assert int(pid) != os.getpid()
    assert rest == "Client Meeting d-1 0190-event 1 it 0190-event:it 2025-05-01T10:15:30+00:00"


async def test_a_child_lets_the_service_go_first(tmp_path: Path) -> None:
    """It has a lower priority, which counts on Linux within one session only; signals to the service miss it."""
    body = "note.write_text(' '.join(map(str, [os.nice(0), os.getsid(0), os.getpgid(0) == os.getpid()])))"
    await called(handler(tmp_path, body))

    assert (tmp_path / "note").read_text() == f"{min(os.nice(0) + NICE, 19)} {os.getsid(0)} True"


async def test_a_child_is_used_again_and_replaced_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process makes several calls one after the other, up to its number."""
    monkeypatch.setattr(pool, "CALLS", 3)
    it = handler(tmp_path, "with note.open('a') as file: print(os.getpid(), file=file)")
    async with isolated() as children:
        for _ in range(4):
            assert Reply("done") == await children.call(it, run())
        pids = (tmp_path / "note").read_text().split()

    assert pids[0] == pids[1] == pids[2] != pids[3]


async def test_calls_at_the_same_time_have_processes_of_their_own(tmp_path: Path) -> None:
    """A child makes one call at a time."""
    it = handler(tmp_path, "with note.open('a') as file: print(os.getpid(), file=file)\ntime.sleep(0.5)")
    async with isolated() as children:
        replies = await asyncio.gather(children.call(it, run()), children.call(it, run()))

    assert set(replies) == {Reply("done")}
    assert len(set((tmp_path / "note").read_text().split())) == 2


async def test_an_idle_child_leaves_with_its_exit_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without calls it ends by itself, and what it kept for the end happens."""
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.1)
    it = handler(tmp_path, "import atexit\natexit.register(note.write_text, 'left')")
    async with isolated() as children:
        await children.call(it, run())
        await until(lambda: not children._children)

    assert (tmp_path / "note").read_text() == "left"


async def test_children_of_old_code_make_no_further_call(tmp_path: Path) -> None:
    """After `renew`, and for a handler loaded from a changed file, a new process is started."""
    it = handler(tmp_path, "with note.open('a') as file: print(os.getpid(), 'old', file=file)")
    async with isolated() as children:
        await children.call(it, run())
        children.renew()
        await children.call(it, run())
        changed = handler(tmp_path, "with note.open('a') as file: print(os.getpid(), 'new', file=file)")
        await children.call(changed, run())

    lines = [line.split() for line in (tmp_path / "note").read_text().splitlines()]
    assert [code for _, code in lines] == ["old", "old", "new"]
    assert len({pid for pid, _ in lines}) == 3


def several(folder: Path, bodies: list[str], *, options: str = "timeout=10") -> list[tuple[str, Handler]]:
    """For each body an async and a plain handler, all in one file, so that one child can make their calls."""
    source = ""
    for number, body in enumerate(bodies):
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        source += f"@on(CalendarCreated, {options})\nasync def a{number}(event):\n{lines}"
        source += f"@on(CalendarCreated, {options})\ndef p{number}(event):\n{lines}"
    found = handlers(folder, source)
    return [(body, found[f"{kind}{number}"]) for number, body in enumerate(bodies) for kind in "ap"]


VERBS = {
    "raise Retry(after=90, reason='not yet')": Reply("retry", "not yet", after=90),
    "raise Retry": Reply("retry"),
    "raise Discard('not ours')": Reply("discard", "not ours"),
    "return 'x' * 10**8": Reply("done"),
    "return lambda: threading.Lock()": Reply("done"),
}


async def test_verbs_and_results(tmp_path: Path) -> None:
    """`Retry` and `Discard` arrive as they were said; a result, however large or odd, is not sent."""
    async with isolated() as children:
        for statement, it in several(tmp_path, list(VERBS)):
            assert VERBS[statement] == await children.call(it, run()), (it.name, statement)


RAISED = {
    "raise ValueError('no good')": "ValueError: no good\nTraceback",
    "sys.exit(3)": "SystemExit: 3",
    "raise KeyboardInterrupt": "KeyboardInterrupt: ",
    "raise GeneratorExit": "GeneratorExit: ",
    "raise StopIteration": "",
    "raise TimeoutError": "TimeoutError: ",
    "raise asyncio.CancelledError": "CancelledError: ",
    "asyncio.current_task().cancel()": "",
    "raise type('Own', (BaseException,), {'lock': threading.Lock()})": "Own: ",
    "raise type('Mute', (Exception,), {'__str__': lambda self: 1 / 0})": "Mute: (its text",
    "raise Discard(type('Mute', (), {'__str__': lambda self: 1 / 0})())": "(its text cannot be shown",
    "(lambda f: f(f))(lambda f: f(f))": "RecursionError: ",
    "raise ValueError('\\ud800' + 'x' * 10**6)": "ValueError: \\ud800xxx",
}


async def test_whatever_is_raised_is_told(tmp_path: Path) -> None:
    """It is a failed call, with its type, text and traceback; the child stays of use."""
    async with isolated() as children:
        for statement, it in several(tmp_path, list(RAISED)):
            reply = await children.call(it, run())
            assert reply.ending in ("failed", "discard"), (it.name, statement, reply)
            assert reply.text is not None
            assert reply.text.startswith(RAISED[statement])
            assert len(reply.text) <= 4_001
            reply.text.encode()
        assert len(children._children) == 1


ENDS = {
    "os._exit(3)": "exit status 3",
    "os._exit(0)": "exit status 0",
    "signal.raise_signal(signal.SIGSEGV)": "killed by SIGSEGV",
    "ctypes.string_at(0)": "killed by SIGSEGV",
    "os.abort()": "killed by SIGABRT",
    "os.kill(os.getpid(), signal.SIGRTMIN)": f"killed by {signal.SIGRTMIN.name}",
    "os.kill(os.getpid(), signal.SIGRTMIN + 1)": f"killed by signal {signal.SIGRTMIN + 1}",
    "os.kill(0, signal.SIGKILL)": "killed by SIGKILL",
    "os.closerange(3, 1000); time.sleep(30)": "killed: it closed its connection to the service",
    "asyncio.create_task(asyncio.to_thread(sys.exit, 5)); await asyncio.sleep(5)": "exit status 5",
    r"os.write(101, b'\0\0\0\2{}'); time.sleep(5)": "killed: it sent a reply that means nothing",
    r"os.write(101, b'\0\0\0\2[]'); time.sleep(5)": "killed: it sent JSON that is no message",
    r"os.write(101, b'\0\0\0\x0e{\"kind\":\"ask\"}'); time.sleep(5)": "killed: it sent a question that means nothing",
    "os.write(101, b'garbage' * 9); time.sleep(5)": "killed: it sent a message of 1734439522 bytes",
    r"os.write(101, b'\0\0\0\4ABCD'); time.sleep(5)": "killed: it sent bytes that are no message",
    "ctypes.CDLL(None).fork() or time.sleep(5); os._exit(4)": "exit status 4",
}


async def test_whatever_ends_the_process_is_told(tmp_path: Path) -> None:
    """The service says how the child ended, and the next call has a new one."""
    source = "".join(
        f"@on(CalendarCreated)\nasync def h{number}(event):\n    {statement}\n"
        for number, statement in enumerate(ENDS)
    )
    found = handlers(tmp_path, source)
    async with isolated() as children:
        for it, (statement, text) in zip(found.values(), ENDS.items(), strict=True):
            reply = await children.call(it, run())
            assert reply.ending == "died", (statement, reply)
            assert reply.text is not None
            assert reply.text.startswith(text), statement


@pytest.mark.parametrize(
    ("kind", "statement"),
    [
        ("async def", "hoard = 'x' * 2**28"),
        ("def", "hoard = []\nwhile True: hoard.append('x' * 1000 + str(len(hoard)))"),
        ("async def", "sys.hoard = []\nwhile True: sys.hoard.append([len(sys.hoard)])"),
        ("async def", "sys.hoard = 'x' * (1000 * 2**20)"),
    ],
)
async def test_memory_is_limited(tmp_path: Path, kind: str, statement: str) -> None:
    """A handler that takes too much is ended and named for it; the service is not touched."""
    reply = await called(handler(tmp_path, statement, kind=kind), memory_bytes=160 * 2**20)

    assert Reply("died", "killed: over its memory limit of 160 MiB") == reply


async def test_what_leaks_is_given_back(tmp_path: Path) -> None:
    """A handler that keeps 10 MB a call goes on working: at the limit its process is replaced."""
    it = handler(tmp_path, "sys.leak = [*getattr(sys, 'leak', []), bytearray(10**7)]", kind="def")
    async with isolated(memory_bytes=200 * 2**20) as children:
        replies = [await children.call(it, run()) for _ in range(30)]

    endings = [reply.ending for reply in replies]
    assert set(endings) == {"done", "died"}, replies
    assert endings.count("died") <= 4


HANGS = [
    "time.sleep(60)",
    "while True: pass",
    "ctypes.PyDLL(None).sleep(60)",
    "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(60)",
    "os.kill(os.getpid(), signal.SIGSTOP); time.sleep(60)",
    "subprocess.run(['sleep', '60'])",
]


async def test_the_time_is_kept(tmp_path: Path) -> None:
    """A handler over its time is killed, whatever it is doing."""
    bodies = [f"with note.open('a') as file: print(os.getpid(), file=file)\n{hang}" for hang in HANGS]
    async with isolated() as children:
        found = several(tmp_path, bodies, options="timeout=0.2")
        for _, it in found[::4] + found[3::4]:
            with pytest.raises(TimeoutError):
                await children.call(it, run())
    pids = (tmp_path / "note").read_text().split()

    assert len(set(pids)) == len(HANGS)
    assert not any(is_running(int(pid)) for pid in pids)


async def test_starting_and_loading_is_not_the_handlers_time(tmp_path: Path) -> None:
    """A short timeout holds for the call, not for the process and the plugin's imports."""
    it = handlers(tmp_path, "time.sleep(0.3)\n@on(CalendarCreated, timeout=0.2)\ndef it(event): pass\n")["it"]

    assert Reply("done") == await called(it)


async def test_a_cancelled_call_is_killed(tmp_path: Path) -> None:
    """Whoever gives up on a call ends its process, too."""
    it = handler(tmp_path, "note.write_text(str(os.getpid()))\ntime.sleep(60)")
    async with isolated() as children:
        call = asyncio.create_task(children.call(it, run()))
        await until(lambda: (tmp_path / "note").exists() and (tmp_path / "note").read_text())
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        pid = int((tmp_path / "note").read_text())
        await until(lambda: not is_running(pid), 2)


GRANDCHILD = "child = subprocess.Popen(['sleep', '60'])\nnote.write_text(str(child.pid))\n"


@pytest.mark.parametrize(
    "statement", ["time.sleep(60)", "os._exit(0)", "signal.raise_signal(signal.SIGSEGV)", "pass"]
)
async def test_what_a_handler_started_ends_with_its_process(tmp_path: Path, statement: str) -> None:
    """Processes that a handler leaves behind are killed, at a timeout, a crash and the end."""
    async with isolated() as children:
        with suppress(TimeoutError):
            await children.call(handler(tmp_path, GRANDCHILD + statement, options="timeout=3"), run())
    pid = int((tmp_path / "note").read_text())
    await until(lambda: not is_running(pid), 2)


COPIES = {
    "pass": "0",
    "raise ValueError": "1",
    "sys.exit(7)": "1",
    "os._exit(7)": "7",
    "subprocess.run(['true'])": "0",
}


async def test_a_forked_copy_is_no_second_handler(tmp_path: Path) -> None:
    """A copy that comes back from the handler ends there; the call has one reply, the original's."""
    bodies = [
        f"pid = os.fork()\nif pid == 0:\n    {end}\nelse:\n    raise Discard(str(os.waitpid(pid, 0)[1] >> 8))"
        for end in COPIES
    ]
    async with isolated() as children:
        for (body, it), status in zip(
            several(tmp_path, bodies), [status for status in COPIES.values() for _ in "ap"], strict=True
        ):
            assert Reply("discard", status) == await children.call(it, run()), (it.name, body)
        assert len(children._children) == 1


async def test_printing_does_not_disturb(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What a handler or its programs print goes to standard error, also from one that is killed."""
    body = "print('one')\nos.write(1, b'two\\n')\nsubprocess.run(['echo', 'three'])\nsys.__stdout__.buffer.write(b'\\0' * 99)\nctx.log.info('logged', n=1)\nprint('four', end='')\nos._exit(0)"
    reply = await called(handler(tmp_path, body))
    output = capfd.readouterr()

    assert reply == Reply("died", "exit status 0")
    assert output.out == ""
    assert all(word in output.err for word in ("one", "two", "three", "four", "logged", "0190-event"))


async def test_secrets_reach_only_the_handler_they_are_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings arrive whole, secrets included; the environment and the command line have none of them."""
    monkeypatch.setenv("KLEN_WEBHOOK_SECRET", "hidden-in-the-environment")
    monkeypatch.setenv("KLENHOOK_OPS__TOKEN", "hidden-in-the-environment")
    source = (
        "from pydantic import SecretStr, field_validator\n"
        "from datetime import timedelta\n"
        "from enum import Enum\n"
        "Colour = Enum('Colour', 'RED')\n"
        "class Own(Settings):\n"
        "    key: SecretStr\n"
        "    wait: timedelta\n"
        "    colour: Colour = Colour.RED\n"
        "    words: frozenset[str] = frozenset()\n"
        "    @field_validator('words', mode='before')\n"
        "    @classmethod\n"
        "    def split(cls, value): return value.split()\n"
        "@on(CalendarCreated)\n"
        "def it(event, ctx: Context[Own]):\n"
        "    assert ctx.settings.key.get_secret_value() == 'tell-nobody'\n"
        "    assert ctx.settings.wait == timedelta(hours=1) and ctx.settings.words == {'a', 'b'}\n"
        "    assert type(ctx.settings) is Own and ctx.settings.colour is Colour.RED and 'PATH' in os.environ\n"
        "    note.write_text(Path('/proc/self/environ').read_text() + Path('/proc/self/cmdline').read_text() + repr(os.environ))\n"
    )
    handlers(tmp_path, source)  # loaded again, as by a reload, its classes belong to another module
    it = handlers(tmp_path, source)["it"]
    settings = it.settings_class.model_validate(
        {"key": SecretStr("tell-nobody"), "wait": "PT1H", "words": "a b"}
    )
    it = replace(it, settings=settings)

    assert Reply("done") == await called(it)
    assert "hidden" not in (tmp_path / "note").read_text()
    assert "tell-nobody" not in (tmp_path / "note").read_text()


async def test_plain_functions_wait_for_what_is_async(tmp_path: Path) -> None:
    """`ctx.wait` works as in the service, and a replayed run says so."""

    async def services(_name: str, _arguments: dict[str, Any]) -> Any:
        return {"value": "41", "version": 7}

    it = handler(tmp_path, "raise Discard(f\"{ctx.wait(ctx.store.get('n'))} {ctx.replayed}\")", kind="def")
    async with isolated() as children:
        assert Reply("discard", "41 False") == await children.call(it, run(), services=services)
        assert Reply("discard", "41 True") == await children.call(
            it, run()._replace(replay_id=1), services=services
        )


INSTALLED = """
from receiver import CalendarCreated, Discard, on
from . import neighbour
def made(word):
    @on(CalendarCreated, name="inner")
    def inner(event): raise Discard(word + neighbour.word)
    return inner
it = made("import")
"""


async def test_an_installed_handler_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its module's name, so that its package is there; under the name of its entry point."""
    package = tmp_path / "klenhook_isolated_example"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "neighbour.py").write_text("word = 'ed'")
    (package / "plugin.py").write_text(INSTALLED)
    monkeypatch.syspath_prepend(tmp_path)
    search = Search(Dispatch())
    search.add_installed("named", [EntryPoint("named", f"{package.name}.plugin:it", GROUP)])

    assert Reply("discard", "imported") == await called(search.handlers["named"])


async def test_no_descriptor_of_the_service_is_inherited(tmp_path: Path) -> None:
    """Not even one that is marked as inheritable, such as a socket or the log."""
    secret = tmp_path / "log.db"
    with secret.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        it = handler(
            tmp_path,
            "note.write_text(repr([os.readlink(f) for f in Path('/proc/self/fd').iterdir() if f.exists()]))",
        )
        assert Reply("done") == await called(it)

    assert "log.db" not in (tmp_path / "note").read_text()


async def test_effects_are_told_with_the_reply(tmp_path: Path) -> None:
    """What a handler stages arrives as it would be staged in the service; reads ask the service."""
    body = (
        "count = await ctx.store.get('count', 0)\n"
        "ctx.store.set('count', count + 1)\n"
        "ctx.store.delete('gone')\n"
        "ctx.outbox.post('https://example.com/hook', json={'é': 1}, headers={'X-A': 'b'})\n"
    )

    async def services(name: str, arguments: dict[str, Any]) -> Any:
        assert (name, arguments) == ("store.get", {"key": "count"})
        return {"value": "41", "version": 7}

    reply = await called(handler(tmp_path, body), services=services)

    message = NewMessage(
        url="https://example.com/hook",
        origin="https://example.com",
        headers='{"X-A": "b"}',
        body=b'{"\\u00e9":1}',
    )
    effects = Effects(reads=(("count", 7),), writes=(("count", "42"), ("gone", None)), messages=(message,))
    assert Reply("done", effects=effects) == reply


async def test_effects_of_a_failed_call_are_not_told(tmp_path: Path) -> None:
    """Only what is done has effects."""
    reply = await called(handler(tmp_path, "ctx.store.set('a', 1)\nraise Retry(after=1)"))

    assert reply.effects is None


async def test_too_large_effects_are_a_failure(tmp_path: Path) -> None:
    """The handler is told, and the child stays of use."""
    reply = await called(handler(tmp_path, "for n in range(20): ctx.store.set(str(n), 'x' * 10**6)"))

    assert reply.ending == "failed"
    assert reply.text is not None
    assert reply.text.startswith("ValueError: what the handler staged is too much")


REMOTE = "from receiver.isolation.channel import RemoteError, remote\n"


async def test_a_handler_can_ask_the_service(tmp_path: Path) -> None:
    """`remote` asks what `services` offers: answers come back as JSON, errors as `RemoteError`."""
    body = REMOTE + (
        "answers = await asyncio.gather(*(remote('double', {'n': n}) for n in range(20)))\n"
        "assert answers == [2 * n for n in range(20)], answers\n"
        "try: await remote('other', {})\n"
        "except RemoteError as error: raise Discard(str(error))\n"
    )

    async def services(name: str, arguments: dict[str, Any]) -> Any:
        if name != "double":
            raise LookupError(name)
        await asyncio.sleep(0.001)
        return arguments["n"] * 2

    reply = await called(handler(tmp_path, body), services=services)

    assert Reply("discard", "LookupError: other") == reply


async def test_without_services_asking_fails(tmp_path: Path) -> None:
    """The handler sees that there is no answer."""
    reply = await called(handler(tmp_path, "await ctx.store.get('a')"))

    assert reply.ending == "failed"
    assert reply.text is not None
    assert reply.text.startswith("RemoteError: LookupError: the service has no answer for 'store.get'")


async def test_what_a_handler_left_running_asks_in_vain(tmp_path: Path) -> None:
    """A background task is not taken for the next call of the same process."""
    body = REMOTE + (
        "async def later():\n"
        "    await asyncio.sleep(0.1)\n"
        "    try: await remote('any', {})\n"
        "    except RemoteError as error: note.write_text(str(error))\n"
        "if not hasattr(sys, 'later'): sys.later = asyncio.create_task(later())\n"
        "else: await sys.later\n"
    )
    asked = []

    async def services(name: str, _arguments: dict[str, Any]) -> Any:
        asked.append(name)

    it = handler(tmp_path, body)
    async with isolated() as children:
        assert Reply("done") == await children.call(it, run(), services=services)
        assert Reply("done") == await children.call(it, run(), services=services)

    assert asked == []
    assert (tmp_path / "note").read_text() == "the handler has returned, so nothing more is done in its name"


async def test_a_plugin_that_does_not_load_in_its_process_is_told(tmp_path: Path) -> None:
    """With the plugin's own error; the usual cause is the environment, of which a child sees little."""
    it = handler(tmp_path, "pass")
    it.file.write_text("import os\nos.environ['NOT_THERE']\n")
    reply = await called(it)

    assert reply.ending == "failed"
    assert reply.text is not None
    assert reply.text.startswith(
        "PluginError: plugin.py does not load in a process of its own: KeyError: 'NOT_THERE'"
    )


@pytest.mark.parametrize(
    ("source", "ending", "text"),
    [
        ("import os\nos._exit(9)", "died", "exit status 9"),
        (
            "raise SystemExit",
            "failed",
            "PluginError: plugin.py does not load in a process of its own: SystemExit",
        ),
        ("hoard = 'x' * 2**40", "died", "killed: over its memory limit of 512 MiB"),
        ("import time\ntime.sleep(60)", "died", "killed: the plugin was not loaded within 1 s"),
        ("", "failed", "PluginError: the file has no handler 'it' any more."),
    ],
)
async def test_loading_is_contained_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, ending: str, text: str
) -> None:
    """Whatever the plugin's file does in the child ends as a reply."""
    if "sleep" in source:
        monkeypatch.setattr(pool, "START_SECONDS", 1.0)
    it = handler(tmp_path, "pass")
    it.file.write_text(source)
    reply = await called(it)

    assert reply.ending == ending
    assert reply.text is not None
    assert reply.text.startswith(text)


async def test_a_body_that_does_not_fit_is_discarded(tmp_path: Path) -> None:
    """As in the service: the function is not called with another kind of event."""
    it = handler(tmp_path, "note.touch()")
    async with isolated() as children:
        reply = await children.call(it, run(b'{"event_type": "calendar.created"}'))
        broken = await children.call(it, run(b"no json"))

    assert Reply("discard", "The body cannot be read as CalendarCreated.") == reply
    assert broken.ending == "failed"
    assert not (tmp_path / "note").exists()


async def test_settings_that_cannot_travel_are_a_failure(tmp_path: Path) -> None:
    """With a sentence that says what can."""
    source = (
        "class Own(Settings):\n    model_config = {'arbitrary_types_allowed': True}\n    lock: object = None\n"
        "@on(CalendarCreated)\ndef it(event, ctx: Context[Own]): pass\n"
    )
    it = handlers(tmp_path, source)["it"]
    it = replace(it, settings=it.settings_class.model_validate({"lock": lambda: None}))
    reply = await called(it)

    assert reply.ending == "failed"
    assert reply.text is not None
    assert "have to be what pickle takes" in reply.text


async def test_a_sigterm_for_all_does_not_break_a_call_off(tmp_path: Path) -> None:
    """A supervisor sends it to each process of a service that stops; handlers may finish."""
    it = handler(tmp_path, "os.kill(os.getpid(), signal.SIGTERM)\nawait asyncio.sleep(0.1)")

    assert Reply("done") == await called(it)


async def test_closing_ends_calls_and_refuses_new_ones(tmp_path: Path) -> None:
    """Nothing is left when the service has stopped."""
    it = handler(tmp_path, "note.touch()\ntime.sleep(60)")
    children = Isolated()
    call = asyncio.create_task(children.call(it, run()))
    await until((tmp_path / "note").exists)
    await children.aclose()

    assert Reply("died", "killed") == await call
    assert Reply("died", "not started: the service stops") == await children.call(it, run())
    assert not children._children


SERVICE = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = {path!r}
from tests.e2e.test_isolation import Isolated, handler, run
async def main():
    children = Isolated()
    await children.call(handler(Path({folder!r}), {body!r}, kind={kind!r}), run())
    Path({folder!r}, "idle").touch()
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("kind", "statement"),
    [("async def", "time.sleep(60)"), ("def", "while True: pass"), ("def", "child.wait()"), ("def", "pass")],
)
async def test_children_end_when_the_service_is_killed(tmp_path: Path, kind: str, statement: str) -> None:
    """Idle ones and those whose handler hangs, with what they have started."""
    body = GRANDCHILD + f"note.with_name('pids').write_text(f'{{os.getpid()}} {{child.pid}}')\n{statement}"
    code = SERVICE.format(path=[str(Path(__file__).parents[2])], folder=str(tmp_path), body=body, kind=kind)
    service = subprocess.Popen([sys.executable, "-c", code])  # noqa: ASYNC220 -- it takes no time to be noticed
    try:
        pids = tmp_path / "pids"
        await until(lambda: pids.exists() and pids.read_text(), 45)
        if statement == "pass":
            await until((tmp_path / "idle").exists)
    finally:
        service.kill()
        service.wait()

    for pid in map(int, pids.read_text().split()):
        await until(lambda pid=pid: not is_running(pid))


async def test_a_hang_without_the_interpreter_ends_by_the_kernels_timer(tmp_path: Path) -> None:
    """If the service does not, or cannot, kill the process, it does not live on for ever."""
    it = handler(tmp_path, "ctypes.PyDLL(None).sleep(60)", options="timeout=0.2")
    async with isolated() as children:
        child = await children._new_child(it)
        assert isinstance(child, Child)
        ending = await children._converse(child, call_message(it, run()), pool._no_services)

    assert ending == (Reply("died", "killed by SIGALRM"), False)
