"""Every metric by name, and the page that Prometheus reads.

The figures are counted in `counts.py` and by the log; here they only get their names. The rule easiest to
break: a label has few values, and none that came from outside. `deploy/README.md` documents each metric, and
the dashboard and the alerts use no other; tests keep them in step.
"""

from __future__ import annotations

import platform
import sqlite3
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from storage.errors import StorageError
from storage.tally import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric as Family

    from receiver.clock import Clock
    from receiver.counts import Counts
    from storage.log import EventLog
    from storage.records import LogVitals

__all__ = ["CONTENT_TYPE_LATEST", "METRICS", "Metrics"]

Labels = tuple[str, ...]
Value = float | Histogram


class Metric(NamedTuple):
    """One metric as it is declared."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    text: str


METRICS: Final = (
    Metric("klenhook_build_info", "gauge", ("version", "python", "sqlite"), "Versions in use; always 1."),
    Metric("klenhook_start_time_seconds", "gauge", (), "When the service started, in seconds since 1970."),
    Metric("klenhook_deliveries_total", "counter", ("outcome",), "Requests to the public listener."),
    Metric("klenhook_answer_seconds", "histogram", (), "From the head of a webhook's request to its answer."),
    Metric("klenhook_events_total", "counter", ("event_type", "verdict"), "Events given to routing."),
    Metric("klenhook_unrouted_events", "gauge", (), "Events that are stored and not routed yet."),
    Metric("klenhook_unrouted_age_seconds", "gauge", (), "How long the oldest of them has waited."),
    Metric(
        "klenhook_runs_total", "counter", ("handler", "state"), "Attempts of handlers, by how they ended."
    ),
    Metric("klenhook_handler_seconds", "histogram", ("handler",), "What attempts of handlers took."),
    Metric("klenhook_unfinished_runs", "gauge", ("handler",), "Runs that wait or are under way."),
    Metric("klenhook_backlog_age_seconds", "gauge", ("handler",), "For how long the oldest live run is due."),
    Metric("klenhook_messages_total", "counter", ("handler", "state"), "Attempts to send from the outbox."),
    Metric("klenhook_batch_rows", "histogram", (), "Changes of the log that were committed together."),
    Metric("klenhook_sync_seconds", "histogram", (), "What a commit took, with its sync to disk."),
    Metric("klenhook_queue_rows", "gauge", (), "Changes that wait for the log's writer."),
    Metric("klenhook_queue_bytes", "gauge", (), "Bodies among them."),
    Metric("klenhook_log_writable", "gauge", (), "1 if the latest write succeeded, 0 if not."),
    Metric("klenhook_log_bytes", "gauge", (), "Size of the log's main file."),
    Metric("klenhook_wal_bytes", "gauge", (), "Size of the write-ahead file."),
    Metric("klenhook_disk_free_bytes", "gauge", (), "What the file system of the log has left for us."),
    Metric("klenhook_disk_free_inodes", "gauge", (), "How many more files it takes, where it says so."),
    Metric("klenhook_log_examinations_total", "counter", ("result",), "Checks of the log's structure."),
    Metric("klenhook_log_examined_timestamp_seconds", "gauge", (), "When the latest of them ended."),
    Metric("klenhook_reconciled_total", "counter", ("event_type",), "Missing events found by reconciling."),
    Metric(
        "klenhook_overdue_total", "counter", ("event_type",), "Expected events that did not come in time."
    ),
    Metric("klenhook_reloads_total", "counter", ("result",), "Reloads of configuration and plugins."),
)


class Metrics:
    """What this service has to tell."""

    def __init__(
        self, counts: Counts, log: EventLog, clock: Clock, handlers: Callable[[], Iterable[str]]
    ) -> None:
        """`handlers` names those that run."""
        self._counts = counts
        self._handlers = handlers
        self._log = log
        self._clock = clock
        self._started_ms = clock.now_ms()
        self._process = ProcessCollector(registry=CollectorRegistry())

    async def page(self) -> bytes:
        """All of it, in the text format of Prometheus. If the log cannot be asked, without what it knows."""
        try:
            vitals: LogVitals | None = await self._log.vitals()
        except StorageError:
            vitals = None
        self._counts.start_at_zero(self._handlers())
        figures: dict[str, Mapping[Labels, Value]] = {
            **_figures(self._counts),
            "klenhook_start_time_seconds": {(): self._started_ms / 1000},
            "klenhook_log_writable": {(): float(self._log.healthy)},
        }
        if vitals is not None:
            figures |= _figures_of_log(vitals, self._clock.now_ms())
        return generate_latest(_Page(figures, self._process))


class _Page(Collector):
    """Figures under their names, ready to be written."""

    def __init__(self, figures: Mapping[str, Mapping[Labels, Value]], more: Collector) -> None:
        self._figures = figures
        self._more = more

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            if (values := self._figures.get(metric.name)) is not None:
                yield _family(metric, values)
        yield from self._more.collect()


def _family(metric: Metric, values: Mapping[Labels, Value]) -> Family:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.text, labels=metric.labels)
        for labels, value in values.items():
            assert isinstance(value, Histogram)  # noqa: S101 -- a slip in the table above, not input
            histogram.add_metric(labels, _buckets(value), sum_value=value.total)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.text, labels=metric.labels)
    for labels, value in values.items():
        assert not isinstance(value, Histogram)  # noqa: S101 -- as above
        family.add_metric(labels, value)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    names = [f"{bound:g}" for bound in histogram.bounds]
    return list(zip([*names, "+Inf"], histogram.cumulative, strict=True))


def _figures(counts: Counts) -> dict[str, Mapping[Labels, Value]]:
    """What the service counts."""
    return {
        "klenhook_build_info": {
            (version("klenhook"), platform.python_version(), sqlite3.sqlite_version): 1,
        },
        "klenhook_deliveries_total": _by_name(counts.deliveries.items()),
        "klenhook_answer_seconds": {(): counts.answer_seconds},
        "klenhook_events_total": counts.events,
        "klenhook_runs_total": counts.runs,
        "klenhook_handler_seconds": _by_name(counts.handler_seconds.items()),
        "klenhook_unfinished_runs": _by_name(counts.unfinished.items()),
        "klenhook_messages_total": counts.messages,
        "klenhook_log_examinations_total": _by_name(counts.examinations.items()),
        "klenhook_log_examined_timestamp_seconds": {}
        if counts.examined_at_ms is None
        else {(): counts.examined_at_ms / 1000},
        "klenhook_reconciled_total": _by_name(counts.reconciled.items()),
        "klenhook_overdue_total": _by_name(counts.overdue.items()),
        "klenhook_reloads_total": _by_name(counts.reloads.items()),
    }


def _figures_of_log(vitals: LogVitals, now_ms: int) -> dict[str, Mapping[Labels, Value]]:
    """What the log says of itself."""

    def age(since_ms: int | None) -> float:
        return 0.0 if since_ms is None else max(0, now_ms - since_ms) / 1000

    figures: dict[str, Mapping[Labels, Value]] = {
        "klenhook_unrouted_events": {(): vitals.unrouted},
        "klenhook_unrouted_age_seconds": {(): age(vitals.unrouted_since_ms)},
        "klenhook_backlog_age_seconds": _by_name(
            (handler, age(since)) for handler, since in vitals.due_since_ms.items()
        ),
        "klenhook_batch_rows": {(): vitals.batch_rows},
        "klenhook_sync_seconds": {(): vitals.sync_seconds},
        "klenhook_queue_rows": {(): vitals.queue_rows},
        "klenhook_queue_bytes": {(): vitals.queue_bytes},
        "klenhook_log_bytes": {(): vitals.size_bytes},
        "klenhook_wal_bytes": {(): vitals.wal_bytes},
        "klenhook_disk_free_bytes": {(): vitals.free_bytes},
    }
    if vitals.free_inodes is not None:
        figures["klenhook_disk_free_inodes"] = {(): vitals.free_inodes}
    return figures


def _by_name(values: Iterable[tuple[str, Value]]) -> dict[Labels, Value]:
    """For metrics with one label."""
    return {(name,): value for name, value in values}
