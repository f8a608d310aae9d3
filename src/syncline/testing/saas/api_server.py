"""An HTTP server on a loopback port for tests: remembers what was asked, and misbehaves on request.

with ApiServer(lambda asked: {"data": []}) as api:
    api.fail(429, headers={"Retry-After": "1"})     # the next answer
    get(api.url + "/things")
    assert api.asked[0].path == "/things"
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

__all__ = ["ApiServer", "Asked", "Reply"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request; ``body`` is decoded (JSON, or a form as a mapping), None when there was none."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None
    all_query: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer; ``body`` bytes are sent as they are, anything else as JSON. ``torn``: only the half of it is sent."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    torn: bool = False


class ApiServer:
    """``answer`` is called by many threads, one request at a time; what it returns is a :class:`Reply`, or the body of
    a good one."""

    def __init__(self, answer: Callable[[Asked], Any]) -> None:
        self.asked: list[Asked] = []
        self._answer = answer
        self._lock = threading.Lock()
        self._failures: list[tuple[Reply, str]] = []
        self._limit: tuple[int, float] | None = None
        self._window: list[float] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(
        self,
        status: int,
        *,
        times: int = 1,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        torn: bool = False,
        path: str = "",
    ) -> None:
        """Answer the next requests (those whose path begins with ``path``) in this way."""
        reply = Reply(status=status, body={} if body is None else body, headers=headers or {}, torn=torn)
        with self._lock:
            self._failures += [(reply, path)] * times

    def limit(self, requests: int, *, per_seconds: float = 1.0) -> None:
        """Answer more than so many requests with 429 and the time to wait."""
        self._limit = (requests, per_seconds)

    def count(self, path: str) -> int:
        """Requests so far whose path begins so."""
        return sum(a.path.startswith(path) for a in self.asked)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            for number, (reply, path) in enumerate(self._failures):
                if asked.path.startswith(path):
                    del self._failures[number]
                    return reply
            if self._limit is not None and (wait := self._over()) > 0:
                return Reply(status=429, body={"message": "too many requests"}, headers={"Retry-After": f"{wait:.2f}"})
            found = self._answer(asked)
        return found if isinstance(found, Reply) else Reply(body=found)

    def _over(self) -> float:
        assert self._limit is not None
        most, seconds = self._limit
        now = time.monotonic()
        self._window = [t for t in self._window if now - t < seconds]
        if len(self._window) >= most:
            return seconds - (now - self._window[0])
        self._window.append(now)
        return 0.0

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._do()

            def do_POST(self) -> None:
                self._do()

            def do_DELETE(self) -> None:
                self._do()

            def do_PATCH(self) -> None:
                self._do()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                pass

            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                parts = urlsplit(self.path)
                pairs = parse_qsl(parts.query, keep_blank_values=True)
                asked = Asked(
                    method=self.command,
                    path=parts.path,
                    query=dict(pairs),
                    all_query=tuple(pairs),
                    headers={k.lower(): v for k, v in self.headers.items()},
                    body=_decoded(raw, self.headers.get("Content-Type", "")),
                )
                reply = outer._reply(asked)
                data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                if "Content-Type" not in reply.headers:
                    self.send_header("Content-Type", "application/json")
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if reply.torn:
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                    return
                self.wfile.write(data)

        return Handler


def _decoded(raw: bytes, kind: str) -> Any:
    if not raw:
        return None
    if "form-urlencoded" in kind:
        return dict(parse_qsl(raw.decode(), keep_blank_values=True))
    return json.loads(raw)
