"""What we ask of Cloud Storage, answered over HTTP from a folder: objects uploaded, listed, removed.

Google's own API has no server that the package index would give us: this one knows the five requests that the BigQuery
connector makes, and no rights, classes or generations. A bucket is a folder that is there; ``refuse`` makes every
request fail with a status. It lives in a thread of the process that starts it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["BucketServer"]

_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_OBJECTS = re.compile(r"/storage/v1/b/([^/]+)/o(?:/(.+))?")


class BucketServer:
    """``root``: the folder whose folders are buckets. A context manager."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.refuse: int | None = None
        self.uploads: dict[str, tuple[str, str, bytearray]] = {}
        self.written: list[str] = []  #: names of all objects that were ever written
        handler = type("Handler", (_Handler,), {"server_of": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def create_bucket(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True)
        return folder

    def objects(self, bucket: str) -> list[str]:
        folder = self.root / bucket
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_of: ClassVar[BucketServer]
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        """Nothing is printed."""

    def do_POST(self) -> None:
        """Begin an upload."""
        found, body = _UPLOAD.fullmatch(urlsplit(self.path).path), self._body()
        if found is None or self._refused(found[1]):
            return
        number = uuid.uuid4().hex
        self.server_of.uploads[number] = (found[1], str(json.loads(body)["name"]), bytearray())
        self._answer(200, {}, {"Location": f"{self.server_of.endpoint}/session/{number}"})

    def do_PUT(self) -> None:
        """Take a part of one; the last ends it."""
        bucket, name, held = self.server_of.uploads[self.path.rpartition("/")[2]]
        body = self._body()
        if self._refused(bucket):
            return
        held += body
        total = self.headers["Content-Range"].rpartition("/")[2]
        if total == "*" or len(held) < int(total):
            self._answer(308, None, {"Range": f"bytes=0-{len(held) - 1}"})
            return
        path = self.server_of.root / bucket / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(held))
        self.server_of.written.append(name)
        digest = hashlib.md5(bytes(held), usedforsecurity=False).digest()
        self._answer(200, {"name": name, "md5Hash": base64.b64encode(digest).decode()})

    def do_GET(self) -> None:
        """List, one object a page."""
        parts = urlsplit(self.path)
        found, asked = _OBJECTS.fullmatch(parts.path), parse_qs(parts.query)
        if found is None or self._refused(found[1]):
            return
        after, prefix = asked.get("pageToken", [""])[0], asked.get("prefix", [""])[0]
        names = [n for n in self.server_of.objects(found[1]) if n.startswith(prefix) and n > after]
        page: dict[str, Any] = {"items": [{"name": n} for n in names[:1]]}
        if len(names) > 1:
            page["nextPageToken"] = names[0]
        self._answer(200, page)

    def do_DELETE(self) -> None:
        found = _OBJECTS.fullmatch(urlsplit(self.path).path)
        if found is None or self._refused(found[1]):
            return
        path = self.server_of.root / found[1] / unquote(found[2])
        there = path.is_file()
        path.unlink(missing_ok=True)
        self._answer(204 if there else 404, None)

    def _refused(self, bucket: str) -> bool:
        status = self.server_of.refuse
        if status is None and not (self.server_of.root / bucket).is_dir():
            status = 404
        if status is not None:
            self._answer(status, {"error": {"code": status, "message": "refused"}})
        return status is not None

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
