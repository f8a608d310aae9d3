"""A server of the Iceberg REST protocol, as small as it can be: over pyiceberg's own SQL catalog, for one warehouse."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest, Table, TableIdentifier

_STATUS = {
    NoSuchTableError: 404,
    NoSuchNamespaceError: 404,
    NamespaceAlreadyExistsError: 409,
    TableAlreadyExistsError: 409,
    CommitFailedException: 409,
}


class RestCatalogServer:
    """Takes the bearer token ``token`` only. ``requests`` counts what was asked."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.token = "let-me-in"
        self.requests: list[str] = []
        catalog = SqlCatalog("rest", uri=f"sqlite:///{folder}/rest.db", warehouse=f"file://{folder}/warehouse")
        lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def _handle(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else {}
                server.requests.append(f"{self.command} {self.path}")
                if self.headers.get("Authorization") != f"Bearer {server.token}":
                    error = {"message": "no", "type": "NotAuthorizedException", "code": 401}
                    return self._answer(401, {"error": error})
                try:
                    with lock:
                        found = _serve(catalog, self.command, unquote(self.path).partition("?")[0].split("/")[2:], body)
                except tuple(_STATUS) as error:
                    status = _STATUS[type(error)]
                    told = {"message": str(error), "type": type(error).__name__, "code": status}
                    return self._answer(status, {"error": told})
                return self._answer(200, found)

            do_GET = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815 - http.server's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self._catalog = catalog
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._catalog.close()


def _serve(catalog: SqlCatalog, verb: str, parts: list[str], body: dict[str, Any]) -> dict[str, Any]:
    if parts == ["config"]:
        return {"defaults": {}, "overrides": {}}
    if parts == ["namespaces"] and verb == "POST":
        catalog.create_namespace(tuple(body["namespace"]), body.get("properties", {}))
        return {"namespace": body["namespace"], "properties": {}}
    if parts[0] == "namespaces" and parts[2:] == ["tables"] and verb == "POST":
        made = catalog.create_table(
            (parts[1], body["name"]),
            schema=Schema.model_validate(body["schema"]),
            location=body.get("location"),
            properties=body.get("properties", {}),
        )
        return _told(made)
    if parts[0] == "namespaces" and parts[2:3] == ["tables"] and len(parts) == 4:
        table = catalog.load_table((parts[1], parts[3]))
        if verb == "POST":
            body.setdefault("identifier", {"namespace": [parts[1]], "name": parts[3]})
            request = CommitTableRequest.model_validate(body)
            assert isinstance(request.identifier, TableIdentifier)
            catalog.commit_table(table, request.requirements, request.updates)
            table = catalog.load_table((parts[1], parts[3]))
        return _told(table)
    raise NoSuchTableError(f"{verb} {parts}")


def _told(table: Table) -> dict[str, Any]:
    metadata = json.loads(table.metadata.model_dump_json())
    return {"metadata-location": table.metadata_location, "metadata": metadata, "config": {}}
