"""`klenhook doctor`: what is wrong and what to do about it; and why a captured delivery is refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from receiver.cli.common import config_option, fail, json_option, load, printable, write_json

if TYPE_CHECKING:
    from receiver.doctor.finding import Finding

MARKS: Final = {
    "fine": ("  ok     ", "green"),
    "warning": ("warning  ", "yellow"),
    "error": ("error    ", "red"),
}


@click.command()
@click.option(
    "--signature",
    "captured",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A captured delivery: a raw HTTP request, or JSON with headers and body. Says which step differs.",
)
@json_option
@config_option
def doctor(config_path: str | None, captured: Path | None, *, as_json: bool) -> None:
    """Look at everything that could be wrong, and say what to do about it.

    With --signature: why this delivery is refused, or that it is not. The file is a raw HTTP request
    (headers, a blank line, the body's bytes), or JSON {"headers": {...}, "body": "..."}, with "body_base64"
    for bytes that are no text.

    Exit status: 0 nothing is wrong, though there may be warnings; 1 something is wrong.

    \b
    Example:
      klenhook doctor
      klenhook doctor --signature delivery.http
    """
    wrong = 0
    findings = _examined(config_path) if captured is None else _diagnosed(config_path, captured)
    for finding in findings:
        wrong += finding.level == "error"
        if as_json:
            write_json(asdict(finding))
        else:
            _show(finding)
    if wrong:
        raise click.exceptions.Exit(1)


def _examined(config_path: str | None) -> list[Finding]:
    import asyncio

    from receiver.clock import SystemClock
    from receiver.doctor import examine

    async def examined() -> list[Finding]:
        return [finding async for finding in examine(config_path, SystemClock())]

    return asyncio.run(examined())


def _diagnosed(config_path: str | None, captured: Path) -> list[Finding]:
    from receiver.doctor.capture import LARGEST_CAPTURE, read_capture
    from receiver.doctor.signature import diagnose

    sources = load(config_path).sources
    try:
        with captured.open("rb") as file:
            content = file.read(LARGEST_CAPTURE + 1)
    except OSError as error:
        raise fail(f"cannot read {printable(str(captured))}: {error.strerror}.") from error
    if len(content) > LARGEST_CAPTURE:
        raise fail(f"expected one delivery of at most {LARGEST_CAPTURE} bytes, found a larger file.")
    return diagnose(read_capture(content), sources)


def _show(finding: Finding) -> None:
    mark, colour = MARKS[finding.level]
    click.echo(f"{click.style(mark, fg=colour)} {finding.check}: {printable(finding.message)}")
    if finding.fix is not None:
        click.echo(f"          -> {printable(finding.fix)}")
