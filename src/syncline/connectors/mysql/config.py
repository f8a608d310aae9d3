"""Configuration of the MySQL source. Field names are Airbyte's; friendlier names are aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, field_validator

from syncline.sdk.config import ConnectorConfig

__all__ = ["BinaryLog", "MySqlSourceConfig", "StandardMethod", "TlsConfig", "TunnelConfig"]


def _list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _tls(value: Any) -> Any:
    return {"mode": value} if isinstance(value, str) else value


def _tunnel(value: Any) -> Any:
    method = value.get("tunnel_method") if isinstance(value, Mapping) else value
    if method not in (None, "NO_TUNNEL") and not isinstance(value, TunnelConfig):
        raise ValueError(
            f"{method} is not built in: open the tunnel outside (ssh -N -L 3307:database-host:3306 user@bastion), set "
            "host to 127.0.0.1 and port to 3307, and leave tunnel_method out"
        )
    return {"tunnel_method": value} if isinstance(value, str) else value


def _method(value: Any) -> Any:
    if isinstance(value, str):
        value = {"method": value}
    if isinstance(value, Mapping) and isinstance(method := value.get("method"), str):
        known = {"standard": "STANDARD", "cdc": "CDC"}
        if method.lower() not in known:
            raise ValueError(f"method {method!r} is not known: write CDC or STANDARD")
        return {**value, "method": known[method.lower()]}
    return {**value, "method": "STANDARD"} if isinstance(value, Mapping) else value


class TlsConfig(ConnectorConfig):
    """TLS of the connection, in MySQL's words."""

    mode: Literal["disabled", "preferred", "required", "verify_ca", "verify_identity"] = Field(
        default="preferred", description="How much TLS is asked for; verify_identity also checks the server's name."
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


class StandardMethod(ConnectorConfig):
    """Changes are found by a cursor column."""

    method: Literal["STANDARD"] = Field(default="STANDARD", description="Full refresh, or incremental by a cursor.")


class BinaryLog(ConnectorConfig):
    """Changes come from the server's binary log."""

    method: Literal["CDC"] = Field(description="CDC: every insert, update, delete and truncate, from the binary log.")
    server_id: int | None = Field(
        default=None,
        ge=1,
        le=2**32 - 1,
        description="Number under which we read the log as a replica; no other replica may have it. Default: one drawn "
        "at random for each connection. Give the first of a range of eight where numbers are assigned by hand.",
    )
    initial_waiting_seconds: float | None = Field(
        default=None, description="Airbyte's; not needed: a quiet log is told from a dead one by heartbeats."
    )
    server_timezone: Literal["", "UTC"] = Field(
        default="", description="Airbyte's; not needed: the log holds times as UTC or as they were written."
    )
    invalid_cdc_cursor_position_behavior: Literal["Fail sync"] = Field(
        default="Fail sync",
        description="A log that was purged stops the run with a plan. Nothing is copied anew unasked.",
    )
    initial_load_timeout_hours: float | None = Field(
        default=None, description="Airbyte's; not needed: a copy goes on where it was broken off."
    )

    @field_validator("invalid_cdc_cursor_position_behavior", mode="before")
    @classmethod
    def _no_silent_copy(cls, value: Any) -> Any:
        if value == "Re-sync data":
            raise ValueError(
                "'Re-sync data' is not done unasked: after a gap the run stops and names the command that copies "
                "anew; write 'Fail sync' or leave the key out"
            )
        return value


class MySqlSourceConfig(ConnectorConfig):
    """One database of a MySQL or MariaDB server as a source."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Host name or address of the server.")
    port: int = Field(default=3306, ge=1, le=65535, description="Port of the server.")
    database: str = Field(min_length=1, description="The database whose tables are offered.")
    username: str = Field(
        min_length=1, validation_alias=AliasChoices("username", "user"), description="User to log in as."
    )
    password: SecretStr = Field(default=SecretStr(""), description="Its password.")
    ssl_mode: Annotated[TlsConfig, BeforeValidator(_tls)] = Field(
        default_factory=TlsConfig,
        validation_alias=AliasChoices("ssl_mode", "ssl"),
        description="TLS: a mode, or {mode, ca_certificate, client_certificate, client_key}.",
    )
    tunnel_method: Annotated[TunnelConfig, BeforeValidator(_tunnel)] = Field(
        default_factory=TunnelConfig, description="Airbyte's; only NO_TUNNEL: open a tunnel outside."
    )
    checkpoint_target_interval_seconds: int | None = Field(
        default=None, description="Airbyte's; not needed: each partition is committed with its progress."
    )
    check_privileges: bool | None = Field(default=None, description="Airbyte's; not needed: check always looks.")
    jdbc_url_params: str | None = Field(default=None, description="Airbyte's; of no meaning here, and refused.")
    tables: Annotated[tuple[str, ...], BeforeValidator(_list)] = Field(
        default=(), description="Only these: names, or patterns with * and ?. Empty: every table and view."
    )
    replication_method: Annotated[
        Annotated[StandardMethod | BinaryLog, Field(discriminator="method")], BeforeValidator(_method)
    ] = Field(
        default_factory=StandardMethod, description="How changes are found: CDC (binary log) or STANDARD (cursor)."
    )
    cursor: Annotated[tuple[str, ...], BeforeValidator(_list)] = Field(
        default=(),
        validation_alias=AliasChoices("cursor", "cursors"),
        description="Column names to prefer as cursor, best first, where a table has them.",
    )
    rows_per_partition: int = Field(
        default=250_000, ge=1, description="About how many rows are read, and committed, at a time."
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=64, description="How many partitions are read at once (each one session)."
    )

    @field_validator("jdbc_url_params")
    @classmethod
    def _no_jdbc(cls, value: str | None) -> str | None:
        if value:
            raise ValueError("there is no JDBC here: set what it asks for by the other keys, and leave this one out")
        return None

    @property
    def log(self) -> BinaryLog | None:
        """How the binary log is read; None when it is not."""
        return self.replication_method if isinstance(self.replication_method, BinaryLog) else None
