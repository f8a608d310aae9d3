"""A port to scrape for commands that have no server: ``syncline sync --follow --metrics-port``."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from syncline.core.errors import ErrorKind, SynclineError
from syncline.metrics.prometheus import CONTENT_TYPE, PrometheusMetrics

__all__ = ["MetricsPort"]


class MetricsPort:
    """Answers ``GET /metrics`` on loopback until :meth:`close`. ``port`` 0 takes a free one. Raises ``config`` when
    the port is taken."""

    def __init__(self, metrics: PrometheusMetrics, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.split("?")[0] == "/metrics"
                body = metrics.text() if found else b"see /metrics\n"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"metrics cannot be served on port {port}: {error.strerror}",
                hint="choose another --metrics-port",
            ) from error
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
