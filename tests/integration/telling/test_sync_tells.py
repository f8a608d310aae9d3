"""What the command line tells others: alerts on failure and on its end, OpenTelemetry to a collector, EMF lines, a port
for Prometheus; and what it says of itself: doctor and diagnose."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Taken:
    """A server that keeps what it is sent, by path."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {}
        taken = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    import gzip

                    body = gzip.decompress(body)
                taken.bodies.setdefault(self.path, []).append(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def taken() -> Iterator[Taken]:
    made = Taken()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "numbers.yaml"
    path.write_text(
        f"""
source: {{type: files, config: {{path: {tmp_path}, streams: [{{name: in, globs: [in.csv]}}]}}}}
destination: {{type: local, config: {{path: {tmp_path / "lake"}}}}}
alerts:
  channels: ["${{HOOK}}"]
  rules: {{lag: false, rows_synced: {{min: 2}}}}
""",
        encoding="utf-8",
    )
    return path


def syncline(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "syncline", *arguments],
        env={**os.environ, "SYNCLINE_HOME": str(tmp_path / "home"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_alerts_of_a_project(tmp_path: Path, project: Path, taken: Taken) -> None:
    hook = f"json://127.0.0.1:{taken.port}/hook"

    def messages() -> list[dict[str, Any]]:
        return [json.loads(body) for body in taken.bodies.get("/hook", [])]

    tested = syncline(tmp_path, "alerts", "test", str(project), HOOK=hook)
    assert (tested.returncode, tested.stdout) == (0, "json: sent\n"), tested.stderr
    taken.bodies.clear()
    for _ in range(2):  # cron tries again; people are told once
        failed = syncline(tmp_path, "sync", str(project), HOOK=hook)
        assert failed.returncode == 3, failed.stderr
    (told,) = messages()
    assert told["type"] == "failure" and "numbers" in told["title"] and "Next: " in told["message"]

    said = syncline(tmp_path, "diagnose", str(project), HOOK=hook)
    assert "numbers: run" in said.stdout and "failed" in said.stdout

    (tmp_path / "in.csv").write_text("id\n1\n", encoding="utf-8")
    assert syncline(tmp_path, "sync", str(project), HOOK=hook).returncode == 0
    _, over, few = messages()
    assert over["type"] == "success" and "resolved" in over["title"]
    assert "1 rows, fewer than 2" in few["message"]

    # A channel that cannot be reached is a warning; one that is none, or whose secret is missing, an error before.
    (tmp_path / "in.csv").write_text("id\n1\n2\n", encoding="utf-8")
    deaf = syncline(tmp_path, "sync", str(project), HOOK="json://127.0.0.1:9/hook")
    assert deaf.returncode == 0, deaf.stderr
    none = syncline(tmp_path, "sync", str(project), HOOK="nothing")
    assert none.returncode == 3 and "this is no channel" in none.stderr
    missing = syncline(tmp_path, "sync", str(project))
    assert missing.returncode == 3 and "HOOK is not set" in missing.stderr


@pytest.mark.slow
def test_a_collector_gets_spans_and_metrics(tmp_path: Path, project: Path, taken: Taken) -> None:
    (tmp_path / "in.csv").write_text("id\n1\n2\n3\n", encoding="utf-8")
    project.write_text(project.read_text(encoding="utf-8").split("alerts:")[0], encoding="utf-8")
    lines = tmp_path / "emf.log"
    done = syncline(
        tmp_path,
        "sync",
        str(project),
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{taken.port}",
        SYNCLINE_EMF_FILE=str(lines),
    )
    assert done.returncode == 0, done.stderr
    spans = {}
    for body in taken.bodies["/v1/traces"]:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                spans.update({span.name: span for span in scope.spans})
    attempt, stream = spans["sync numbers"], spans["stream in"]
    assert stream.parent_span_id == attempt.span_id and stream.trace_id == attempt.trace_id
    assert [event.name for event in stream.events] == ["planned", "committed"]
    assert attempt.start_time_unix_nano <= stream.start_time_unix_nano <= stream.end_time_unix_nano
    sums = {}
    for body in taken.bodies["/v1/metrics"]:
        for found in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope_metrics in found.scope_metrics:
                for metric in scope_metrics.metrics:
                    if metric.WhichOneof("data") == "sum":
                        sums[metric.name] = sum(point.as_int for point in metric.sum.data_points)
    assert sums["syncline.rows.written"] == 3 and sums["syncline.runs"] == 1
    (line,) = [json.loads(text) for text in lines.read_text(encoding="utf-8").splitlines()]
    assert line["RowsSynced"] == 3 and line["Pipeline"] == "numbers" and line["FileSize"] > 0
    (described,) = line["_aws"]["CloudWatchMetrics"]
    assert {each["Name"] for each in described["Metrics"]} <= line.keys()


@pytest.mark.slow
def test_a_port_to_scrape_while_a_sync_runs(tmp_path: Path, project: Path) -> None:
    project.write_text(project.read_text(encoding="utf-8").split("alerts:")[0], encoding="utf-8")
    (tmp_path / "in.csv").write_text("id\n" + "\n".join(str(n) for n in range(3_000_000)), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "syncline", "sync", str(project), "--metrics-port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, "SYNCLINE_HOME": str(tmp_path / "home")})
    text = ""
    try:
        until = time.monotonic() + 60
        while "syncline_rows_read_total{" not in text and process.poll() is None and time.monotonic() < until:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                    text = answer.read().decode()
            except OSError:
                time.sleep(0.02)
    finally:
        assert process.wait(60) == 0
    assert "syncline_build_info" in text


@pytest.mark.slow
def test_doctor_sees_a_home_that_others_can_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert syncline(tmp_path, "doctor").returncode == 0
    assert home.stat().st_mode & 0o777 == 0o700, "made for its user alone"
    home.chmod(0o755)
    looked = syncline(tmp_path, "doctor", "--json", SYNCLINE_PORT="1")
    assert looked.returncode == 0
    looks = {look["area"]: look for look in json.loads(looked.stdout)}
    assert looks["home"]["state"] == "warning" and "chmod 700" in looks["home"]["next"]
    assert looks["native code"]["state"] in ("ok", "warning")
    (home / "syncline.db").write_bytes(b"this is not a database, whatever its name says" * 100)
    broken = syncline(tmp_path, "doctor")
    assert broken.returncode == 1 and "FAIL  store" in broken.stdout
