"""Who listens to a run of the command line: the project's alerts, OpenTelemetry, a port for Prometheus, lines for
CloudWatch."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from syncline.alerts.book import Alert, Telling
from syncline.alerts.channels import check_channel, send
from syncline.alerts.config import AlertRules, QuietHours
from syncline.alerts.message import Message, message_for
from syncline.alerts.watchman import Watchman
from syncline.core.errors import SynclineError
from syncline.engine.listener import Listener, Listeners
from syncline.sdk.interpolation import resolve
from syncline.settings import Settings

__all__ = ["AlertsBlock", "listening", "test_channels"]

_log = logging.getLogger("syncline.alerts")

_LOOK_SECONDS = 5.0


class AlertsBlock(BaseModel):
    """``alerts:`` of a project file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[str, ...] = Field(
        default=(), description="where people are told: apprise URLs, best as references like ${SLACK_URL}"
    )
    rules: AlertRules = Field(default_factory=AlertRules, description="what they are told of, by rule")
    quiet_hours: QuietHours | None = Field(default=None, description="hours in which nothing is sent")


@contextmanager
def listening(
    settings: Settings, alerts: AlertsBlock | None, project: Path, *, metrics_port: int | None = None
) -> Iterator[Listener | None]:
    """Everything that the environment, the project and the command ask for, as one listener; None when nothing is.
    What is to be sent is sent when this ends, or given up after half a minute. Raises ``config`` before any data
    is touched for what cannot be."""
    with ExitStack() as stack:
        found: list[Listener] = []
        if any(name.startswith("OTEL_EXPORTER_OTLP") for name in os.environ):
            from syncline.metrics.telemetry import telemetry_from_environment

            telemetry = telemetry_from_environment()
            if telemetry is not None:
                stack.callback(telemetry.close)
                found.append(telemetry)
        if metrics_port is not None:
            from syncline.metrics.port import MetricsPort
            from syncline.metrics.prometheus import PrometheusMetrics

            metrics = PrometheusMetrics()
            port = MetricsPort(metrics, metrics_port)
            stack.callback(port.close)
            found.append(metrics)
        emf = os.environ.get("SYNCLINE_EMF_FILE")
        if emf:
            from syncline.metrics.emf import EmfLines

            lines = stack.enter_context(Path(emf).open("a", encoding="utf-8", buffering=1))
            found.append(EmfLines(lambda line: lines.write(line + "\n")))
        if alerts is not None and alerts.channels:
            teller = _Teller(settings, alerts, project)
            stack.callback(teller.close)
            found.append(teller)
        yield Listeners(found) if found else None


def test_channels(alerts: AlertsBlock) -> list[tuple[str, SynclineError | None]]:
    """Send a message to each channel now; what became of each, by its kind."""
    text = "This is what an alert will look like. Nothing is wrong."
    outcomes: list[tuple[str, SynclineError | None]] = []
    for url in _resolved(alerts):
        kind = check_channel(url)
        try:
            send(url, Message(title="🔵 Syncline: test", body=text, level="info"))
            outcomes.append((kind, None))
        except SynclineError as error:
            outcomes.append((kind, error))
    return outcomes


def _resolved(alerts: AlertsBlock) -> list[str]:
    return [str(resolve(url)) for url in alerts.channels]


class _Teller(Watchman):
    """A watchman that remembers what is open in a file of the home, so that the next run, of cron perhaps, tells of
    the end and not of the same again."""

    def __init__(self, settings: Settings, alerts: AlertsBlock, project: Path) -> None:
        self._urls = _resolved(alerts)
        for url in self._urls:
            check_channel(url)
        self._file = _FileBook(settings.home / "alerts" / f"{_digest(project)}.json")
        super().__init__(self._file, lambda _: alerts.rules)
        self._quiet = alerts.quiet_hours
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        last = False
        while not last:
            last = self._stopping.wait(_LOOK_SECONDS)
            try:
                self.look()
                self._send(self._file.take(self._quiet))
            except Exception:  # noqa: BLE001 - alerts never fail a sync
                _log.exception("alerts could not be told")

    def _send(self, told: Sequence[tuple[Alert, Telling]]) -> None:
        for alert, telling in told:
            for url in self._urls:
                try:
                    send(url, message_for(alert, telling))
                except SynclineError as error:
                    _log.warning("an alert was not delivered: %s", error)


class _FileBook:
    """Open alerts, and messages that wait for the end of quiet hours, as JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, dict[str, Any]] = {}
        self._waiting: list[tuple[dict[str, Any], Telling]] = []
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))
            self._open, self._waiting = known["open"], [(a, t) for a, t in known["waiting"]]

    def open_alerts(self) -> Sequence[Alert]:
        return [_from_json(data) for data in self._open.values()]

    def write(self, alert: Alert, telling: Telling) -> None:
        unheard = [a for a, _ in self._waiting if a["id"] == alert.id]
        if alert.resolved_at is None:
            self._open[alert.id] = _to_json(alert)
        else:
            self._open.pop(alert.id, None)
        if telling == "resolved" and unheard:  # nobody heard of it; nobody needs to hear that it is over
            self._waiting = [(a, t) for a, t in self._waiting if a["id"] != alert.id]
        else:
            self._waiting.append((_to_json(alert), telling))
        self._save()

    def take(self, quiet: QuietHours | None) -> list[tuple[Alert, Telling]]:
        """What is to be told now; the rest waits."""
        still = quiet is not None and quiet.until(datetime.now(UTC)) is not None
        loud = quiet.except_rules if quiet is not None else []
        told = [(a, t) for a, t in self._waiting if not still or a["rule"] in loud]
        if told:
            self._waiting = [each for each in self._waiting if each not in told]
            self._save()
        return [(_from_json(a), t) for a, t in told]

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps({"open": self._open, "waiting": self._waiting}), encoding="utf-8")
        fresh.replace(self._path)


def _to_json(alert: Alert) -> dict[str, Any]:
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in asdict(alert).items()}


def _from_json(data: dict[str, Any]) -> Alert:
    times = {k: datetime.fromisoformat(data[k]) for k in ("since", "told_at", "resolved_at") if data[k] is not None}
    return Alert(**{**data, **times})


def _digest(project: Path) -> str:
    return f"{project.stem}-{hashlib.sha256(str(project.resolve()).encode()).hexdigest()[:12]}"
