"""The built-in handlers in a running service, and in their manual."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.builtin import Site, builtin
from tests.support.klen import post, webhook
from tests.support.service import running

if TYPE_CHECKING:
    from receiver.service import Service

ROOT = Path(__file__).resolve().parents[2]
MANUAL = (ROOT / "handlers" / "README.md").read_text("utf-8")
TABLES = {
    "forward": 'urls = ["https://example.com"]',
    "command": 'argv = ["true"]',
    "notify": 'kind = "slack"\nurl = "https://example.com"',
    "mail": 'host = "localhost"\nfrom = "a@example.com"\nto = ["a@example.com"]',
}


def test_every_built_in_is_tested_here() -> None:
    """One file for each handler, named after it."""
    assert {file.stem for file in (ROOT / "handlers").glob("[!_]*.py")} == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
async def test_the_manual_shows_every_setting(tmp_path: Path, name: str) -> None:
    """The TOML block of a handler's section has all its keys, some of them commented out."""
    async with builtin(tmp_path, f"[handlers.{name}]\n{TABLES[name]}") as handler:
        fields = handler.handler.settings_class.model_fields
    section = re.split(r"^##+ ", MANUAL.partition(f"\n### {name}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    shown = set(
        re.findall(r"^(?:# )?(\w+) = ", section.partition("```toml")[2].partition("```")[0], re.MULTILINE)
    )

    assert {str(field.validation_alias or key) for key, field in fields.items()} <= shown
    if "template" in fields:
        assert all(f"`${key}`" in section for key in ("event_type", "title", "summary"))


async def settled(service: Service, event_id: str) -> dict[str, tuple[str, int]]:
    """State and number of attempts of each run, once none goes on."""
    async with asyncio.timeout(15):
        while True:
            detail = await service.log.get(event_id)
            assert detail is not None
            if len(detail.runs) > 1 and all(
                run.state in {"done", "dead", "discarded"} for run in detail.runs
            ):
                return {run.handler: (run.state, run.attempt) for run in detail.runs}
            await asyncio.sleep(0.02)


async def test_they_run_by_having_a_table(tmp_path: Path) -> None:
    """A webhook goes through each handler whose table is there; a failure is tried again by the policy."""
    async with Site().running() as site:
        site.statuses = {"/down": 500}
        config = (
            '[outbound]\nallow = ["127.0.0.1"]\n'
            f'[handlers.forward]\nurls = ["{site.url}/up"]\n'
            f'[handlers.notify]\nkind = "slack"\nurl = "{site.url}/down"\nretry = {{tries = 2, base = 0.01}}\n'
            f"[handlers.command]\nargv = {json.dumps(['/bin/sh', '-c', f'cat > {tmp_path}/seen'])}\n"
        )
        async with running(tmp_path, config) as service:
            answer = await post(service.port, webhook())
            runs = await settled(service, answer.json["event_id"])

    assert runs == {"forward": ("done", 1), "notify": ("dead", 2), "command": ("done", 1)}
    assert json.loads(webhook()) == json.loads((tmp_path / "seen").read_text())
    assert sorted(request.path for request in site.requests) == ["/down", "/down", "/up"]
