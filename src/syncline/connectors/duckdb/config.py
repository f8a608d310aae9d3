"""Configuration of the DuckDB destination. Field names are Airbyte's; friendlier names are aliases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator

from syncline.sdk.config import ConnectorConfig

__all__ = ["DuckdbDestinationConfig"]

_MEMORY = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B)", re.IGNORECASE)


class DuckdbDestinationConfig(ConnectorConfig):
    """One DuckDB database file."""

    destination_path: Path = Field(
        validation_alias=AliasChoices("destination_path", "path", "database"),
        description="The database file; made, with its folder, when it is missing. Beside it a folder of the same name "
        "with .syncline holds what is not committed yet.",
    )
    target_schema: str = Field(
        default="main",
        min_length=1,
        validation_alias=AliasChoices("schema", "target_schema"),
        serialization_alias="schema",
        description="Schema that holds the tables and our ledger; made when it is missing.",
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
    memory_limit: str = Field(
        default="256MB",
        description="Memory that DuckDB may use while a commit runs; beyond it DuckDB spills to disk.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Threads that DuckDB may use while a commit runs. One loads with the least CPU; reading goes on "
        "beside it.",
    )
    storage_version: str = Field(
        default="v1.4.0",
        pattern=r"^v1\.\d+\.\d+$",
        description="Oldest DuckDB that must be able to read a file that we make. Older formats load slower; a file "
        "that exists keeps its own.",
    )
    lock_timeout: float = Field(
        default=30.0,
        ge=0,
        description="Seconds to keep trying while another process has the file open.",
    )
    motherduck_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("motherduck_api_key", "motherduck_token"),
        description="Not supported: only local files are written.",
    )

    @field_validator("destination_path", mode="before")
    @classmethod
    def _local_file(cls, value: object) -> object:
        text = str(value)
        if text.startswith(("md:", "motherduck:")):
            raise ValueError("MotherDuck is not supported; give the path of a local DuckDB file")
        if text.startswith(":memory:"):
            raise ValueError("a database in memory would be gone after the sync; give the path of a file")
        if not text.strip() or "\0" in text:
            raise ValueError("must be the path of a file")
        if "://" in text:
            raise ValueError("DuckDB writes local files only; give a path without a scheme")
        return value

    @field_validator("destination_path")
    @classmethod
    def _whole_path(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("motherduck_api_key", mode="before")
    @classmethod
    def _no_motherduck(cls, value: object) -> object:
        # Airbyte's forms send an empty text for a field that was left out.
        if value not in (None, ""):
            raise ValueError("MotherDuck is not supported; remove the key, and give the path of a local DuckDB file")
        return None

    @field_validator("memory_limit")
    @classmethod
    def _size(cls, value: str) -> str:
        if not _MEMORY.fullmatch(value.strip()):
            raise ValueError(f"{value!r} is not a size; write for example 256MB or 1GiB")
        return value.strip()

    @field_validator("target_schema", "table_prefix")
    @classmethod
    def _printable(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("contains the character U+0000")
        return value
