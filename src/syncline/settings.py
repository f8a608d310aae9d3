"""Settings of this installation, from the environment (``SYNCLINE_…``)."""

from __future__ import annotations

import ipaddress
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from syncline.core.errors import ErrorKind, SynclineError

__all__ = ["JobSettings", "ServerSettings", "Settings", "is_loopback", "load_server_settings", "load_settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``home`` (``SYNCLINE_HOME``, default ``~/.local/state/syncline``) keeps journals, leases, scratch files; may be
    lost between runs. ``keep_runs`` (``SYNCLINE_KEEP_RUNS``, default 50) journals are kept per connection."""

    home: Path
    keep_runs: int

    @property
    def leases(self) -> Path:
        return self.home / "leases"

    @property
    def connectors(self) -> Path:
        """Environments of connectors that are packages of their own."""
        return self.home / "connectors"

    def runs(self, connection: str) -> Path:
        return self.home / "runs" / connection.replace("/", "_")

    def scratch(self, connection: str) -> Path:
        return self.home / "scratch" / connection.replace("/", "_")


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How a server runs jobs.

    ``slots`` (``SYNCLINE_SLOTS``) jobs run at once, each in a process of its own; those that follow a log never end and
    have ``following_slots`` (``SYNCLINE_FOLLOWING_SLOTS``) beside. A failed attempt is tried again after about
    ``retry_seconds`` (``SYNCLINE_RETRY_SECONDS``), then twice as long each time, at most ``retry_ceiling_seconds``
    (``SYNCLINE_RETRY_CEILING_SECONDS``). An attempt without a sign of life for ``attempt_lease_seconds``
    (``SYNCLINE_ATTEMPT_LEASE_SECONDS``) is given up. ``warm`` (``SYNCLINE_WARM``, 1 or 0): attempts are forks of a
    process that has everything imported. ``on_stop`` (``SYNCLINE_ON_STOP``): ``stop`` ends running attempts with the
    server, ``leave`` leaves them to the next one on this machine. ``programs`` (``SYNCLINE_PROGRAMS``, 1 or 0): steps
    after a sync may run programs on this machine, which lets whoever may edit a connection run anything here.

    Logs and journals of attempts are kept ``log_days`` (``SYNCLINE_LOG_DAYS``) and up to ``log_mb`` megabytes in all
    (``SYNCLINE_LOG_MB``), each log up to ``attempt_log_mb`` (``SYNCLINE_LOG_ATTEMPT_MB``); jobs are remembered for
    ``job_days`` (``SYNCLINE_JOB_DAYS``), each connection's newest for ever."""

    slots: int = 8
    following_slots: int = 20
    retry_seconds: float = 10.0
    retry_ceiling_seconds: float = 600.0
    attempt_lease_seconds: float = 60.0
    warm: bool = True
    on_stop: Literal["stop", "leave"] = "stop"
    programs: bool = False
    log_days: float = 30.0
    log_mb: float = 1024.0
    attempt_log_mb: float = 16.0
    job_days: float = 180.0


@dataclass(frozen=True, kw_only=True)
class ServerSettings(Settings):
    """What ``syncline server`` needs besides. Secrets have no ``repr``.

    ``database_url`` (``SYNCLINE_DATABASE_URL``) is the store, by default a SQLite file in the home. ``auth``
    (``SYNCLINE_AUTH``): ``none`` lets everybody do everything and is the default on loopback only. ``secret_key``
    (``SYNCLINE_SECRET_KEY``, 32 bytes in base64 or hex) encrypts stored secrets; without it ``key_file``
    (``SYNCLINE_SECRET_KEY_FILE``, made at first start), which holds the key itself or, with ``kms_key``
    (``SYNCLINE_SECRET_KEY_KMS``, a key of AWS KMS), the key encrypted by that one. ``admin_email`` and
    ``admin_password`` (``SYNCLINE_ADMIN_EMAIL``, ``SYNCLINE_ADMIN_PASSWORD``) are the first user's; the password is
    drawn and shown once when it is not given. ``references`` (``SYNCLINE_REFERENCES``) are the patterns that secret
    references in stored configurations must match. ``allowed_hosts`` (``SYNCLINE_ALLOWED_HOSTS``) are names besides
    the machine's own by which a server without authentication may be called. ``public_url`` (``SYNCLINE_PUBLIC_URL``)
    is how people reach the server, for links in messages. ``jobs``: how jobs are run."""

    database_url: str = field(repr=False)
    host: str
    port: int
    auth: Literal["none", "required"]
    secret_key: str | None = field(repr=False)
    key_file: Path
    kms_key: str | None
    admin_email: str
    admin_password: str | None = field(repr=False)
    references: tuple[str, ...]
    allowed_hosts: frozenset[str] = frozenset()
    public_url: str = ""
    jobs: JobSettings = field(default_factory=JobSettings)

    @property
    def backups(self) -> Path:
        """Copies of the SQLite file from before each migration."""
        return self.home / "backups"


def load_server_settings(*, host: str | None = None, port: int | None = None) -> ServerSettings:
    """Read the environment; ``host`` and ``port``, when given, take the place of theirs. Raises ``config``."""
    base = load_settings()
    host = host or os.environ.get("SYNCLINE_HOST") or "127.0.0.1"
    auth = os.environ.get("SYNCLINE_AUTH") or ("none" if is_loopback(host) else "required")
    if auth not in ("none", "required"):
        raise SynclineError(ErrorKind.CONFIG, f"SYNCLINE_AUTH is {auth!r}", hint="set it to none or required")
    if port is None:
        written = os.environ.get("SYNCLINE_PORT") or "8000"
        if not written.isdecimal() or int(written) > 65535:
            raise SynclineError(ErrorKind.CONFIG, f"SYNCLINE_PORT is {written!r}", hint="set it to a port's number")
        port = int(written)
    references = os.environ.get("SYNCLINE_REFERENCES")
    return ServerSettings(
        home=base.home,
        keep_runs=base.keep_runs,
        database_url=os.environ.get("SYNCLINE_DATABASE_URL") or f"sqlite:///{base.home / 'syncline.db'}",
        host=host,
        port=port,
        auth=cast('Literal["none", "required"]', auth),
        secret_key=os.environ.get("SYNCLINE_SECRET_KEY") or None,
        key_file=Path(os.environ.get("SYNCLINE_SECRET_KEY_FILE") or base.home / "secret.key").expanduser(),
        kms_key=os.environ.get("SYNCLINE_SECRET_KEY_KMS") or None,
        admin_email=os.environ.get("SYNCLINE_ADMIN_EMAIL") or "admin@localhost",
        admin_password=os.environ.get("SYNCLINE_ADMIN_PASSWORD") or None,
        references=_references(references, base.home),
        allowed_hosts=_hosts(os.environ.get("SYNCLINE_ALLOWED_HOSTS") or ""),
        public_url=_public_url(host, port),
        jobs=_job_settings(),
    )


def _job_settings() -> JobSettings:
    default = JobSettings()
    on_stop = os.environ.get("SYNCLINE_ON_STOP") or default.on_stop
    if on_stop not in ("stop", "leave"):
        raise SynclineError(ErrorKind.CONFIG, f"SYNCLINE_ON_STOP is {on_stop!r}", hint="set it to stop or leave")
    warm = os.environ.get("SYNCLINE_WARM") or "1"
    if warm not in ("0", "1"):
        raise SynclineError(ErrorKind.CONFIG, f"SYNCLINE_WARM is {warm!r}", hint="set it to 1 or 0")
    programs = os.environ.get("SYNCLINE_PROGRAMS") or "0"
    if programs not in ("0", "1"):
        raise SynclineError(ErrorKind.CONFIG, f"SYNCLINE_PROGRAMS is {programs!r}", hint="set it to 1 or 0")
    return JobSettings(
        slots=int(_number("SYNCLINE_SLOTS", default.slots, least=1)),
        following_slots=int(_number("SYNCLINE_FOLLOWING_SLOTS", default.following_slots, least=0)),
        retry_seconds=_number("SYNCLINE_RETRY_SECONDS", default.retry_seconds, least=0),
        retry_ceiling_seconds=_number("SYNCLINE_RETRY_CEILING_SECONDS", default.retry_ceiling_seconds, least=0),
        # An attempt gives a sign every two seconds; a lease of less than some of them would end healthy ones.
        attempt_lease_seconds=_number("SYNCLINE_ATTEMPT_LEASE_SECONDS", default.attempt_lease_seconds, least=6),
        warm=warm == "1",
        on_stop=cast('Literal["stop", "leave"]', on_stop),
        programs=programs == "1",
        log_days=_number("SYNCLINE_LOG_DAYS", default.log_days, least=0),
        log_mb=_number("SYNCLINE_LOG_MB", default.log_mb, least=1),
        attempt_log_mb=_number("SYNCLINE_LOG_ATTEMPT_MB", default.attempt_log_mb, least=0.1),
        job_days=_number("SYNCLINE_JOB_DAYS", default.job_days, least=1),
    )


def _number(name: str, default: float, *, least: float) -> float:
    written = os.environ.get(name)
    if not written:
        return default
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not least <= value < 1e12:
        raise SynclineError(ErrorKind.CONFIG, f"{name} is {written!r}", hint=f"set it to a number of {least:g} or more")
    return value


def _public_url(host: str, port: int) -> str:
    written = os.environ.get("SYNCLINE_PUBLIC_URL")
    if not written:
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"
    if not written.startswith(("http://", "https://")):
        raise SynclineError(
            ErrorKind.CONFIG, f"SYNCLINE_PUBLIC_URL is {written!r}", hint="write it as https://host/path"
        )
    return written.rstrip("/")


def _hosts(written: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in written.split(",") if name.strip())


def _references(written: str | None, home: Path) -> tuple[str, ...]:
    """An editor of the server must not read its files and environment through references: by default only variables
    and folders that are meant for it."""
    if written is None:
        return ("env:SYNCLINE_VAR_*", "file:/run/secrets/*", f"file:{home}/secrets/*", "vault:*", "aws-sm:*")
    return tuple(pattern.strip() for pattern in written.split(",") if pattern.strip())


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load_settings() -> Settings:
    """Read the environment and make the home; called once per command. Raises ``config``."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    home = Path(os.environ.get("SYNCLINE_HOME") or f"{state}/syncline").expanduser()
    keep = os.environ.get("SYNCLINE_KEEP_RUNS") or "50"
    if not keep.isdecimal() or int(keep) < 1:
        raise SynclineError(
            ErrorKind.CONFIG, f"SYNCLINE_KEEP_RUNS is {keep!r}", hint="set it to a whole number above 0, or unset it"
        )
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SynclineError(
            ErrorKind.CONFIG,
            f"the folder for journals and locks cannot be made: {home}: {error.strerror}",
            hint="set SYNCLINE_HOME to a folder that this user can write",
        ) from error
    return Settings(home=home, keep_runs=int(keep))
