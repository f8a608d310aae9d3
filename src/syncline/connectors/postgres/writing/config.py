"""Configuration of the Postgres destination. Field names are Airbyte's; friendlier names are aliases."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field, field_validator

from syncline.connectors.postgres.connection import PostgresConnectionConfig

__all__ = ["PostgresDestinationConfig"]


class PostgresDestinationConfig(PostgresConnectionConfig):
    """One database as a destination."""

    target_schema: str = Field(
        default="public",
        min_length=1,
        validation_alias=AliasChoices("schema", "target_schema", "default_schema"),
        serialization_alias="schema",
        description="Schema that holds the tables and our ledger; made when it is missing. ${SOURCE_NAMESPACE} stands "
        "for the stream's own namespace.",
    )
    namespace: Literal["destination", "source"] = Field(
        default="destination",
        description="destination: every stream goes into `schema`. source: each goes into a schema named as its own "
        "namespace, `schema` only for streams without one.",
    )
    table_prefix: str = Field(
        default="",
        validation_alias=AliasChoices("table_prefix", "prefix"),
        description="Put before the name of each table.",
    )
    table: str | None = Field(
        default=None, min_length=1, description="Name of the table, for a connection with a single stream."
    )
    primary_keys: Literal["deduped", "always"] = Field(
        default="deduped",
        description="Where a PRIMARY KEY is put: on tables of deduped modes (which need it), or on every table whose "
        "key is known. A table copied whole without one loads faster.",
    )
    lock_timeout: float = Field(
        default=600.0,
        gt=0,
        description="Seconds to keep trying for the short lock under which a new generation is swapped in, while "
        "readers hold the table. Each try waits at most a second, so that nobody queues behind us for longer.",
    )

    # Airbyte's fields without a meaning here; accepted where that changes nothing, so that its configurations load.
    ssl: bool | None = Field(default=None, description="Not used: see ssl_mode.")
    drop_cascade: bool = Field(default=False, description="Not used: nothing that depends on a table is ever dropped.")
    raw_data_schema: str | None = Field(default=None, description="Not used: there are no raw tables here.")
    unconstrained_number: bool = Field(default=False, description="Not used: numbers keep their exact type.")
    disable_type_dedupe: Literal[False] = Field(
        default=False, description="Must be false: there are no raw tables here, only typed ones."
    )

    @field_validator("target_schema", "table_prefix", "table")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError("contains the character U+0000")
        return value
