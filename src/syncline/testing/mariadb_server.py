"""A real MariaDB server of one's own, for tests.

    with start_mariadb() as server:
        database = server.create_database("shop")
        server.execute("CREATE TABLE t (id int PRIMARY KEY)", database=database)

The binaries are those of the system (Debian's ``mariadb-server``). The server listens on 127.0.0.1 only, writes a
binary log with whole rows and their columns' names, and goes away with the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from syncline.testing import orphan_guard

__all__ = ["MariaDbServer", "MariaDbUnavailableError", "find_mariadb", "start_mariadb"]

_START_SECONDS = 90.0
_FOLDERS = ("/usr/sbin", "/usr/bin", "/usr/local/bin", "/usr/libexec", "/opt/homebrew/bin")


class MariaDbUnavailableError(RuntimeError):
    """There is no server here, or it did not come up; the message ends with the tail of its log."""


def _program(name: str) -> str | None:
    return shutil.which(name) or next((f"{f}/{name}" for f in _FOLDERS if os.access(f"{f}/{name}", os.X_OK)), None)


def find_mariadb() -> str | None:
    """The path of ``mariadbd``, or None."""
    return _program("mariadbd") if _program("mariadb-install-db") else None


def start_mariadb(settings: Mapping[str, str] | None = None) -> MariaDbServer:
    """Start a server with these settings besides its own (``binlog_row_image`` → ``--binlog-row-image``)."""
    server = MariaDbServer(dict(settings or {}))
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    return server


class MariaDbServer:
    """One data folder and, between `start` and `stop`, one running server."""

    host = "127.0.0.1"
    user = "root"

    def __init__(self, settings: Mapping[str, str]) -> None:
        found = find_mariadb()
        if found is None:
            raise MariaDbUnavailableError("no MariaDB server here: apt-get install mariadb-server")
        self._program = found
        self.password = secrets.token_hex(8)
        self.folder = Path(tempfile.mkdtemp(prefix="syncline-mariadb-"))
        self.settings = {
            "server_id": "1",
            "log_bin": "log",
            "binlog_format": "ROW",
            "binlog_row_image": "FULL",
            "binlog_row_metadata": "FULL",
            "innodb_buffer_pool_size": "64M",
            "innodb_log_file_size": "16M",
            "innodb_flush_log_at_trx_commit": "0",
            "skip_name_resolve": "ON",
            **settings,
        }
        self.port = 0
        self._script = self.folder / "first.sql"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._as_other: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            self._as_other = {"user": "mysql", "group": "mysql", "extra_groups": []}
            shutil.chown(self.folder, "mysql", "mysql")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Make the data folder at the first time, and start."""
        data = self.folder / "data"
        if not data.exists():
            self._install(data)
        self.port = self.port or _free_port()
        log = (self.folder / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    self._program,
                    "--no-defaults",
                    f"--datadir={data}",
                    f"--socket={self.folder}/socket",
                    f"--pid-file={data}/mariadb.pid",
                    f"--init-file={self._script}",
                    "--bind-address=127.0.0.1",
                    f"--port={self.port}",
                    *(f"--{name.replace('_', '-')}={value}" for name, value in self.settings.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._as_other,
            )
        if self._guard is None:
            command = [sys.executable, "-I", "-S", orphan_guard.__file__, str(data), str(self.folder)]
            self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._wait()

    def _install(self, data: Path) -> None:
        # Run at each start, before anybody can log in: there is no moment without a password.
        self._script.write_text(
            "SET sql_log_bin = 0;\n"
            f"CREATE OR REPLACE USER root@localhost IDENTIFIED BY '{self.password}';\n"
            f"CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL ON *.* TO root@localhost WITH GRANT OPTION;\n"
            "GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
        )
        done = subprocess.run(
            [
                _program("mariadb-install-db") or "mariadb-install-db",
                "--no-defaults",
                f"--datadir={data}",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
                "--innodb-log-file-size=16M",
            ],
            capture_output=True,
            text=True,
            cwd=self.folder,
            check=False,
            **self._as_other,
        )
        if done.returncode != 0:
            raise MariaDbUnavailableError(f"mariadb-install-db: {(done.stdout + done.stderr)[-1500:]}")

    def _wait(self) -> None:
        import pymysql

        until = time.monotonic() + _START_SECONDS
        while True:
            assert self._process is not None
            try:
                self.connect().close()
                return
            except pymysql.err.MySQLError:
                if self._process.poll() is not None or time.monotonic() > until:
                    said = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                    raise MariaDbUnavailableError(f"the server did not come up: {said}") from None
                time.sleep(0.05)

    def connect(self, database: str | None = None, **options: Any) -> Any:
        """A connection of PyMySQL as root, committing by itself."""
        import pymysql

        given = {"user": self.user, "password": self.password, "autocommit": True, "charset": "utf8mb4", **options}
        return pymysql.connect(host=self.host, port=self.port, database=database, **given)

    def execute(self, *statements: str, database: str | None = None) -> list[tuple[Any, ...]]:
        """Run statements in a session of its own; the rows of the last."""
        rows: list[tuple[Any, ...]] = []
        with contextlib.closing(self.connect(database)) as session, session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = list(cursor.fetchall() or ())
        return rows

    def create_database(self, name: str | None = None) -> str:
        name = name or f"t_{secrets.token_hex(5)}"
        self.execute(f"CREATE DATABASE `{name}`")
        return name

    def config(self, database: str, **more: Any) -> dict[str, Any]:
        """The configuration of a source on it."""
        return {
            "host": self.host,
            "port": self.port,
            "database": database,
            "username": self.user,
            "password": self.password,
            **more,
        }

    def stop(self, *, kill: bool = False) -> None:
        """End the server; it can be started again, on the same port with the same data."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        self.stop(kill=True)
        if self._guard is not None:
            assert self._guard.stdin is not None
            with contextlib.suppress(OSError):
                self._guard.stdin.write(orphan_guard.RELEASED)
                self._guard.stdin.close()
            self._guard.wait(30)
            self._guard = None
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
