"""Handlers from hell: whatever one of them does, events are taken in and the other handlers are served."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # its stubs are not installed
import pytest

from tests.faults import ledger
from tests.faults.trial import Trial

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Figure, Size

CONFIG = "[dispatch]\nretry = {tries = 2, base = 0.05, cap = 0.1}\nshutdown_grace_seconds = 1\n"
HEAD = (
    ledger.PLUGIN
    + """
import asyncio, signal, sys, time
hell = dict(where=lambda event: int(event.calendar_event.title[1:]) % 10 == 0, stale="run", concurrency=2)
class Strange(BaseException): pass
class Unprintable(Exception):
    def __str__(self): raise ValueError
def recurse(): recurse()
"""
)
ASYNC = {
    "value_error": "raise ValueError",
    "recursion": "recurse()",
    "memory_error": "raise MemoryError",
    "stop_iteration": "raise StopIteration",
    "generator_exit": "raise GeneratorExit",
    "strange": "raise Strange",
    "unprintable": "raise Unprintable",
    "system_exit": "sys.exit(3)",
    "keyboard_interrupt": "raise KeyboardInterrupt",
    "cancelled": "raise asyncio.CancelledError",
    "cancels_itself": "asyncio.current_task().cancel(); await asyncio.sleep(1)",
    "sleeps": "await asyncio.sleep(10)",
    "blocks_the_loop": "time.sleep(0.05)",
    "leaves_tasks": "asyncio.create_task(asyncio.sleep(3600))",
    "task_that_fails": "asyncio.create_task(recurse_later())",
    "prints_much": "print('x' * 100_000)",
    "returns_much": "return 'x' * 10**7",
    "returns_strange": "return object()",
    "hangs_up": "os.kill(os.getpid(), signal.SIGHUP)",
    "broken_pipe": "os.kill(os.getpid(), signal.SIGPIPE)",
}
"""Bodies of async handlers, by name."""
PLAIN = {
    "plain_exit": "sys.exit(3)",
    "plain_never_ends": "time.sleep(3600)",
    "plain_busy": "until = time.monotonic() + 0.05\n    while time.monotonic() < until: pass",
    "plain_strange": "raise Strange",
}
"""Bodies of plain handlers, which run in threads."""
APART = {
    "apart_exit": "os._exit(3)",
    "apart_crash": "signal.raise_signal(signal.SIGSEGV)",
    "apart_memory": "x = ['x' * 10**7 for _ in range(1000)]",
    "apart_closes_all": "os.closerange(0, 100)",
    "apart_stops": "os.kill(os.getpid(), signal.SIGSTOP)",
}
"""Bodies of handlers in processes of their own."""
MORE = """
async def recurse_later(): recurse()

@on(AnyEvent, timeout=0.2, **hell)
async def swallows_cancellation(event: AnyEvent) -> None:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try: await asyncio.sleep(1)
        except asyncio.CancelledError: pass
"""


def plugin() -> str:
    """All of them, beside the handler that keeps the ledger."""
    handlers = [
        *(
            f"@on(AnyEvent, timeout=0.5, **hell)\nasync def {name}(event):\n    {body}\n"
            for name, body in ASYNC.items()
        ),
        *(
            f"@on(AnyEvent, timeout=0.5, **hell)\ndef {name}(event):\n    {body}\n"
            for name, body in PLAIN.items()
        ),
        *(
            f"@on(AnyEvent, timeout=3, isolate=True, **hell)\ndef {name}(event):\n    {body}\n"
            for name, body in APART.items()
        ),
    ]
    return HEAD + MORE + "\n".join(handlers)


@pytest.mark.timeout(600)
def test_handlers_from_hell_leave_the_rest_alone(tmp_path: Path, size: Size, figure: Figure) -> None:
    """Nobody is refused, the good handler has served every event, and the service has never stopped."""
    trial = Trial(tmp_path, CONFIG, plugin=plugin())
    with trial.service() as process:
        process.wait_ready()
        with trial.sending("book", "--connections", "4", "--pause", "0.05"):
            time.sleep(size(5, 60))
        deadline = time.monotonic() + 60
        while ledger.left(trial.log):
            assert process.alive, process.output.read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert process.alive
        assert process.terminate(30) == 0
    trial.check(ended=True)
    answers = trial.book().answers
    assert {answer["status"] for answer in answers} == {200}
    with closing(sqlite3.connect(trial.log)) as log:
        states = dict(log.execute("SELECT handler, group_concat(DISTINCT state) FROM runs GROUP BY handler"))
    assert set(states) == {"ledger", "swallows_cancellation", *ASYNC, *PLAIN, *APART}
    times = sorted(answer["ms"] for answer in answers)
    figure(
        f"{len(states) - 1} of them: {len(answers):,} requests, p50 {times[len(times) // 2]:.0f} ms, "
        f"p99 {times[len(times) * 99 // 100]:.0f} ms"
    )


ENDS = {
    "exit": "os._exit(3)",
    "crash": "signal.raise_signal(signal.SIGSEGV)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "exit in a task": "asyncio.create_task(exits()); await asyncio.sleep(0.2)",
    "loop stopped": "asyncio.get_running_loop().stop(); await asyncio.sleep(1)",
    "all tasks cancelled": "[task.cancel() for task in asyncio.all_tasks()]; await asyncio.sleep(1)",
    "standard error closed": "os.close(1); os.close(2)",
}
"""What one event makes its handler do to the whole process, again at every start."""


OFTEN = ("exit", "exit in a task")
"""Those of them that every run of the tests sees."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind", [kind if kind in OFTEN else pytest.param(kind, marks=pytest.mark.prove) for kind in ENDS]
)
def test_a_handler_that_ends_the_process_cannot_do_so_for_ever(tmp_path: Path, kind: str) -> None:
    """Its attempts are counted when they begin, so it is dead after its tries; everything else is served."""
    source = f"""
async def exits(): sys.exit(3)
@on(AnyEvent, where=lambda event: event.calendar_event.title == "n20", stale="run")
async def ends(event: AnyEvent) -> None:
    {ENDS[kind]}
"""
    trial = Trial(tmp_path, CONFIG, plugin=HEAD + source)
    with trial.sending("book", "--connections", "2", "--pause", "0.02"):
        for _ in range(4):
            with trial.service() as process:
                until = time.monotonic() + 30
                while process.alive and not (process.is_ready() and len(trial.book().acked) > 40):
                    assert time.monotonic() < until
                    time.sleep(0.05)
                time.sleep(0.5)
                if process.alive and _state(trial) in ("done", "dead"):
                    break
        else:
            raise AssertionError(f"it ends again and again; its run is {_state(trial)}")
    trial.check()
    trial.settle()


def _state(trial: Trial) -> str:
    with closing(sqlite3.connect(f"file:{trial.log}?mode=ro", uri=True)) as log:
        row = log.execute("SELECT state FROM runs WHERE handler = 'ends'").fetchone()
    return str(row[0]) if row else "not there"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "child", ["return", "await asyncio.sleep(1)", pytest.param("sys.exit(0)", marks=pytest.mark.prove)]
)
def test_a_child_that_a_handler_forks_does_not_become_a_second_service(tmp_path: Path, child: str) -> None:
    """However its part of the handler ends, the child is gone, and the log and the listener are the parent's."""
    source = f"""
@on(AnyEvent, where=lambda event: int(event.calendar_event.title[1:]) % 10 == 0, stale="run")
async def forks(event: AnyEvent) -> None:
    if os.fork() == 0:
        Path(__file__).with_name("children").open("a").write(f"{{os.getpid()}}\\n")
        {child}
"""
    trial = Trial(tmp_path, CONFIG, plugin=HEAD + source)
    with trial.service() as process:
        process.wait_ready()
        with trial.sending("book", "--connections", "2", "--pause", "0.02"):
            time.sleep(2)
        children = [int(pid) for pid in (tmp_path / "plugins" / "children").read_text().split()]
        assert children
        time.sleep(1.5)
        assert [pid for pid in children if _runs(pid)] == []
        assert process.alive
        assert process.terminate() == 0
    assert {answer["status"] for answer in trial.book().answers} == {200}
    trial.check()
    trial.settle()


def _runs(pid: int) -> bool:
    """Whether a process exists that is not merely waiting to be reaped."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.timeout(120)
def test_a_stop_waits_for_no_handler_for_ever(tmp_path: Path) -> None:
    """Told to stop, the service ends with status 0, although handlers swallow that and threads never end."""
    source = """
@on(AnyEvent, stale="run")
async def swallows(event: AnyEvent) -> None:
    while True:
        try: await asyncio.sleep(3600)
        except asyncio.CancelledError: pass

@on(AnyEvent, stale="run")
async def waits_for_a_thread(event: AnyEvent) -> None:
    await asyncio.to_thread(time.sleep, 3600)

@on(AnyEvent, stale="run")
def never_ends(event: AnyEvent) -> None:
    time.sleep(3600)
"""
    trial = Trial(tmp_path, CONFIG, plugin=HEAD + source)
    with trial.service() as process:
        process.wait_ready()
        with trial.sending("book", "--connections", "2", "--pause", "0.02"):
            time.sleep(1)
        assert process.terminate(20) == 0
    trial.check()
