"""What is in deploy/: it names only what exists, and its limits fit those of the service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from receiver import listener, outbox, service
from receiver.config import load_config
from receiver.counts import OUTCOMES, RUN_STATES
from receiver.metrics import METRICS
from receiver.selfwatch import PROBE_SECONDS
from tests.support.klen import SECRET

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
CONFIG = load_config(DEPLOY / "config.toml", environ={"KLENHOOK_SOURCES__KLEN__SECRETS": f'["{SECRET}"]'})

FOREIGN = {
    "up": (),
    "process_resident_memory_bytes": (),
    "process_cpu_seconds_total": (),
}
TARGET = {"job", "instance"}
"""Labels that Prometheus adds."""
VALUES = {
    "outcome": set(OUTCOMES),
    "state": set(RUN_STATES),
    "result": {"done", "refused", "sound", "damaged", "failed"},
}


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression, with where it stands."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    dashboard = json.loads((DEPLOY / "grafana" / "klenhook.json").read_text("utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    yield from (("annotation", one["expr"]) for one in dashboard["annotations"]["list"])


def named(expression: str) -> Iterator[tuple[str, str]]:
    """The metrics in an expression, each with its selector."""
    for found in re.finditer(r"\b([a-z][a-z_]*[a-z])\b(\{[^}]*\})?(?![(\w])", expression):
        if found[1].startswith(("klenhook_", "process_")) or found[1] == "up":
            yield found[1], found[2] or ""


def declared() -> dict[str, tuple[str, ...]]:
    """Series names and their labels, those of histograms included."""
    names: dict[str, tuple[str, ...]] = dict(FOREIGN)
    for metric in METRICS:
        if metric.kind == "histogram":
            names |= {f"{metric.name}_{end}": metric.labels for end in ("sum", "count")}
            names[f"{metric.name}_bucket"] = (*metric.labels, "le")
        else:
            names[metric.name] = metric.labels
    return names


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_alerts_and_dashboard_use_metrics_that_exist(where: str, expression: str) -> None:
    """Every metric is declared, every label is one of its own, every value one that it can have."""
    known = declared()
    found = list(named(expression))

    assert found, where
    for name, selector in found:
        assert name in known, where
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', selector):
            assert label in {*known[name], *TARGET}, where
            assert label in TARGET or value in VALUES[label], where
    labels = {label for name, _ in found for label in known[name]} | TARGET
    for grouped in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        assert set(grouped.split(", ")) <= labels, where


def test_every_metric_is_on_the_dashboard() -> None:
    """What is counted can be seen."""
    text = (DEPLOY / "grafana" / "klenhook.json").read_text("utf-8")

    assert [metric.name for metric in METRICS if metric.name not in text] == []


def test_every_alert_says_what_is_wrong() -> None:
    """A severity that somebody can route by, and a sentence."""
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))
    for rule in rules["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule
        assert rule["annotations"]["summary"], rule


def setting(unit: Path, name: str) -> str:
    """The one value of a key of a unit."""
    [value] = re.findall(rf"^{name}=(.*)$", unit.read_text("utf-8"), re.MULTILINE)
    return str(value)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_hardened(unit: Path) -> None:
    """`systemd-analyze security` gives each less than 1.5, where 10 is the worst."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=True,
    )
    score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)

    assert score is not None
    assert float(score[1]) < 1.5


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_units_are_understood(tmp_path: Path) -> None:
    """Systemd finds no unknown key and no wrong value in them."""
    for file in (DEPLOY / "systemd").iterdir():
        text = file.read_text("utf-8").replace("/opt/klenhook/bin/klenhook", "/bin/true")
        (tmp_path / file.name).write_text(text, "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(file) for file in tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )

    assert [line for line in done.stderr.splitlines() if "klenhook" in line] == []


def test_the_unit_gives_a_stop_its_time() -> None:
    """Longer than requests, handlers and messages may take; the watchdog is longer than two probes."""
    needed = service.DRAIN_SECONDS + CONFIG.dispatch.shutdown_grace_seconds + outbox.STOP_SECONDS
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]["klenhook"]

    assert int(setting(DEPLOY / "systemd" / "klenhook.service", "TimeoutStopSec")) > needed
    assert int(compose["stop_grace_period"].removesuffix("s")) > needed
    assert int(setting(DEPLOY / "systemd" / "klenhook.service", "WatchdogSec")) > 2 * PROBE_SECONDS


def test_the_image_is_built_of_what_is_there() -> None:
    """Each file that is copied exists and is not ignored; pins are checked; nobody is root."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    allowed = [
        line.removeprefix("!")
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    ]
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    ]

    assert sources
    assert sorted(sources) == sorted(allowed)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert "--require-hashes" in text
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    assert re.search(r"^HEALTHCHECK ", text, re.MULTILINE)
    packages = re.search(r"packages = (\[.*\])", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert packages is not None
    assert set(json.loads(packages[1])) <= set(sources)


def test_the_containers_fit_each_other() -> None:
    """Paths, names and ports in compose.yaml are those of the image, the configuration and the Caddyfile."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    receiver: dict[str, Any] = compose["services"]["klenhook"]
    proxy: dict[str, Any] = compose["services"]["proxy"]
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")

    assert receiver["read_only"]
    assert receiver["cap_drop"] == ["ALL"]
    assert f"log:{Path(CONFIG.storage_url.removeprefix('sqlite:///')).parent}" in receiver["volumes"]
    assert json.loads(receiver["environment"]["KLENHOOK_SOURCES__KLEN__SECRETS"]) == [
        f"file:/run/secrets/{name}" for name in compose["secrets"]
    ]
    for volume in (*receiver["volumes"], *proxy["volumes"]):
        source = volume.partition(":")[0]
        assert source in {"./plugins", *compose["volumes"]} or (DEPLOY / source).is_file(), volume
    port = re.findall(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE)[0]
    assert proxy["environment"]["HOOKS_UPSTREAM"] == f"klenhook:{port}"
    assert f"KLENHOOK_SERVER__LISTEN=0.0.0.0:{port}" in dockerfile
    assert set(re.findall(r"\{\$(\w+):", (DEPLOY / "proxy" / "Caddyfile").read_text("utf-8"))) == set(
        proxy["environment"]
    )


def seconds(text: str, name: str) -> float:
    """The value of a proxy's setting."""
    [value] = re.findall(rf"^\s*{name} (\d+)s;?$", text, re.MULTILINE)
    return float(value)


@pytest.mark.parametrize(
    ("file", "size", "wait", "idle"),
    [
        ("Caddyfile", "max_size 1MiB", "response_header_timeout", "keepalive"),
        ("nginx.conf", "client_max_body_size 1m;", "proxy_read_timeout", "keepalive_timeout"),
    ],
)
def test_the_proxies_have_the_right_limits(file: str, size: str, wait: str, idle: str) -> None:
    """They take what the service takes, wait longer than it does, and let go of connections before it does."""
    text = (DEPLOY / "proxy" / file).read_text("utf-8")
    upstream = text.partition("server {")[0] if file == "nginx.conf" else text

    assert CONFIG.server.max_body_bytes == 1024**2
    assert size in text
    assert seconds(text, wait) > CONFIG.server.store_timeout_seconds + 2
    assert seconds(upstream, idle) < listener.KEEPALIVE_SECONDS
    assert "/webhooks/" in CONFIG.sources["klen"].path
    assert "/webhooks/" in text


def test_every_file_is_explained() -> None:
    """deploy/README.md leads to each file, or to its neighbour in the same folder."""
    linked = re.findall(r"\]\(([^)#]+)\)", (DEPLOY / "README.md").read_text("utf-8"))
    folders = {(DEPLOY / target).parent for target in linked}
    for file in DEPLOY.rglob("*"):
        if file.is_file() and file.name != "README.md":
            assert file.parent in folders, file
