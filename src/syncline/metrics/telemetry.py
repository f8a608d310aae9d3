"""Runs as OpenTelemetry traces and metrics, sent by OTLP over HTTP where the standard variables say
(``OTEL_EXPORTER_OTLP_ENDPOINT`` and its like; ``OTEL_SDK_DISABLED=true`` switches it off).

A run's attempt is a span; its streams are its children, with the plan and each commit as events of theirs. Times are
those of the journal, so that a span tells when things happened and not when they were read."""

from __future__ import annotations

import importlib.metadata
import os
import threading
from datetime import UTC, datetime
from typing import Any

from syncline import __version__
from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine import events
from syncline.engine.listener import Run, RunEnd
from syncline.metrics.labels import Labels

__all__ = ["Telemetry", "telemetry_from_environment"]

_ENDPOINTS = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
)


def telemetry_from_environment() -> Telemetry | None:
    """None when nobody asked for it. Raises ``config`` when somebody did and the package is missing."""
    wanted = any(os.environ.get(name) for name in _ENDPOINTS)
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        importlib.metadata.version("opentelemetry-exporter-otlp-proto-http")
    except importlib.metadata.PackageNotFoundError:
        raise SynclineError(
            ErrorKind.CONFIG,
            "OTEL_EXPORTER_OTLP_ENDPOINT is set and the exporter is not installed",
            hint="pip install 'syncline[otel]', or unset the variable",
        ) from None
    return Telemetry()


class Telemetry:
    """A listener to runs. Exporting happens in threads of the SDK; what cannot be sent is dropped there."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        resource = Resource.create(
            {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "syncline", "service.version": __version__}
        )
        self._traces = TracerProvider(resource=resource)
        self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._metrics = MeterProvider(
            resource=resource, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())]
        )
        self._tracer = self._traces.get_tracer("syncline", __version__)
        meter = self._metrics.get_meter("syncline", __version__)
        self._rows_read = meter.create_counter("syncline.rows.read", unit="{row}")
        self._bytes_read = meter.create_counter("syncline.bytes.read", unit="By")
        self._rows_written = meter.create_counter("syncline.rows.written", unit="{row}")
        self._bytes_written = meter.create_counter("syncline.bytes.written", unit="By")
        self._quarantined = meter.create_counter("syncline.rows.quarantined", unit="{row}")
        self._changes = meter.create_counter("syncline.log.changes", unit="{change}")
        self._lag = meter.create_gauge("syncline.lag", unit="s")
        self._retained = meter.create_gauge("syncline.retained_wal", unit="By")
        self._runs = meter.create_counter("syncline.runs", unit="{run}")
        self._seconds = meter.create_histogram("syncline.run.duration", unit="s")
        self._labels = Labels()
        self._lock = threading.Lock()
        self._attempts: dict[tuple[str, str, int], Any] = {}
        self._streams: dict[tuple[tuple[str, str, int], str], Any] = {}

    def heard(self, run: Run, event: events.Event) -> None:
        connection = self._labels.connection(run.connection)
        with self._lock:
            self._trace(run, event)
        match event:
            case events.Progress():
                stream = {"connection": connection, "stream": self._labels.stream(connection, event.stream)}
                self._rows_read.add(event.rows, stream)
                self._bytes_read.add(event.bytes, stream)
            case events.PartitionCommitted():
                stream = {"connection": connection, "stream": self._labels.stream(connection, event.stream)}
                self._rows_written.add(event.rows, stream)
                self._bytes_written.add(event.bytes, stream)
                self._quarantined.add(event.quarantined, stream)
            case events.LogProgress():
                of = {"connection": connection}
                self._changes.add(event.rows, of)
                self._lag.set(event.lag_seconds, of)
                self._retained.set(event.retained_bytes, of)
            case _:
                pass

    def ended(self, run: Run, end: RunEnd) -> None:
        from opentelemetry.trace import Status, StatusCode

        of = {"connection": self._labels.connection(run.connection)}
        if end.final:
            self._runs.add(1, {**of, "status": end.status})
            self._seconds.record(end.seconds, of)
        with self._lock:
            key = _key(run)
            for stream_key in [each for each in self._streams if each[0] == key]:
                self._streams.pop(stream_key).end()
            span = self._attempts.pop(key, None)
        if span is None:
            return
        span.set_attribute("syncline.status", end.status)
        span.set_attribute("syncline.rows", end.rows)
        if end.error is not None:
            span.set_attribute("error.type", end.error.kind.value)
            span.set_status(Status(StatusCode.ERROR, end.error.message))
        span.end()

    def close(self) -> None:
        """Send what is left; some seconds at most. To be called before the process ends."""
        self._traces.shutdown()
        self._metrics.shutdown(timeout_millis=5000)

    def _trace(self, run: Run, event: events.Event) -> None:
        from opentelemetry.trace import Status, StatusCode, set_span_in_context

        at, key = _nanoseconds(event.at), _key(run)
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self._attempts[key] = self._tracer.start_span(
                f"{run.kind} {run.connection}",
                start_time=at,
                attributes={
                    "syncline.connection": run.connection,
                    "syncline.sync_id": run.sync_id,
                    "syncline.attempt": run.attempt,
                    **({"syncline.job": run.job} if run.job else {}),
                },
            )
        name = getattr(event, "stream", None)
        if isinstance(event, events.Progress | events.Log) or not isinstance(name, str):
            return
        stream = self._streams.get((key, name))
        if stream is None:
            stream = self._streams[key, name] = self._tracer.start_span(
                f"stream {name}",
                context=set_span_in_context(attempt),
                start_time=at,
                attributes={"syncline.stream": name},
            )
        match event:
            case events.StreamPlanned():
                stream.add_event("planned", {"write": event.write, "partitions": event.partitions}, at)
            case events.PartitionCommitted():
                stream.add_event(
                    "committed",
                    {"partition": event.partition, "rows": event.rows, "sequence": event.sequence},
                    at,
                )
            case events.SchemaChanged():
                stream.add_event("schema changed", {"change": event.change, "text": event.text}, at)
            case events.StreamFinished():
                stream.set_attribute("syncline.rows", event.rows_written)
                stream.set_attribute("syncline.status", event.status)
                if event.error is not None:
                    stream.set_status(Status(StatusCode.ERROR, str(event.error.get("message", ""))))
                stream.end(end_time=at)
                del self._streams[key, name]
            case _:
                pass


def _key(run: Run) -> tuple[str, str, int]:
    return run.connection_id or run.connection, run.sync_id, run.attempt


def _nanoseconds(at: str) -> int:
    moment = datetime.fromisoformat(at).astimezone(UTC)
    return int(moment.timestamp() * 1_000_000) * 1000
