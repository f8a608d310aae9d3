"""How a Postgres server is reached: the configuration fields that source and destination share, and opening a session.

A field that is left out is not passed to libpq, which then reads its own environment: ``PGHOST``, ``PGPORT``,
``PGDATABASE``, ``PGUSER``, ``PGPASSWORD``, ``PGPASSFILE``, ``PGSERVICE``, ``PGSSLMODE``, ``PGSSLROOTCERT`` and so on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, field_validator

from syncline.connectors.postgres.errors import connect_error
from syncline.sdk.config import ConnectorConfig

if TYPE_CHECKING:
    import psycopg

    Session: TypeAlias = psycopg.Connection[tuple[Any, ...]]

__all__ = [
    "TEXT_SETTINGS",
    "PostgresConnectionConfig",
    "SslConfig",
    "TunnelConfig",
    "connect",
    "connection_parameters",
]

#: Session settings under which the text form of every value is exact, unambiguous and the same on every server.
TEXT_SETTINGS: Mapping[str, str] = {
    "DateStyle": "ISO, YMD",
    "TimeZone": "UTC",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmloption": "content",
}

#: Long enough for a far-away server, short enough to say so while somebody waits.
_CONNECT_SECONDS = 15


class SslConfig(ConnectorConfig):
    """TLS of the connection, in libpq's words."""

    mode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", description="How much TLS is asked for; verify-full also checks the server's name."
    )
    ca_certificate: SecretStr | None = Field(
        default=None, description="Certificate of the authority that signed the server's, as PEM text or as a path."
    )
    client_certificate: SecretStr | None = Field(default=None, description="Our certificate, as PEM text or as a path.")
    client_key: SecretStr | None = Field(default=None, description="Its private key, as PEM text or as a path.")
    client_key_password: SecretStr | None = Field(default=None, description="Password of the private key.")


class TunnelConfig(ConnectorConfig):
    """Airbyte's ``tunnel_method``; only the direct connection is known."""

    tunnel_method: Literal["NO_TUNNEL"] = "NO_TUNNEL"


def _ssl(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


def _tunnel(value: Any) -> Any:
    method = value.get("tunnel_method") if isinstance(value, Mapping) else value
    if method not in (None, "NO_TUNNEL") and not isinstance(value, TunnelConfig):
        raise ValueError(
            f"{method} is not built in: open the tunnel outside (ssh -N -L 5433:database-host:5432 user@bastion), set "
            "host to 127.0.0.1 and port to 5433, and leave tunnel_method out"
        )
    return {"tunnel_method": value} if isinstance(value, str) else value


class PostgresConnectionConfig(ConnectorConfig):
    """Where the server is and who we are. Every field may be left out in favour of libpq's environment variables."""

    host: str | None = Field(
        default=None, description="Host name, address or socket directory of the server.", min_length=1
    )
    port: int | None = Field(default=None, ge=1, le=65535, description="Port of the server (libpq's default is 5432).")
    database: str | None = Field(
        default=None,
        min_length=1,
        validation_alias=AliasChoices("database", "dbname"),
        description="Name of the database.",
    )
    username: str | None = Field(
        default=None,
        min_length=1,
        validation_alias=AliasChoices("username", "user"),
        description="Role to connect as.",
    )
    password: SecretStr | None = Field(default=None, description="Password of the role.")
    ssl_mode: Annotated[SslConfig | None, BeforeValidator(_ssl)] = Field(
        default=None,
        validation_alias=AliasChoices("ssl_mode", "sslmode"),
        description="TLS: disable, allow, prefer, require, verify-ca, verify-full; or such a mode with certificates.",
    )
    tunnel_method: Annotated[TunnelConfig | None, BeforeValidator(_tunnel)] = Field(
        default=None, description="Only {tunnel_method: NO_TUNNEL}; accepted so that Airbyte configurations load."
    )
    jdbc_url_params: str | None = Field(default=None, description="Not used: there is no JDBC here. Must be empty.")

    @field_validator("jdbc_url_params")
    @classmethod
    def _no_jdbc(cls, value: str | None) -> str | None:
        if value:
            raise ValueError(
                "there is no JDBC driver here and its parameters would be ignored: remove the key; settings of libpq "
                "come from its environment variables (PGOPTIONS, PGCONNECT_TIMEOUT, …)"
            )
        return value


def connection_parameters(
    config: PostgresConnectionConfig, *, work_dir: Path, application_name: str = "syncline"
) -> dict[str, Any]:
    """Keyword arguments for ``psycopg.connect`` (libpq's names). Certificates given as text are written to files of
    mode 0600 below ``work_dir``. Holds the password in clear: do not log."""
    found: dict[str, Any] = {
        "host": config.host,
        "port": config.port,
        "dbname": config.database,
        "user": config.username,
        "password": config.password.get_secret_value() if config.password is not None else None,
        # 63 bytes is what the server keeps; it would cut with a notice.
        "application_name": application_name.encode()[:63].decode(errors="ignore"),
        "client_encoding": "UTF8",
        # A peer that has gone without a word is noticed within a minute, not after the kernel's two hours.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
    }
    if "PGCONNECT_TIMEOUT" not in os.environ:
        found["connect_timeout"] = _CONNECT_SECONDS
    if config.ssl_mode is not None:
        found["sslmode"] = config.ssl_mode.mode
        found["sslrootcert"] = _pem_path(config.ssl_mode.ca_certificate, work_dir)
        found["sslcert"] = _pem_path(config.ssl_mode.client_certificate, work_dir)
        found["sslkey"] = _pem_path(config.ssl_mode.client_key, work_dir)
        password = config.ssl_mode.client_key_password
        found["sslpassword"] = password.get_secret_value() if password is not None else None
    return {key: value for key, value in found.items() if value is not None}


def connect(
    config: PostgresConnectionConfig,
    *,
    work_dir: Path,
    application_name: str = "syncline",
    autocommit: bool = True,
    settings: Mapping[str, str] = TEXT_SETTINGS,
) -> Session:
    """An open session with ``settings`` applied. The caller closes it. Raises ``unreachable``, ``auth``,
    ``permission``, ``config`` or ``transient`` with the server's words and the next step.

    Nothing is ever prepared on the server, so that poolers in transaction mode can stand between.
    """
    import psycopg

    from syncline.connectors.postgres.silence import open_watched

    parameters = connection_parameters(config, work_dir=work_dir, application_name=application_name)
    try:
        session = open_watched(parameters)
    except (psycopg.Error, OSError, ValueError) as error:
        raise connect_error(error) from error
    try:
        if settings:
            columns = ", ".join(["set_config(%s, %s, false)"] * len(settings))
            session.execute(f"SELECT {columns}".encode(), [part for item in settings.items() for part in item])
        session.autocommit = autocommit
    except psycopg.Error as error:
        session.close()
        raise connect_error(error) from error
    return session


def _pem_path(value: SecretStr | None, work_dir: Path) -> str | None:
    """The path of a certificate or key: itself when it is one, else a private file with the text."""
    if value is None or not (text := value.get_secret_value().strip()):
        return None
    if "-----BEGIN" not in text:
        return str(Path(text).expanduser())
    body = (text + "\n").encode()
    path = work_dir / f"postgres-{hashlib.sha256(body).hexdigest()[:16]}.pem"
    if not path.exists():
        work_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(body)
        partial.replace(path)  # at once: another task may be looking for it
    return str(path)
