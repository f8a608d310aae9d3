"""Configuration of the Postgres source. Field names are Airbyte's; friendlier names are aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from syncline.connectors.postgres.changes.config import ChangeCapture
from syncline.connectors.postgres.connection import PostgresConnectionConfig, SslConfig, TunnelConfig
from syncline.connectors.postgres.quantities import Bytes, Names, Seconds
from syncline.connectors.postgres.writing.config import PostgresDestinationConfig
from syncline.sdk.config import ConnectorConfig

__all__ = [
    "ChangeCapture",
    "PostgresDestinationConfig",
    "PostgresSourceConfig",
    "ReplicationMethod",
    "SslConfig",
    "TunnelConfig",
]


def _method(value: Any) -> Any:
    if isinstance(value, str):
        value = {"method": value}
    if isinstance(value, Mapping) and isinstance(method := value.get("method"), str):
        known = {"standard": "Standard", "xmin": "Xmin", "cdc": "CDC"}
        if method.lower() not in known:
            raise ValueError(f"method {method!r} is not known: write CDC, Standard or Xmin")
        return {**value, "method": known[method.lower()]}
    return {**value, "method": "Standard"} if isinstance(value, Mapping) else value


class ReplicationMethod(ConnectorConfig):
    """How changes are found without a log: by a cursor column, or by the rows' own transaction ids."""

    method: Literal["Standard", "Xmin"] = Field(
        default="Standard",
        description="Standard: full refresh, or incremental by a cursor column. Xmin: incremental by the system column "
        "xmin; needs no cursor column, reads the whole table for each increment, does not see deletes.",
    )


class PostgresSourceConfig(PostgresConnectionConfig):
    """One database as a source."""

    schemas: Names = Field(default=("public",), min_length=1, description="Schemas whose tables are offered.")
    tables: Names = Field(
        default=(),
        description="Only these: name, schema.table, or patterns with * and ?. Empty: everything in the schemas. "
        "A partition of a partitioned table is offered only when it is named here.",
    )
    replication_method: Annotated[
        Annotated[ReplicationMethod | ChangeCapture, Field(discriminator="method")], BeforeValidator(_method)
    ] = Field(
        default_factory=ReplicationMethod,
        description="How changes are found: CDC (from the log), Standard (by a cursor column) or Xmin.",
    )
    cursor: Names = Field(
        default=(),
        validation_alias=AliasChoices("cursor", "cursors"),
        description="Column names to prefer as cursor, best first, where a table has them.",
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=64, description="How many partitions are read at once (each one session)."
    )
    partition_bytes: Bytes = Field(
        default=256 * 2**20, ge=2**16, description="Size of one partition, measured at the table's size on disk."
    )
    max_transaction_age: Seconds = Field(
        default=600.0,
        gt=0,
        description="No transaction of ours lives longer (seconds, or '10 min'): long ones keep VACUUM from its work.",
    )
    lookback_window: Seconds = Field(
        default=0.0,
        ge=0,
        description="Read this much again before the last cursor value, for rows that were committed late: seconds "
        "(or '5 min') for times, whole days at least for dates, units for numbers.",
    )
    lock_timeout: Seconds = Field(
        default=60.0, ge=0, description="Give up when a lock is not granted within this time; 0: wait for ever."
    )
    statement_timeout: Seconds = Field(
        default=0.0, ge=0, description="Give up when one statement takes longer; 0: never, whatever the role's default."
    )

    @field_validator("schemas", "tables", "cursor")
    @classmethod
    def _no_blank(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not name.strip() for name in value):
            raise ValueError("contains an empty name")
        return value
