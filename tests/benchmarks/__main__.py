"""The benchmarks: `python -m tests.benchmarks`, or `make bench`.

Everything is measured side by side in one run. Client and server share the machine, so absolute figures
are low; the comparisons are what counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks import slow_disk
from tests.benchmarks.machine import facts
from tests.benchmarks.measures import MEASURES, Measure, measured
from tests.benchmarks.requests import BODY_BYTES, CONNECTIONS

FOLDER = Path(".benchmarks")
"""Here and not in /tmp, which may be in memory: a sync has to cost what it costs."""


def main() -> int:
    """Measure, print, and with `--check` judge."""
    options = _options()
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as name:
        folder = Path(name).resolve()
        machine = facts(folder)
        if options.sync_longer_ms:
            slow_disk.use(folder, options.sync_longer_ms)
        figures = measured(folder, options.only, rounds=options.rounds, count=options.count)
    machine["sync_longer_ms"] = options.sync_longer_ms
    machine |= {"connections": CONNECTIONS, "body_bytes": BODY_BYTES, "requests": options.count}
    told = [measure for measure in MEASURES if measure.name in figures]
    _print(told, figures, machine)
    if options.json:
        report = {"machine": machine, "measures": {m.name: _record(m, figures[m.name]) for m in told}}
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    failed = [m.title for m in told if not m.passes(statistics.median(figures[m.name]))]
    if options.check and failed:
        print(f"Below the floor: {'; '.join(failed)}.", file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    names = [measure.name for measure in MEASURES]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--quick", action="store_true", help="a short run, with more noise")
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--check", action="store_true", help="exit 1 if a median misses its floor")
    parser.add_argument(
        "--sync-longer-ms",
        type=float,
        default=0,
        metavar="MS",
        help="as on a slower disk: 1 makes a good one a consumer's, 10 a spinning one",
    )
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--count", type=int, help="requests per turn")
    options = parser.parse_args()
    options.only = options.only or names
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.count = options.count or (4_000 if options.quick else 20_000)
    return options


def _record(measure: Measure, values: list[float]) -> dict[str, object]:
    return {
        "title": measure.title,
        "median": statistics.median(values),
        "rounds": values,
        "floor": measure.floor,
        "passes": measure.passes(statistics.median(values)),
    }


def _print(told: list[Measure], figures: dict[str, list[float]], machine: dict[str, object]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("measure")
    for column in ("median", "floor", "lowest", "highest"):
        table.add_column(column, justify="right")
    table.add_column("")
    for measure in told:
        values = figures[measure.name]
        median = statistics.median(values)
        table.add_row(
            measure.title,
            _number(median),
            "" if measure.floor is None else f"{'<=' if measure.at_most else '>='} {measure.floor:g}",
            _number(min(values)),
            _number(max(values)),
            "" if measure.passes(median) else "MISSED",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print("; ".join(f"{name} {value}" for name, value in machine.items()))
    console.print("Client and server share the processor; ratios are computed within each round.")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
