"""How functions become handlers: the mark, the search, the settings, and everything that can be wrong."""

from __future__ import annotations

import inspect
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from receiver import (
    AnyEvent,
    CalendarCreated,
    CallEnded,
    Context,
    RetryPolicy,
    Settings,
    UnknownEvent,
)
from receiver.config import load_config
from receiver.effects import Outbox, Staged, Store
from receiver.errors import ConfigError
from receiver.events import AnyCalendarEvent, parse_event
from receiver.klen import Klen, NoTransport
from receiver.outbound import Outbound
from receiver.plugins import Handler, Loaded, hint, load_handlers, survey_handlers
from receiver.plugins.loader import BUNDLED
from storage.work import StoredValue

HELLO = """
from receiver import CalendarCreated, on

@on(CalendarCreated)
async def hello(event: CalendarCreated) -> None:
    print("booked:", event.calendar_event.title)
"""

GREET = HELLO.replace("hello", "greet")

CHAT = """
from __future__ import annotations
from pydantic import SecretStr
from receiver import CalendarCreated, Context, Settings, on

class Chat(Settings):
    url: str
    token: SecretStr = SecretStr("")
    rooms: list[str] = []
    limit: int = 5

@on(CalendarCreated)
def chat(event: CalendarCreated, ctx: Context[Chat]) -> None: ...
"""


class Place:
    """A folder with a configuration and plugins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"KLEN_WEBHOOK_SECRET": "b7c1d5f0a94e4c0ab3c8"}

    def plugin(self, name: str, source: str | bytes) -> Path:
        file = self.folder / "plugins" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(source.encode() if isinstance(source, str) else source)
        return file

    def config(self, toml: str = "") -> Any:
        file = self.folder / "config.toml"
        file.write_text(f'{toml}\n[sources.klen]\nsecrets = ["env:KLEN_WEBHOOK_SECRET"]\n')
        return load_config(file, environ=self.environ)

    def load(self, toml: str = "", **options: Any) -> Loaded:
        return load_handlers(self.config(toml), environ=self.environ, **options)

    def mistakes(self, toml: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            self.load(toml)
        return caught.value.problems


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def only(loaded: Loaded) -> Handler:
    assert loaded.broken == ()
    (handler,) = loaded.handlers
    return handler


EVENT = parse_event(
    b'{"event_type": "x"}', event_id="e", source="klen", received_at=datetime(2025, 5, 1, tzinfo=UTC)
)


# --- the search


def test_the_first_plugin(place: Place) -> None:
    """A file of three lines in the plugins folder is a handler, with the defaults of `[dispatch]`."""
    file = place.plugin("hello.py", HELLO)

    handler = only(place.load("[dispatch]\ntimeout_seconds = 7\nretry = {tries = 2}"))

    assert ("hello", "plugins", file) == (handler.name, handler.origin, handler.file)
    assert (CalendarCreated,) == handler.events
    assert (True, False, Settings()) == (handler.is_async, handler.takes_context, handler.settings)
    assert (RetryPolicy(tries=2), 7, True, None) == (
        handler.retry,
        handler.timeout,
        handler.ordered,
        handler.concurrency,
    )


def test_no_plugins_folder(place: Place) -> None:
    """The default folder may be missing: there are no plugins yet."""
    assert Loaded(handlers=(), disabled=(), broken=(), empty=()) == place.load()


def test_a_named_folder_has_to_be_there(place: Place) -> None:
    """A plugins folder that the operator named and that is not there is a mistake."""
    (place.folder / "file").touch()

    assert f"handlers.plugins_dir: there is no folder {place.folder / 'nowhere'}" in place.mistakes(
        '[handlers]\nplugins_dir = "nowhere"'
    )
    assert any(
        line.startswith("handlers.plugins_dir: cannot read the folder")
        for line in place.mistakes('[handlers]\nplugins_dir = "file"')
    )


def test_which_files_are_plugins(place: Place) -> None:
    """Files are loaded in the order of their names, but no helpers, hidden files, folders and others."""
    for name in ("b.py", "a.py", "_c.py", ".d.py", "e.txt", "__init__.py"):
        place.plugin(name, HELLO.replace("hello", f"in_{name[0] if name[0].isalpha() else 'other'}"))
    (place.folder / "plugins" / "f.py").mkdir()

    assert [handler.name for handler in place.load().handlers] == ["in_a", "in_b"]


def test_a_plugin_may_be_called_like_the_standard_library(place: Place) -> None:
    """A plugin named json.py leaves `import json` alone, in itself and in others."""
    place.plugin("json.py", "import json\njson.dumps({})\n" + HELLO)
    place.plugin("other.py", "import json\njson.dumps({})\n" + GREET)

    assert [handler.name for handler in place.load().handlers] == ["hello", "greet"]


def test_folders_of_the_user_do_not_shadow(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders called handlers and storage where the service runs are the user's own."""
    for name in ("handlers", "storage"):
        (place.folder / name).mkdir()
        (place.folder / name / "__init__.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(place.folder)
    monkeypatch.syspath_prepend(str(place.folder))
    place.plugin("hello.py", HELLO)

    assert only(place.load()).name == "hello"
    assert Path(__file__).parents[2] / "handlers" == BUNDLED


def test_plugins_share_code_by_a_dot(place: Place) -> None:
    """Plugins import their neighbours relatively; nothing is added to sys.path and no cache is written."""
    place.plugin("_shared.py", "WORD = 'hi'")
    place.plugin("hello.py", f"from ._shared import WORD\n{HELLO}")
    before = list(sys.path)

    handler = only(place.load())

    assert handler.function.__globals__["WORD"] == "hi"
    assert before == sys.path
    assert not list(place.folder.glob("plugins/__pycache__/hello*"))


def test_a_neighbour_without_the_dot(place: Place) -> None:
    """A neighbour imported without the dot is not found, and the message says how it is."""
    place.plugin("_shared.py", "WORD = 'hi'")
    place.plugin("hello.py", f"from _shared import WORD\n{HELLO}")

    (broken,) = place.load().broken

    assert "a file beside the plugin is imported with a dot: from ._shared import ..." in broken.error


def test_a_shared_handler_counts_once(place: Place) -> None:
    """A handler that two files import is one handler."""
    place.plugin("_shared.py", HELLO)
    place.plugin("a.py", "from ._shared import hello")
    place.plugin("b.py", "from ._shared import hello\nagain = hello")

    assert only(place.load()).name == "hello"


def test_dataclasses_with_postponed_annotations(place: Place) -> None:
    """A plugin's module is registered while it runs, as dataclasses and pydantic need it."""
    place.plugin(
        "hello.py",
        "from __future__ import annotations\nimport dataclasses, typing\n"
        "@dataclasses.dataclass\nclass A:\n    b: typing.ClassVar[int] = 3\n    c: int = 4\n" + HELLO,
    )

    assert only(place.load()).name == "hello"


def test_the_file_as_it_is_now(place: Place) -> None:
    """Loading again after an edit gives the new code, also within the same second, and its own version."""
    place.plugin("hello.py", HELLO)
    first = only(place.load())
    place.plugin("hello.py", HELLO.replace("hello", "hallo"))

    second = only(place.load())

    assert (first.name, second.name) == ("hello", "hallo")
    assert first.code_version != second.code_version
    assert "async def hallo" in inspect.getsource(second.function)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("1/0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError: invalid syntax (bad.py, line 1)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: no message"),
        ("raise BaseException('first\\nsecond')", "BaseException: first"),
        ("class E(Exception):\n    def __str__(self): 1/0\nraise E", "E: no message"),
        ("raise BaseExceptionGroup('two', [SystemExit()])", "BaseExceptionGroup: two (1 sub-exception)"),
        ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        (b"x = '\xff'", "SyntaxError: (unicode error) 'utf-8' codec can't decode byte 0xff"),
        (b"x = 1\0", "source code string cannot contain null bytes"),
        ("import receiver.nothing", "ModuleNotFoundError: No module named 'receiver.nothing'"),
        ("from receiver import CalendarCreate", "ImportError: cannot import name 'CalendarCreate'"),
        (HELLO.replace("@on(CalendarCreated)", "@on('calendar.created')"), "on(...) takes event classes"),
        (HELLO + HELLO, "the handler 'hello' has on(...), but at the end of the file no name refers to it"),
        (
            HELLO + GREET.replace("@on(CalendarCreated", "@on(CalendarCreated, name='hello'"),
            "two handlers have the name 'hello'",
        ),
        (CHAT.replace("limit: int", "timeout: int"), "the settings class Chat has a field 'timeout'"),
        (CHAT.replace("[Chat]", "[Nothing]"), "cannot read the annotation ctx: Context[Nothing]"),
        (CHAT.replace("Context[Chat]", "Chat"), "the second parameter of chat is a Context, but ctx is"),
    ],
)  # fmt: skip
def test_a_broken_plugin(place: Place, source: str | bytes, error: str) -> None:
    """Whatever is wrong with a plugin is told in one line; nothing is raised and the others are loaded."""
    file = place.plugin("bad.py", source)
    place.plugin("greet.py", GREET)

    loaded = place.load()

    (broken,) = loaded.broken
    assert file == broken.file
    assert error in broken.error
    assert "\n" not in broken.error
    assert [handler.name for handler in loaded.handlers] == ["greet"]


def test_a_failed_module_is_gone(place: Place) -> None:
    """A plugin that failed is no module any more, so nobody imports half of it."""
    place.plugin("never_whole.py", "1/0")
    place.load()

    assert [name for name in sys.modules if name.endswith(".never_whole")] == []


def test_two_loads_keep_their_modules(place: Place) -> None:
    """Loading again leaves the functions of the first load with their own neighbours, until they are forgotten."""
    place.plugin("_shared.py", "WORD = 'old'")
    late = "def hello(event): from ._shared import WORD; print(WORD); return WORD"
    place.plugin(
        "hello.py", f"from receiver import AnyEvent, on\n@on(AnyEvent)\n{late}\nfrom . import _shared\n"
    )
    first = place.load()
    place.plugin("_shared.py", "WORD = 'new'")
    second = place.load()

    assert [only(loaded).function(EVENT) for loaded in (first, second)] == ["old", "new"]
    first.forget()
    assert only(second).function(EVENT) == "new"
    with pytest.raises(ImportError):
        only(first).function(EVENT)


def test_a_broken_plugin_has_a_line(place: Place) -> None:
    """What is wrong is told with the exception's type and the line of the plugin's file."""
    place.plugin("a.py", "def f():\n    1 / 0\nf()")
    place.plugin("b.py", "x = 1\ndef broken(:")
    place.plugin("c.py", b"x = 1\0")

    assert [(broken.kind, broken.line) for broken in place.load().broken] == [
        ("ZeroDivisionError", 2),
        ("SyntaxError", 2),
        ("SyntaxError", None),
    ]


def test_the_traceback_is_the_plugins_own(place: Place) -> None:
    """The traceback begins in the plugin's file, not in the machinery that loaded it."""
    place.plugin("bad.py", "def f():\n    1 / 0\nf()")

    (broken,) = place.load().broken

    assert [line.partition(", ")[2] for line in broken.traceback.splitlines() if "File" in line] == [
        "line 3, in <module>",
        "line 2, in f",
    ]


def test_an_unreadable_plugin(place: Place) -> None:
    """A link that leads nowhere is a broken plugin."""
    place.plugin("hello.py", HELLO)
    (place.folder / "plugins" / "bad.py").symlink_to("nowhere.py")

    (broken,) = place.load().broken

    assert "FileNotFoundError" in broken.error


def test_two_files_with_one_name(place: Place) -> None:
    """Of two handlers of one name the first file's stays; the other file is broken, whole, and names both."""
    first = place.plugin("a.py", HELLO)
    second = place.plugin("b.py", GREET + HELLO)

    loaded = place.load()

    assert [(first, "hello")] == [(handler.file, handler.name) for handler in loaded.handlers]
    assert [second] == [broken.file for broken in loaded.broken]
    assert f"two handlers have the name 'hello': here and in {first}" in loaded.broken[0].error


def test_a_file_without_handlers(place: Place) -> None:
    """A file that marks nothing is loaded and told."""
    file = place.plugin("helpers.py", "x = 1")

    assert (file,) == place.load().empty


# --- built-in handlers


def test_built_in_handlers_are_off_until_configured(place: Place) -> None:
    """A built-in handler is loaded only when its table is there, by its location and before the plugins."""
    bundled = place.folder / "bundled"
    bundled.mkdir()
    (bundled / "forward.py").write_text(HELLO.replace("hello", "forward"))
    (bundled / "unused.py").write_text("1/0")
    place.plugin("hello.py", HELLO)

    assert [handler.name for handler in place.load(bundled=bundled).handlers] == ["hello"]
    loaded = place.load("[handlers.forward]", bundled=bundled)
    assert [(h.name, h.origin) for h in loaded.handlers] == [("forward", "built-in"), ("hello", "plugins")]
    assert loaded.handlers[0].function.__module__.startswith("receiver._bundled")


# --- what the operator says


def test_the_table_counts_more_than_the_decorator(place: Place) -> None:
    """A handler runs as its table says, else as its decorator says, else as `[dispatch]` says."""
    options = "retry=RetryPolicy(tries=3, base=1), timeout=5, concurrency=2, ordered=False"
    place.plugin(
        "hello.py",
        "from receiver import RetryPolicy"
        + HELLO.replace("@on(CalendarCreated", f"@on(CalendarCreated, {options}"),
    )

    handler = only(place.load())
    assert (RetryPolicy(tries=3, base=1), 5, 2, False) == (
        handler.retry,
        handler.timeout,
        handler.concurrency,
        handler.ordered,
    )
    table = (
        "[handlers.hello]\nretry = {tries = 9}\ntimeout = 1\nconcurrency = 4\nordered = true\npaused = true"
    )
    handler = only(place.load(table))
    assert (RetryPolicy(tries=9, base=1), 1, 4, True) == (
        handler.retry,
        handler.timeout,
        handler.concurrency,
        handler.ordered,
    )
    assert handler.paused


def test_switched_off(place: Place) -> None:
    """A handler that is switched off does not run, and needs no settings."""
    place.plugin("chat.py", CHAT)

    loaded = place.load("[handlers.chat]\nenabled = false\ntoken = 'env:NOT_THERE'")

    assert loaded.handlers == ()
    assert [handler.name for handler in loaded.disabled] == ["chat"]


def test_settings(place: Place) -> None:
    """The keys that klenhook does not read itself fill the handler's settings; text may be elsewhere."""
    place.plugin("chat.py", CHAT)
    place.environ |= {"CHAT_TOKEN": "s3cret", "ROOM": "two"}
    (place.folder / "url.txt").write_text("https://chat.example\n")

    handler = only(
        place.load(
            "[handlers.chat]\ntimeout = 3\nurl = 'file:url.txt'\n"
            "token = 'env:CHAT_TOKEN'\nrooms = ['one', 'env:ROOM']"
        )
    )

    settings: Any = handler.settings
    assert (settings.url, settings.rooms, settings.limit) == ("https://chat.example", ["one", "two"], 5)
    assert settings.token.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(handler)
    assert (handler.takes_context, handler.timeout) == (True, 3)
    with pytest.raises(ValueError, match="frozen"):
        settings.limit = 6


CANARY = "canary-9f1c"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", ["url: required, and missing"]),
        ("urll = 'x'", ["url: required, and missing", "urll: unknown key; did you mean url?"]),
        ("url = 'x'\ntimeot = 3", ["timeot: unknown key; did you mean timeout?"]),
        (
            "url = 'x'\nqqqq = 3",
            ["qqqq: unknown key; this handler's own keys are url, token, rooms, limit"],
        ),
        (
            f"url = 'x'\nlimit = '{CANARY}'",
            ["limit: expected a valid integer, unable to parse string as an integer, found text"],
        ),
        (
            f"url = 5\ntoken = ['{CANARY}']",
            ["url: expected a valid string, found a number", "token: expected a valid string, found a list"],
        ),
        ("url = 'env:NOT_THERE'", ["url: the environment variable NOT_THERE is not set"]),
        ("url = 'x'\ntoken = 'env:NOT_THERE'", ["token: the environment variable NOT_THERE is not set"]),
        ("url = 'x'\nrooms = ['y', 3]", ["rooms.1: expected a valid string, found a number"]),
    ],
)
def test_wrong_settings(place: Place, table: str, expected: list[str]) -> None:
    """Each mistake in a table is a line with its key, all at once, and no value is quoted."""
    place.plugin("chat.py", CHAT)

    mistakes = place.mistakes(f"[handlers.chat]\n{table}")

    assert sorted(mistakes) == sorted(f"handlers.chat.{line}" for line in expected)
    assert CANARY not in str(mistakes)


def test_settings_that_the_handler_has_not(place: Place) -> None:
    """A handler without settings takes no keys but the reserved ones."""
    place.plugin("hello.py", HELLO)

    assert place.mistakes("[handlers.hello]\nqqqq = 1") == (
        "handlers.hello.qqqq: unknown key; this handler has no settings of its own",
    )


@pytest.mark.parametrize(
    ("validator", "line"),
    [
        ("raise ValueError('no plain http')", "handlers.chat.url: no plain http"),
        ("raise KeyError(value)", "handlers.chat: its settings class Chat fails with KeyError"),
    ],
)
def test_a_validator_of_the_plugin(place: Place, validator: str, line: str) -> None:
    """A plugin's own check ends as a mistake of its table, also when the check itself fails."""
    check = f"    @field_validator('url')\n    @classmethod\n    def _check(cls, value): {validator}\n"
    source = CHAT.replace("import SecretStr", "import SecretStr, field_validator")
    place.plugin("chat.py", source.replace("    limit: int = 5\n", f"    limit: int = 5\n{check}"))

    assert (line,) == place.mistakes(f"[handlers.chat]\nurl = '{CANARY}'")


def test_a_table_without_a_handler(place: Place) -> None:
    """A table that no handler has is a mistake that names the nearest one."""
    place.plugin("hello.py", HELLO)

    assert place.mistakes("[handlers.helo]\n[handlers.zzz]") == (
        "handlers.helo: no handler has this name; did you mean handlers.hello?",
        "handlers.zzz: no handler has this name; there are hello",
    )


def test_a_table_of_a_broken_plugin(place: Place) -> None:
    """While a plugin is broken, a table may be its handler's: the service starts."""
    place.plugin("hello.py", "1/0")

    loaded, mistakes = survey_handlers(place.config("[handlers.hello]\nurl = 'x'"), environ=place.environ)

    assert mistakes == []
    assert len(loaded.broken) == 1


# --- a handler


def handler_of(place: Place, decorator: str) -> Handler:
    place.plugin(
        "hello.py",
        "from receiver import *\nfrom receiver.events import AnyCalendarEvent\n"
        f"@on({decorator})\nasync def hello(event): ...",
    )
    return only(place.load())


@pytest.mark.parametrize(
    ("decorator", "wanted"),
    [
        ("CalendarCreated", {"calendar.created"}),
        ("CalendarCreated, CallEnded", {"calendar.created", "call.ended"}),
        ("AnyCalendarEvent", {"calendar.created", "calendar.updated"}),
        (
            "AnyEvent",
            {"calendar.created", "calendar.updated", "call.ended", "calendar.rescheduled", "", None},
        ),
        ("UnknownEvent", {"calendar.rescheduled", "", None}),
    ],
)
def test_wanted_events(place: Place, decorator: str, wanted: set[str | None]) -> None:
    """A handler wants the events of its classes and of their subclasses; AnyEvent is every event."""
    handler = handler_of(place, decorator)

    types = ("calendar.created", "calendar.updated", "call.ended", "calendar.rescheduled", "", None)
    assert wanted == {event_type for event_type in types if handler.interest.in_type(event_type)}


def test_a_known_name_on_an_unreadable_shape(place: Place) -> None:
    """A handler is not called with an event of another class than it was written for."""
    body = b'{"event_type": "calendar.created", "calendar_event": 5}'
    event = parse_event(body, event_id="e", source="klen", received_at=datetime(2025, 5, 1, tzinfo=UTC))
    handler = handler_of(place, "CalendarCreated")

    assert (handler.interest.in_type(event.event_type), handler.given(event)) == (True, [])
    assert isinstance(event, UnknownEvent)


def test_a_wrapped_handler(place: Place) -> None:
    """A handler may wear other decorators, below `on` or above it, and stays asynchronous."""
    wrap = (
        "import functools\ndef wrap(f):\n    @functools.wraps(f)\n"
        "    def inner(*args): return f(*args)\n    return inner\n"
    )
    place.plugin("below.py", wrap + HELLO.replace("async def", "@wrap\nasync def"))
    place.plugin("over.py", wrap + GREET.replace("@on(", "@wrap\n@on("))

    loaded = place.load()

    assert [(handler.name, handler.is_async) for handler in loaded.handlers] == [
        ("hello", True),
        ("greet", True),
    ]


@pytest.mark.parametrize(
    ("parameter", "settings_class"),
    [("ctx", "Settings"), ("ctx: Context", "Settings"), ("ctx: Context[Chat]", "Chat")],
)
def test_annotations_at_once(place: Place, parameter: str, settings_class: str) -> None:
    """The second parameter is the context, named so or not, and whether annotations are postponed or not."""
    source = CHAT.replace("from __future__ import annotations", "").replace("ctx: Context[Chat]", parameter)
    place.plugin("chat.py", source.replace("url: str", "url: str = ''"))

    handler = only(place.load())

    assert (handler.takes_context, handler.settings_class.__name__) == (True, settings_class)


def test_annotations_for_type_checkers_only(place: Place) -> None:
    """The import of `Context` may be for type checkers only, as linters ask for."""
    source = CHAT.replace(
        "import CalendarCreated, Context, Settings, on", "import Settings, on, CalendarCreated"
    )
    source = source.replace(
        "\nclass", "\nTYPE_CHECKING = False\nif TYPE_CHECKING:\n    from receiver import Context\nclass"
    )
    place.plugin("chat.py", source)

    assert only(place.load("[handlers.chat]\nurl = 'x'")).settings_class.__name__ == "Chat"


async def test_the_context_of_an_attempt() -> None:
    """The idempotency key is the same for every attempt of an event, and another for another handler."""

    async def read(_key: str) -> StoredValue:
        return StoredValue(None, None)

    def context(attempt: int, handler: str) -> Context:
        staged = Staged()
        return Context(
            event_id="e1",
            attempt=attempt,
            handler=handler,
            settings=Settings(),
            log=structlog.get_logger(),
            store=Store(staged, read),
            outbox=Outbox(staged),
            http=Outbound(),
            klen=Klen(NoTransport("This is a test.")),
        )

    assert context(1, "hello").idempotency_key == context(2, "hello").idempotency_key
    assert context(1, "hello").idempotency_key != context(1, "greet").idempotency_key


@pytest.mark.parametrize(
    "event_type",
    ["calendar.created", "call.ended", "calendar.rescheduled", "", None, 'x"\n\x1b[0m\ud800é', "y" * 300],
)
def test_the_hint_is_a_plugin(place: Place, event_type: str | None) -> None:
    """What is offered for an unhandled event loads as it is, wants that event, and is safe to print."""
    text = hint(event_type)
    place.plugin("pasted.py", text)

    handler = only(place.load())

    assert handler.interest.in_type(event_type)
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    if handler.where is not None:
        body = EVENT.model_copy(update={"event_type": event_type and event_type[:100]})
        assert handler.where(body)


def test_events_have_one_family() -> None:
    """Every event a handler can name is an AnyEvent, also those of the bases between."""
    assert all(issubclass(cls, AnyEvent) for cls in (AnyCalendarEvent, CallEnded, UnknownEvent))
