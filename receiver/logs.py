"""Log lines: structlog, to standard error, as a console line or as one JSON object each.

The rule easiest to break: ids, sizes, types and counts only. No secret, signature, body, name, address or
number of a person is ever passed to a logger; text from outside is a value, never the message, and loses
its control characters here.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

if "rich" in sys.modules:
    import structlog
else:
    # structlog imports rich for tracebacks that we do not show; a start is a twentieth quicker without it.
    sys.modules["rich"] = None  # type: ignore[assignment]  # so that it is found to be missing
    import structlog

    del sys.modules["rich"]

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

LINES_PER_SECOND: Final = 5
"""Of what anybody can cause from outside; more are counted and told with the next line."""


def configure(level: str, log_format: str) -> None:
    """Set up structlog, and turn the lines of aiohttp and asyncio into ours."""
    renderer: Any = _plain
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer(_to_json)
    elif sys.stderr.isatty():
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    traceback = [] if log_format != "json" and sys.stderr.isatty() else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[structlog.processors.add_log_level, _Time(), _harmless, *traceback, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=_Output(sys.stderr),
        cache_logger_on_first_use=True,
    )
    foreign = logging.getLogger()
    foreign.handlers = [_Foreign()]
    foreign.setLevel(logging.WARNING)


class _Output:
    """Standard error. A full disk or a closed pipe loses lines, never an event."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._together: list[str] | None = None

    def __call__(self, *_args: Any) -> _Output:
        """The logger that structlog asks for."""
        return self

    def msg(self, line: str) -> None:
        """Write a line at once, so that it is there whatever happens next."""
        with self._lock:
            if self._together is not None:
                self._together.append(line)
                return
            with contextlib.suppress(OSError, ValueError):
                self._file.write(f"{line}\n")
                self._file.flush()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write the lines of this block at its end, by one call to the system. Other threads wait."""
        with self._lock:
            self._together = []
            try:
                yield
            finally:
                lines, self._together = self._together, None
                if lines:  # the level may have kept them all out
                    self.msg("\n".join(lines))

    debug = info = warning = error = critical = exception = msg


def together() -> contextlib.AbstractContextManager[None]:
    """Write the lines of a block at its end, all at once."""
    output = structlog.get_config()["logger_factory"]
    return output.together() if isinstance(output, _Output) else contextlib.nullcontext()


def get(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger for one part of the service."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(part=name)
    return logger


class _Time:
    """Adds the time in UTC. The text of a second is made once: there is a line for each delivery."""

    def __init__(self) -> None:
        self._second = (-1, "")

    def __call__(
        self, _logger: Any, _method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        known, text = self._second
        if known != seconds:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            self._second = (seconds, text)
        line["timestamp"] = f"{text}.{microseconds:06d}Z"
        return line


def _harmless(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make control characters and lone surrogates visible, which could drive a terminal or fail to encode."""
    for key, value in line.items():
        if isinstance(value, str) and not value.isprintable():
            line[key] = "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in value)
    return line


def _plain(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> str:
    """A console line for a file or the journal. The one for terminals is for eyes, and costs more."""
    text = f"{line.pop('timestamp')} [{line.pop('level')}] {line.pop('event')}"
    exception = line.pop("exception", None)
    for key, value in line.items():
        shown = str(value)
        text += f" {key}={value!r}" if " " in shown else f" {key}={shown}"
    return f"{text}\n{exception}" if exception else text


def _to_json(line: Any, **_options: Any) -> str:
    return _encode(line)


_encode = json.JSONEncoder(default=repr).encode


class Sampler:
    """Lets a few lines a second through and counts the rest: a flood of requests is no flood of lines."""

    def __init__(self, per_second: int = LINES_PER_SECOND) -> None:
        self._per_second = per_second
        self._second = 0
        self._lines = 0
        self._suppressed = 0

    def admit(self) -> int | None:
        """None: say nothing. A number: log this line, and that so many before it were not logged."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= self._per_second:
            self._suppressed += 1
            return None
        self._lines += 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed


class _Foreign(logging.Handler):
    """Lines of other libraries, such as aiohttp's about malformed requests: one line each, without text.

    Their messages and tracebacks quote what came over the wire.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sampler = Sampler()
        self._logger = get("library")

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on who complained and the kind of exception."""
        suppressed = self._sampler.admit()
        if suppressed is None:
            return
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        self._logger.warning("complaint", library=record.name, error=error, suppressed=suppressed)
