"""Use case: what a scrape gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import cast

from syncline.metrics.prometheus import CONTENT_TYPE, Metric, PrometheusMetrics, gauge
from syncline.service.callers import Caller
from syncline.service.control import Control
from syncline.store import job_summary

__all__ = ["CONTENT_TYPE", "metrics_of", "scrape"]

#: Scrapers that come more often get the store's former answer.
_STORE_SECONDS = 5.0


def metrics_of(control: Control) -> PrometheusMetrics:
    """The process's own, made at the first call; the supervisor's events go there."""
    made = control.memory.get("metrics")
    if made is None:
        fresh = PrometheusMetrics()
        made = control.memory.setdefault("metrics", fresh)
        if made is fresh:
            fresh.collect_with(_Stored(control))
    return cast(PrometheusMetrics, made)


def scrape(control: Control, caller: Caller) -> bytes:
    """All metrics as text of :data:`CONTENT_TYPE`. Names of all workspaces are in it: for whoever may read the whole
    instance."""
    caller.require_instance_reader()
    return metrics_of(control).text()


class _Stored:
    """Gauges that stand in the store. Called by the registry at each scrape, from any thread."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._known: list[Metric] = []
        self._until = 0.0

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if time.monotonic() >= self._until:
                self._known = self._look()
                self._until = time.monotonic() + _STORE_SECONDS
            return self._known

    def _look(self) -> list[Metric]:
        with self._control.database.read() as tx:
            waiting = job_summary.active_by_status(tx)
            connections = job_summary.of_connections(tx)
        jobs = gauge("syncline_jobs", "Jobs that wait or run.", ("status",))
        for status, count in waiting.items():
            jobs.add_metric([status], count)
        seen = gauge(
            "syncline_last_success_timestamp_seconds",
            "When a connection's last successful run ended; 0 for never.",
            ("connection",),
        )
        labels = metrics_of(self._control).labels
        told: set[str] = set()
        for each in connections:
            name = labels.connection(each.name)
            if name not in told:  # names need not be unique, series must be
                told.add(name)
                seen.add_metric([name], each.last_success_at.timestamp() if each.last_success_at else 0)
        active = gauge("syncline_connections", "Active connections.", ())
        active.add_metric([], len(connections))
        return [jobs, seen, active]
