"""A counterpart of BigQuery of one's own: local-bigquery, which answers Google's own clients over REST and gRPC.

    with start_bigquery() as server:
        server.create_dataset("shop")
        server.client().query_and_wait("SELECT 1")

It is a program for Python 3.13 with pins of its own, so it lives in an environment of its own, made once from the
package index (`prepare_bigquery`) below the user's cache folder, or below ``SYNCLINE_TEST_ENVIRONMENTS``. The server
listens on 127.0.0.1 only and goes away with the process that started it. It counts no bytes, prunes nothing, has no
quotas, no streaming buffer and no rights: what only the real service can show is said in the connector's page.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

__all__ = [
    "BigQueryServer",
    "BigQueryUnavailableError",
    "bigquery_is_prepared",
    "prepare_bigquery",
    "start_bigquery",
]

_VERSION = "0.4.0"
#: The newest DuckDB for which extensions come as wheels; the server asks for a later one and does without.
_DUCKDB = "1.5.5"
_EXTENSIONS = ("ducklake", "spatial")
_START_SECONDS = 300.0
_STOP_SECONDS = 10.0

# Run in its own environment. DuckDB refuses a time zone in connect() unless it may download what is built into it. A
# MERGE tries to begin a transaction and goes on in the open one when that fails, which in this version of DuckDB ends
# that one: it is told without asking DuckDB. It knows nothing of change data capture: rows with _CHANGE_TYPE are
# applied as Google's documentation says, of a key the one with the highest sequence number stays. And the server ends
# when nobody holds the other end of its standard input.
_SERVE = """
import os, sys, threading
import duckdb
connect = duckdb.connect
def patched(*args, config=None, **more):
    config = dict(config or {})
    zone = config.pop("TimeZone", None)
    made = connect(*args, config=config, **more)
    if zone:
        made.execute(f"SET TimeZone = '{zone}'")
    return made
duckdb.connect = patched
class Cursor:
    def __init__(self, cursor):
        self.cursor, self.within = cursor, False
    def __getattr__(self, name):
        return getattr(self.cursor, name)
    def execute(self, sql, *more):
        word = sql.split(None, 1)[0].upper().rstrip(";") if isinstance(sql, str) and sql.strip() else ""
        if word == "BEGIN" and self.within:
            raise duckdb.TransactionException("cannot start a transaction within a transaction")
        result = self.cursor.execute(sql, *more)
        if word in ("BEGIN", "COMMIT", "ROLLBACK"):
            self.within = word == "BEGIN"
        return result
from local_bigquery.jobs import query
execute = query.execute
query.execute = lambda cursor, *args, **more: execute(Cursor(cursor), *args, **more)
from local_bigquery.catalog import tables
from local_bigquery.engine import database
from local_bigquery.grpc import write
insert, newest, changing = write._insert, {}, threading.Lock()
def changed(stream, rows):
    if not any("_CHANGE_TYPE" in row for row in rows):
        return insert(stream, rows)
    declared = tables.load(*stream.table).tableConstraints
    if not (declared and declared.primaryKey):
        raise write.StorageError(write.grpc.StatusCode.INVALID_ARGUMENT, "the table has no primary key")
    key, wanted = declared.primaryKey.columns, {}
    with changing:
        for row in rows:
            kind, place = row.pop("_CHANGE_TYPE"), row.pop("_CHANGE_SEQUENCE_NUMBER")
            mine = (stream.table, tuple(str(row[name]) for name in key))
            at = tuple(int(part, 16) for part in place.split("/"))
            if newest.get(mine, ()) <= at:
                newest[mine] = at
                wanted[mine[1]] = row if kind == "UPSERT" else None
        same = " AND ".join(f"CAST({database.quote(name)} AS VARCHAR) = ?" for name in key)
        with database.cursor() as cursor:
            for values in wanted:
                cursor.execute(f"DELETE FROM {tables.name(*stream.table)} WHERE {same}", list(values))
        return insert(stream, [row for row in wanted.values() if row is not None])
write._insert = changed
def watch():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
from local_bigquery.cli import main
main(sys.argv[1:])
"""


class BigQueryUnavailableError(RuntimeError):
    """There is no environment for the server here, or it did not come up; the message says what to do."""


def _environment() -> Path:
    given = os.environ.get("SYNCLINE_TEST_ENVIRONMENTS")
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(given) if given else Path(cache) / "syncline" / "environments"
    return folder / f"local-bigquery-{_VERSION}-duckdb-{_DUCKDB}"


def _interpreter() -> Path:
    return _environment() / "bin" / "python"


def bigquery_is_prepared() -> bool:
    """Whether `start_bigquery` finds its environment."""
    return (_environment() / ".ready").exists()


def prepare_bigquery() -> None:
    """Make the environment if it is not there. Needs Python 3.13, uv, and a package index."""
    if bigquery_is_prepared():
        return
    uv = shutil.which("uv")
    if uv is None:
        raise BigQueryUnavailableError("making the server's environment needs uv: pip install uv")
    folder = _environment()
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    override = folder.with_suffix(".override.txt")
    override.write_text(f"duckdb=={_DUCKDB}\n")
    pins = [f"duckdb-extensions=={_DUCKDB}", *(f"duckdb-extension-{name}=={_DUCKDB}" for name in _EXTENSIONS)]
    install = [uv, "pip", "install", "--no-config", "--quiet", "--python", str(_interpreter())]
    imports = "from duckdb_extensions import import_extension as f; " + "; ".join(f"f({e!r})" for e in _EXTENSIONS)
    _run([uv, "venv", "--no-config", "--quiet", "--python", _python313(uv), str(folder)])
    _run([*install, "--override", str(override), f"local-bigquery=={_VERSION}"])
    _run([*install, "--no-deps", *pins])
    _run([str(_interpreter()), "-c", imports])
    override.unlink()
    (folder / ".ready").touch()


def _python313(uv: str) -> str:
    """A Python 3.13: that of the path if it runs (a shim may not), of pyenv, or what uv knows."""
    found = shutil.which("python3.13")
    if found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0:
        return found
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for candidate in sorted(root.glob("versions/3.13.*/bin/python3.13")):
        return str(candidate)
    known = subprocess.run([uv, "python", "find", "--no-config", "3.13"], capture_output=True, text=True, check=False)
    if known.returncode == 0:
        return known.stdout.strip()
    raise BigQueryUnavailableError("local-bigquery needs Python 3.13, and there is none here")


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BigQueryUnavailableError(f"{' '.join(command[:3])} …: {(done.stdout + done.stderr)[-1500:]}")


def start_bigquery() -> BigQueryServer:
    """Start a server on free loopback ports and return it; a context manager, or call `BigQueryServer.close`."""
    server = BigQueryServer()
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


class BigQueryServer:
    """One data folder and, between `start` and `stop`, one running server."""

    project = "demo"

    def __init__(self) -> None:
        if not bigquery_is_prepared():
            raise BigQueryUnavailableError("no environment for it: python -m syncline.testing.bigquery_server makes it")
        self.folder = Path(tempfile.mkdtemp(prefix="syncline-bigquery-"))
        self.port = _free_port()
        self.grpc_port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def endpoint(self) -> str:
        """For the connector's ``endpoint``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def grpc_endpoint(self) -> str:
        """Of the Storage Read and Write APIs."""
        return f"127.0.0.1:{self.grpc_port}"

    def start(self) -> None:
        command = [str(_interpreter()), "-c", _SERVE, "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--grpc-port", str(self.grpc_port), "--project", self.project, "--dataset", "first"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--data-dir", str(self.folder / "data")],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )
        (self.folder / "data").mkdir(exist_ok=True)
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while True:
            assert self._process is not None
            try:
                with urllib.request.urlopen(f"{self.endpoint}/bigquery/v2/projects/{self.project}/datasets", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                if self._process.poll() is not None or time.monotonic() > until:
                    said = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                    raise BigQueryUnavailableError(f"the server did not come up: {said}") from None
                time.sleep(0.1)

    def client(self) -> Any:
        """Google's own client for it. Its session is the caller's to close."""
        from google.api_core.client_options import ClientOptions
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import bigquery

        options = ClientOptions(api_endpoint=self.endpoint)
        nobody = AnonymousCredentials()
        return bigquery.Client(project=self.project, credentials=nobody, client_options=options)

    def create_dataset(self, name: str | None = None) -> str:
        """Create a dataset and return its name; None makes one up."""
        name = name or f"t_{secrets.token_hex(5)}"
        with contextlib.closing(self.client()) as client:
            client.create_dataset(name)
        return name

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The answer of one query, through Google's own client."""
        with contextlib.closing(self.client()) as client:
            return [tuple(row.values()) for row in client.query_and_wait(query)]

    def config(self, dataset: str, **more: Any) -> dict[str, Any]:
        """The configuration of a destination on it."""
        return {
            "project_id": self.project,
            "dataset_id": dataset,
            "dataset_location": "US",
            "endpoint": self.endpoint,
            "storage_endpoint": self.grpc_endpoint,
            **more,
        }

    def stop(self, *, kill: bool = False) -> None:
        """End the server; it can be started again, on the same ports with the same data."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def close(self) -> None:
        self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


if __name__ == "__main__":
    prepare_bigquery()
