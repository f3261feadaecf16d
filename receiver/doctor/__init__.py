"""`klenhook doctor`: everything that could be wrong, in plain words, with what to do about it.

finding.py    what it says
machine.py    Python, SQLite, HTTP parser, clock, disk
setup.py      configuration, secrets, file modes, plugins
running.py    the service, its address, the log
vendor.py     the vendor's API, and the webhooks registered there
capture.py    a captured delivery
variants.py   what may have happened to it, ways.py which of that explains its signature,
nearmiss.py   which single character was changed, signature.py in words
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from receiver.doctor.finding import Finding
from receiver.doctor.machine import check_disk, check_machine
from receiver.doctor.running import check_addresses, check_log
from receiver.doctor.setup import check_config, check_log_modes, check_plugins, check_secrets
from receiver.doctor.vendor import check_vendor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from receiver.clock import Clock

__all__ = ["Finding", "examine"]


async def examine(config_path: str | None, clock: Clock) -> AsyncIterator[Finding]:
    """Look at everything. With a wrong configuration, at all that does not need one."""
    for finding in check_machine():
        yield finding
    config, layers, findings = check_config(config_path)
    for finding in findings:
        yield finding
    if config is None or layers is None:
        for finding in check_disk(Path.cwd()):
            yield finding
        return
    checks = (
        check_secrets(config, layers),
        check_disk(config.storage_path.parent),
        check_log_modes(config.storage_path),
        check_plugins(config),
        check_addresses(config),
    )
    for check in checks:
        for finding in check:
            yield finding
    for finding in await check_log(config, clock.now_ms()):
        yield finding
    async for finding in check_vendor(config, clock):
        yield finding
