"""Runs as Prometheus metrics. Counters start at 0 with the process, which Prometheus takes for a restart; gauges that
stand in the store are asked for at each scrape by whoever gives :meth:`PrometheusMetrics.collect_with` a collector.

Names follow Prometheus' rules (base units, ``_total``); ``pipeline_runs_total`` and ``pipeline_duration_seconds`` are
those that dashboards of hand-written pipelines use."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily

from syncline import __version__
from syncline.engine import events
from syncline.engine.listener import Run, RunEnd
from syncline.metrics.labels import Labels

__all__ = ["CONTENT_TYPE", "Metric", "PrometheusMetrics", "gauge"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: From a second to the user's alert at 30 minutes and beyond it to the longest that people wait.
_DURATIONS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 43200)
#: Around the limits of 10 MB and 1 GB outside of which files are slow to read.
_FILE_SIZES = (1e5, 1e6, 1e7, 6.4e7, 1.28e8, 2.56e8, 5.12e8, 1e9, 5e9)
_PIPELINE = ("pipeline",)
_STREAM = ("connection", "stream")


class _Collects(Protocol):
    def collect(self) -> Iterable[Metric]: ...


def gauge(name: str, help_text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    """A gauge as a value, for collectors."""
    return GaugeMetricFamily(name, help_text, labels=labels)


class PrometheusMetrics:
    """A listener to runs, and what a scrape gets. Thread-safe."""

    def __init__(self, labels: Labels | None = None) -> None:
        self.labels = labels or Labels()
        self._lock = threading.Lock()
        self._registry = registry = CollectorRegistry(auto_describe=True)
        build = Gauge("syncline_build_info", "The version that runs.", ("version",), registry=registry)
        build.labels(__version__).set(1)
        self._runs = Counter(
            "pipeline_runs", "Runs that ended, by their end.", ("pipeline", "status"), registry=registry
        )
        self._seconds = Histogram(
            "pipeline_duration_seconds",
            "Seconds from a run's first attempt to its end.",
            _PIPELINE,
            buckets=_DURATIONS,
            registry=registry,
        )
        self._last_rows = Gauge(
            "pipeline_last_run_rows", "Rows written by the last run that ended.", _PIPELINE, registry=registry
        )
        self._attempts = Counter(
            "syncline_attempts",
            "Attempts that ended; kind is the error's, empty without one.",
            ("connection", "status", "kind"),
            registry=registry,
        )
        self._rows_read = Counter("syncline_rows_read", "Rows read from the source.", _STREAM, registry=registry)
        self._bytes_read = Counter(
            "syncline_bytes_read", "Bytes read from the source, as Arrow.", _STREAM, registry=registry
        )
        self._rows_written = Counter(
            "syncline_rows_written", "Rows committed at the destination.", _STREAM, registry=registry
        )
        self._bytes_written = Counter(
            "syncline_bytes_written", "Bytes committed at the destination.", _STREAM, registry=registry
        )
        self._quarantined = Counter(
            "syncline_rows_quarantined", "Rows put into quarantine.", _STREAM, registry=registry
        )
        self._file_bytes = Histogram(
            "syncline_file_bytes", "Sizes of files written.", ("connection",), buckets=_FILE_SIZES, registry=registry
        )
        self._changes = Counter(
            "syncline_log_changes", "Changes of the source's log applied.", ("connection",), registry=registry
        )
        self._lag_seconds = Gauge(
            "syncline_lag_seconds",
            "Everything committed at the source so long ago is at the destination.",
            ("connection",),
            registry=registry,
        )
        self._lag_bytes = Gauge(
            "syncline_lag_bytes", "Bytes of the source's log not yet applied.", ("connection",), registry=registry
        )
        self._retained = Gauge(
            "syncline_retained_wal_bytes", "Log that the source keeps for us.", ("connection",), registry=registry
        )
        self._spool = Gauge("syncline_spool_bytes", "Changes kept on our disk.", ("connection",), registry=registry)
        self._queue = Gauge(
            "syncline_queue_bytes",
            "Bytes between readers and writers in memory: near 32 MiB for each partition that is read, the destination "
            "is what is slow.",
            ("connection",),
            registry=registry,
        )
        #: by label, what waits of each partition (connection, stream, partition) that is being read
        self._queued: dict[str, dict[tuple[str, str, str], int]] = {}
        self._schema = Counter(
            "syncline_schema_changes", "Schema changes seen.", ("connection", "change"), registry=registry
        )

    def heard(self, run: Run, event: events.Event) -> None:
        connection = self.labels.connection(run.connection)
        match event:
            case events.Progress():
                stream = self.labels.stream(connection, event.stream)
                self._rows_read.labels(connection, stream).inc(event.rows)
                self._bytes_read.labels(connection, stream).inc(event.bytes)
                self._waits(connection, (run.connection, event.stream, event.partition), event.queued)
            case events.PartitionCommitted():
                stream = self.labels.stream(connection, event.stream)
                self._rows_written.labels(connection, stream).inc(event.rows)
                self._bytes_written.labels(connection, stream).inc(event.bytes)
                if event.quarantined:
                    self._quarantined.labels(connection, stream).inc(event.quarantined)
                for size in event.files:
                    self._file_bytes.labels(connection).observe(size)
                self._waits(connection, (run.connection, event.stream, event.partition), 0)
            case events.LogProgress():
                self._changes.labels(connection).inc(event.rows)
                self._lag_seconds.labels(connection).set(event.lag_seconds)
                self._lag_bytes.labels(connection).set(event.lag_bytes)
                self._retained.labels(connection).set(event.retained_bytes)
                self._spool.labels(connection).set(event.spool_bytes)
            case events.SchemaChanged():
                self._schema.labels(connection, event.change).inc()
            case _:
                pass

    def _waits(self, connection: str, partition: tuple[str, str, str], queued: int) -> None:
        with self._lock:
            parts = self._queued.setdefault(connection, {})
            parts[partition] = queued
            if queued == 0:
                del parts[partition]
            self._queue.labels(connection).set(sum(parts.values()))

    def ended(self, run: Run, end: RunEnd) -> None:
        connection = self.labels.connection(run.connection)
        for partition in [p for p in self._queued.get(connection, ()) if p[0] == run.connection]:
            self._waits(connection, partition, 0)  # of an attempt that failed, or died
        kind = "" if end.error is None else end.error.kind.value
        status = "failed" if end.error is not None and end.status == "succeeded" else end.status
        self._attempts.labels(connection, status, kind).inc()
        if end.final:
            self._runs.labels(connection, end.status).inc()
            self._seconds.labels(connection).observe(end.seconds)
            if end.status == "succeeded":
                self._last_rows.labels(connection).set(end.rows)

    def collect_with(self, collector: _Collects) -> None:
        """Ask ``collector`` too at each scrape. It is called once at once."""
        self._registry.register(collector)

    def text(self) -> bytes:
        """Everything in Prometheus' text format, of :data:`CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def samples(self) -> Iterable[Metric]:
        """Everything as values, for forms other than text."""
        return self._registry.collect()
