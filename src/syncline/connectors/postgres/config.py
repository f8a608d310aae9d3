"""Configuration of the Postgres source. Field names are Airbyte's; friendlier names are aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from syncline.connectors.postgres.connection import PostgresConnectionConfig, SslConfig, TunnelConfig
from syncline.connectors.postgres.destination_config import PostgresDestinationConfig
from syncline.sdk.config import ConnectorConfig

__all__ = [
    "PostgresDestinationConfig",
    "PostgresSourceConfig",
    "ReplicationMethod",
    "SslConfig",
    "TunnelConfig",
]

_SECONDS = {
    "": 1.0,
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
}
_BYTES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def _quantity(value: Any, units: Mapping[str, float], example: str) -> Any:
    """``"10 min"`` as a number of the base unit; anything but text is left to the model."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    unit = found[2].lower() if found else ""
    if unit not in units and unit.removesuffix("s") in units:
        unit = unit.removesuffix("s")
    if found is None or unit not in units:
        raise ValueError(f"{value!r} is not understood; write for example {example}")
    number = float(found[1]) * units[unit]
    return int(number) if number == int(number) else number


def _duration(value: Any) -> Any:
    return _quantity(value, _SECONDS, "'10 min', '30 s' or a number of seconds")


def _size(value: Any) -> Any:
    return _quantity(value, _BYTES, "'256 MiB' or a number of bytes")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _method(value: Any) -> Any:
    if isinstance(value, str):
        value = {"method": value}
    if isinstance(value, Mapping) and isinstance(method := value.get("method"), str):
        known = {"standard": "Standard", "xmin": "Xmin"}
        return {**value, "method": known.get(method.lower(), method)}
    return value


Seconds = Annotated[float, BeforeValidator(_duration)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class ReplicationMethod(ConnectorConfig):
    """How changes are found: by a cursor column of the user's choice, or by the rows' own transaction ids."""

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
    replication_method: Annotated[ReplicationMethod, BeforeValidator(_method)] = Field(
        default_factory=ReplicationMethod, description="Standard or Xmin."
    )
    cursor: Names = Field(
        default=(),
        validation_alias=AliasChoices("cursor", "cursors"),
        description="Column names to prefer as cursor, best first, where a table has them.",
    )
    concurrency: int | None = Field(
        default=None, ge=1, le=64, description="How many partitions are read at once (each one session)."
    )
    partition_bytes: Annotated[int, BeforeValidator(_size)] = Field(
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
