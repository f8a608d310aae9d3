"""What a scrape gets, read back by Prometheus' own parser; and that names of streams cannot fill it."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from syncline.core.errors import ErrorKind, SynclineError
from syncline.engine.events import LogProgress, PartitionCommitted, Progress, SchemaChanged
from syncline.engine.listener import Run, RunEnd
from syncline.metrics.labels import OTHER, Labels
from syncline.metrics.prometheus import PrometheusMetrics

RUN = Run(connection='e"r\np', sync_id="s", attempt=1, started_at=datetime(2026, 1, 1, tzinfo=UTC))


def values(metrics: PrometheusMetrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_events_add_up() -> None:
    metrics = PrometheusMetrics()
    for _ in range(2):
        metrics.heard(RUN, Progress(stream="public.t", partition="0", rows=10, bytes=100))
    committed = PartitionCommitted(
        stream="public.t", partition="0", rows=18, quarantined=2, sequence=1, bytes=50, files=[20_000_000, 30]
    )
    metrics.heard(RUN, committed)
    metrics.heard(RUN, SchemaChanged(stream="public.t", change="added", before=None, after="x"))
    metrics.heard(
        RUN,
        LogProgress(
            rows=3,
            position=1,
            end=2,
            lag_bytes=7,
            lag_seconds=1.5,
            retained_bytes=9,
            spool_bytes=4,
            slot="active",
            catching_up=[],
        ),
    )
    error = SynclineError(ErrorKind.UNREACHABLE, "gone")
    metrics.ended(RUN, RunEnd(status="failed", final=False, error=error, seconds=5, rows=0, bytes=0))
    metrics.ended(RUN, RunEnd(status="succeeded", final=True, error=None, seconds=9, rows=18, bytes=200))
    found = values(metrics)
    name = ("connection", RUN.connection)
    stream = (name, ("stream", "public.t"))
    assert found["syncline_rows_read_total", stream] == 20
    assert found["syncline_bytes_read_total", stream] == 200
    assert found["syncline_rows_written_total", stream] == 18
    assert found["syncline_bytes_written_total", stream] == 50
    assert found["syncline_rows_quarantined_total", stream] == 2
    assert found["syncline_file_bytes_count", (name,)] == 2
    assert found["syncline_file_bytes_bucket", (name, ("le", "1e+07"))] == 1
    assert found["syncline_log_changes_total", (name,)] == 3
    assert found["syncline_lag_seconds", (name,)] == 1.5
    assert found["syncline_retained_wal_bytes", (name,)] == 9
    assert found["syncline_schema_changes_total", (("change", "added"), name)] == 1
    assert found["syncline_attempts_total", (name, ("kind", "unreachable"), ("status", "failed"))] == 1
    assert found["syncline_attempts_total", (name, ("kind", ""), ("status", "succeeded"))] == 1
    pipeline = ("pipeline", RUN.connection)
    assert found["pipeline_runs_total", (pipeline, ("status", "succeeded"))] == 1
    assert ("pipeline_runs_total", (pipeline, ("status", "failed"))) not in found, "an attempt is not a run"
    assert found["pipeline_duration_seconds_sum", (pipeline,)] == 9


def test_queues_are_summed_up_and_gone_with_their_partitions() -> None:
    metrics = PrometheusMetrics()
    queue = ("syncline_queue_bytes", (("connection", RUN.connection),))
    for partition, queued in (("0", 5), ("1", 7), ("0", 9)):
        metrics.heard(RUN, Progress(stream="t", partition=partition, rows=1, bytes=1, queued=queued))
    assert values(metrics)[queue] == 16
    metrics.heard(RUN, PartitionCommitted(stream="t", partition="0", rows=2, quarantined=0, sequence=1))
    assert values(metrics)[queue] == 7
    metrics.ended(RUN, RunEnd(status="failed", final=False, error=None, seconds=1, rows=0, bytes=0))
    assert values(metrics)[queue] == 0


def test_ten_thousand_streams_are_few_series() -> None:
    metrics = PrometheusMetrics(Labels(connections=3, streams=5))
    for connection in range(10):
        run = Run(connection=f"c{connection}", sync_id="s", attempt=1, started_at=RUN.started_at)
        for stream in range(1000):
            metrics.heard(run, Progress(stream=f"t{stream}", partition="0", rows=1, bytes=1))
    rows = {labels: value for (name, labels), value in values(metrics).items() if name == "syncline_rows_read_total"}
    assert len(rows) == 4 * 6
    assert sum(rows.values()) == 10_000
    assert rows[("connection", OTHER), ("stream", OTHER)] == 7 * 995
