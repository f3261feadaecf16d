"""`klenhook sandbox play`: a story against the running service, and whether its log is as it must be.

The rule easiest to break: the service is the real one, so its log keeps what the story sent; only what came
in since the beginning is judged.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import click

from receiver.cli.common import (
    config_option,
    fail,
    json_option,
    load,
    printable,
    say,
    write_json,
    write_table,
)

if TYPE_CHECKING:
    from receiver.sandbox import Sandbox
    from receiver.sandbox.invariants import Report
    from receiver.sandbox.scenario import Scenario
    from storage.reader import EventReader

ROUTED_SECONDS: Final = 30.0
"""How long the service gets to take in what it has acknowledged."""


@click.command()
@click.argument("story")
@click.option("--source", "source_name", help="Which `[sources.NAME]` to send to.  [default: the only one]")
@click.option("--seed", type=int, help="Same seed, same story, faults included.  [default: drawn]")
@json_option
@config_option
def play(
    story: str, source_name: str | None, seed: int | None, config_path: str | None, *, as_json: bool
) -> None:
    """Play STORY on a sandbox of its own against the running service, then check the service's log.

    STORY is a TOML file, or nobody-came or rough-day. Time passes at once: a day takes a moment. What was
    sent stays in the service's log; nothing else may come to that source meanwhile.

    Exit status: 0 everything is as it must be, 1 it is not, or the service cannot be reached.

    \b
    Example:
      klenhook sandbox play nobody-came
      klenhook sandbox play my-story.toml --seed 7
    """
    from receiver.cli.send import chosen_source, target
    from receiver.sandbox import SandboxError
    from receiver.sandbox.scenario import load_scenario

    config = load(config_path)
    source = chosen_source(config, source_name)
    name = next(name for name, one in config.sources.items() if one is source)
    try:
        scenario = load_scenario(story)
    except SandboxError as error:
        raise click.UsageError(printable(str(error))) from None
    secret = source.secrets[0].get_secret_value()
    report = asyncio.run(
        _play(scenario, seed, target(config, source, None), secret, config.storage_url, name)
    )
    _show(report, as_json=as_json)
    if not report.holds:
        raise fail("The log is not as it must be.")


async def _play(
    scenario: Scenario, seed: int | None, url: str, secret: str, storage_url: str, source: str
) -> Report:
    from receiver.sandbox import Sandbox
    from receiver.sandbox.invariants import compare
    from receiver.sandbox.scenario import Play
    from storage import open_reader

    log = await open_reader(storage_url)
    try:
        _, [(last,)] = await log.sql("SELECT coalesce(max(seq), 0) FROM events")
        async with Sandbox(speed=0, seed=seed, faults=scenario.faults) as sandbox:
            sandbox.register(url, secret=secret)
            say(f"{printable(scenario.title)} (seed {sandbox.seed})")
            playing = Play(sandbox)
            for step in scenario.steps:
                say(printable(f"{sandbox.clock.now():%d %b %H:%M}  {step.verb} {step.object}"))
                await playing.perform(step)
            await sandbox.finish()
            _check_somebody_answered(sandbox, url)
            await _routed(log)
            return await compare(
                sandbox.courier.deliveries, sandbox.world, log, source=source, after_seq=last
            )
    finally:
        await log.aclose()


def _check_somebody_answered(sandbox: Sandbox, url: str) -> None:
    attempts = [attempt for delivery in sandbox.courier.deliveries for attempt in delivery.attempts]
    tried = [attempt for attempt in attempts if attempt.fault != "outage"]
    if tried and all(attempt.status is None for attempt in tried):
        raise fail(
            f"Nothing answered at {printable(url)}. Is the service running? `klenhook serve` starts it."
        )


async def _routed(log: EventReader) -> None:
    deadline = time.monotonic() + ROUTED_SECONDS
    while (await log.status()).unrouted:
        if time.monotonic() > deadline:
            raise fail(f"The service did not take in everything within {ROUTED_SECONDS:g} s.")
        await asyncio.sleep(0.1)


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        for finding in report.findings:
            write_json({"rule": finding.rule, "checked": finding.checked, "violations": finding.violations})
        write_json({"rule": "lost", "calendar_event_uuids": report.lost})
        return
    write_table(
        None,
        ("what must hold", "checked", "violations"),
        [
            (finding.rule, str(finding.checked), ", ".join(finding.violations[:5]) or "none")
            for finding in report.findings
        ],
    )
    if report.lost:
        say(
            f"The last state of {len(report.lost)} appointments never arrived, which no receiver can help: "
            + ", ".join(report.lost[:5])
        )
