"""Runs as lines in CloudWatch's embedded metric format: an agent that ships the log makes metrics of them, and nothing
has to be called. One line per run that ended, and one a minute of a followed log."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from syncline.engine import events
from syncline.engine.listener import Run, RunEnd

__all__ = ["EmfLines"]

_LAG_SECONDS = 60.0


class EmfLines:
    """A listener to runs. ``write`` takes whole lines without their end."""

    def __init__(self, write: Callable[[str], object], *, namespace: str = "Syncline") -> None:
        self._write, self._namespace = write, namespace
        self._lock = threading.Lock()
        self._told: dict[str, float] = {}
        self._file_bytes: dict[str, list[int]] = {}

    def heard(self, run: Run, event: events.Event) -> None:
        if isinstance(event, events.PartitionCommitted) and event.files:
            with self._lock:
                self._file_bytes.setdefault(run.connection, []).extend(event.files[:10_000])
        if not isinstance(event, events.LogProgress):
            return
        with self._lock:
            now = time.monotonic()
            if now - self._told.get(run.connection, -_LAG_SECONDS) < _LAG_SECONDS:
                return
            self._told[run.connection] = now
        self._line(
            run,
            {"LagSeconds": "Seconds", "LagBytes": "Bytes", "RetainedWalBytes": "Bytes"},
            LagSeconds=event.lag_seconds,
            LagBytes=event.lag_bytes,
            RetainedWalBytes=event.retained_bytes,
        )

    def ended(self, run: Run, end: RunEnd) -> None:
        with self._lock:
            sizes = self._file_bytes.pop(run.connection, [])
        if not end.final:
            return
        values: dict[str, float] = {
            "SyncDuration": end.seconds,
            "RowsSynced": end.rows,
            "BytesSynced": end.bytes,
            "Failures": int(end.status == "failed"),
        }
        units = {"SyncDuration": "Seconds", "RowsSynced": "Count", "BytesSynced": "Bytes", "Failures": "Count"}
        if sizes:
            values["FileSize"], units["FileSize"] = sum(sizes) / len(sizes), "Bytes"
        self._line(run, units, **values)

    def _line(self, run: Run, units: dict[str, str], **values: float) -> None:
        metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
        line = {
            "_aws": {
                "Timestamp": int(time.time() * 1000),
                "CloudWatchMetrics": [{"Namespace": self._namespace, "Dimensions": [["Pipeline"]], "Metrics": metrics}],
            },
            "Pipeline": run.connection,
            **values,
        }
        self._write(json.dumps(line, separators=(",", ":")))
