"""Configuration of the destinations of files. Field names are those of Airbyte's destination-s3; friendlier names are
aliases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator, model_validator

from syncline.sdk.config import ConnectorConfig
from syncline.sdk.files.config import EncryptionConfig, Prefix, S3ConnectionConfig
from syncline.sdk.files.local import LocalStore
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.quantities import Size

__all__ = [
    "ARCHIVES",
    "FilesDestinationConfig",
    "FormatConfig",
    "LifecycleRule",
    "LocalDestinationConfig",
    "PartitionField",
    "S3DestinationConfig",
]

FormatType = Literal["Parquet", "CSV", "JSONL"]
Compression = Literal["SNAPPY", "ZSTD", "GZIP", "UNCOMPRESSED"]

_FORMATS = {"PARQUET": "Parquet", "CSV": "CSV", "JSONL": "JSONL", "JSON": "JSONL", "NDJSON": "JSONL"}
_COMPRESSIONS = {"NONE": "UNCOMPRESSED", "NO COMPRESSION": "UNCOMPRESSED", "GZ": "GZIP", "ZSTANDARD": "ZSTD"}


class FormatConfig(ConnectorConfig):
    """File format and compression. Codec names are taken in any case."""

    format_type: FormatType = Field(
        default="Parquet",
        validation_alias=AliasChoices("format_type", "file_type", "type"),
        description="Parquet, CSV or JSONL.",
    )
    compression_codec: Compression | None = Field(
        default=None,
        validation_alias=AliasChoices("compression_codec", "compression"),
        description="Parquet: SNAPPY (default), ZSTD, GZIP, UNCOMPRESSED. CSV, JSONL: GZIP (default) or UNCOMPRESSED.",
    )

    @field_validator("format_type", mode="before")
    @classmethod
    def _format(cls, value: Any) -> Any:
        return _FORMATS.get(value.upper(), value) if isinstance(value, str) else value

    @field_validator("compression_codec", mode="before")
    @classmethod
    def _codec(cls, value: Any) -> Any:
        if isinstance(value, Mapping):  # Airbyte's form for CSV and JSONL: {compression_type: GZIP}
            value = value.get("compression_type")
        if isinstance(value, str):
            return _COMPRESSIONS.get(value.upper(), value.upper())
        return value

    @model_validator(mode="after")
    def _fits(self) -> FormatConfig:
        if self.format_type != "Parquet" and self.codec not in ("GZIP", "UNCOMPRESSED"):
            raise ValueError(f"{self.format_type} can be compressed with GZIP or UNCOMPRESSED, not {self.codec}")
        return self

    @property
    def codec(self) -> Compression:
        """The compression in effect."""
        if self.compression_codec is not None:
            return self.compression_codec
        return "SNAPPY" if self.format_type == "Parquet" else "GZIP"

    @property
    def extension(self) -> str:
        """How files of this format end, with the dot."""
        ending = {"Parquet": ".parquet", "CSV": ".csv", "JSONL": ".jsonl"}[self.format_type]
        return ending + (".gz" if self.format_type != "Parquet" and self.codec == "GZIP" else "")


class PartitionField(ConnectorConfig):
    """One level of folders ``name=value``."""

    field_name: str = Field(
        min_length=1,
        validation_alias=AliasChoices("field_name", "field", "column", "name"),
        description="A column of the data, or _sync_date: the UTC date on which the job started.",
    )
    type: Literal["IDENTITY", "DATE", "YEAR", "MONTH"] = Field(
        default="IDENTITY",
        description="IDENTITY: the column's value; the column is then not in the files. DATE, YEAR, MONTH: that part "
        "of a date or timestamp (UTC); the folder is column_date, column_year or column_month, and the column stays.",
    )

    @field_validator("type", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return (
            {"STRING": "IDENTITY", "VALUE": "IDENTITY", "DAY": "DATE"}.get(value.upper(), value.upper())
            if isinstance(value, str)
            else value
        )


def _fields(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, (list, tuple)):
        return [{"field_name": each} if isinstance(each, str) else each for each in value]
    return value


class FilesDestinationConfig(ConnectorConfig):
    """What both destinations of files share."""

    format: FormatConfig = Field(default_factory=FormatConfig, description="File format and compression.")
    s3_path_format: str = Field(
        default="${STREAM_NAME}/",
        validation_alias=AliasChoices("s3_path_format", "path_format"),
        description="Folder of a stream below the prefix. Variables: ${NAMESPACE} ${STREAM_NAME} ${YEAR} ${MONTH} "
        "${DAY} ${HOUR} ${MINUTE} ${SECOND} ${MILLISECOND} ${EPOCH} ${UUID}.",
    )
    file_name_pattern: str | None = Field(
        default=None,
        description="Beginning of a file's name: variables as above, or {date} {timestamp} {part_number} {sync_id}. A "
        "part of ours that makes the name unique, and the extension, follow.",
    )
    partitioning: Annotated[tuple[PartitionField, ...], BeforeValidator(_fields)] = Field(
        default=(), description="Hive style folders: a list of columns, or of {field_name, type}."
    )
    target_file_size: Size = Field(
        default=256 * 10**6, ge=2**10, description="A file is closed once it has this size ('256 MB' or bytes)."
    )
    max_row_group_bytes: Size = Field(
        default=32 * 2**20,
        ge=2**16,
        le=2**30,
        description="Row groups of Parquet hold about this much, measured in memory before encoding (32 MiB: some "
        "160,000 rows of 16 columns). Twice as much is held per partition.",
    )

    @field_validator("s3_path_format")
    @classmethod
    def _known_variables(cls, value: str) -> str:
        known = [
            "NAMESPACE",
            "STREAM_NAME",
            "YEAR",
            "MONTH",
            "DAY",
            "HOUR",
            "MINUTE",
            "SECOND",
            "MILLISECOND",
            "EPOCH",
            "UUID",
        ]
        for name in re.findall(r"\$\{([^}]*)\}", value):
            if name not in known:
                raise ValueError(f"unknown variable ${{{name}}}; known: {', '.join(known)}")
        if "_syncline" in value.split("/") or ".." in value.split("/"):
            raise ValueError("must not contain the folders _syncline or ..")
        return value

    @field_validator("partitioning")
    @classmethod
    def _once_each(cls, value: tuple[PartitionField, ...]) -> tuple[PartitionField, ...]:
        seen = {(f.field_name, f.type) for f in value}
        if len(seen) != len(value):
            raise ValueError("a field is listed twice")
        return value

    def open_store(self) -> ObjectStore:
        """The object store that holds the files; connects at the first request. Keys in manifests are relative to
        it."""
        raise NotImplementedError


class LocalDestinationConfig(FilesDestinationConfig):
    """A folder of this machine, or of a mounted file system with hard links and atomic rename."""

    path: Path = Field(
        validation_alias=AliasChoices("path", "destination_path"),
        description="The folder. It is made when it is missing.",
    )
    path_prefix: str = Field(default="", description="Folder below it.")

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("path_prefix")
    @classmethod
    def _below(cls, value: str) -> str:
        if ".." in value.split("/"):
            raise ValueError("must not contain ..")
        return value.strip("/")

    def open_store(self) -> LocalStore:
        return LocalStore(self.path / self.path_prefix if self.path_prefix else self.path)


#: Storage classes whose objects cannot be read before they are restored.
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})


class LifecycleRule(ConnectorConfig):
    """One lifecycle rule of the bucket, kept by us beside the user's own."""

    prefix: str = Field(description="Keys it applies to: from the bucket's root, as in AWS.")
    transition_days: int | None = Field(default=None, ge=0, description="Days after which objects move.")
    storage_class: str | None = Field(default=None, description="Where to: GLACIER, STANDARD_IA, DEEP_ARCHIVE …")
    expire_days: int | None = Field(default=None, ge=1, description="Days after which objects are deleted.")

    @field_validator("storage_class")
    @classmethod
    def _upper(cls, value: str | None) -> str | None:
        return value.upper() if value else value

    @model_validator(mode="after")
    def _says_something(self) -> LifecycleRule:
        if (self.transition_days is None) != (self.storage_class is None):
            raise ValueError("transition_days and storage_class go together")
        if self.transition_days is None and self.expire_days is None:
            raise ValueError("give transition_days with storage_class, or expire_days")
        if (
            self.transition_days is not None
            and self.expire_days is not None
            and self.expire_days <= self.transition_days
        ):
            raise ValueError("expire_days must be greater than transition_days")
        return self


class S3DestinationConfig(FilesDestinationConfig, S3ConnectionConfig):
    """A bucket of S3, or of a service that speaks its protocol with conditional writes (``If-None-Match``)."""

    s3_bucket_path: Prefix = Field(
        default="",
        validation_alias=AliasChoices("s3_bucket_path", "path_prefix"),
        description="Prefix of all keys, for example bronze/erp/.",
    )
    encryption: EncryptionConfig | None = Field(
        default=None, description="Server-side encryption. Default: what the bucket does by itself."
    )
    lifecycle: tuple[LifecycleRule, ...] = Field(
        default=(), description="Lifecycle rules to keep at the bucket; rules that others made are left alone."
    )

    @model_validator(mode="after")
    def _spare_manifests(self) -> S3DestinationConfig:
        manifests = f"{self.s3_bucket_path}_syncline/"
        for rule in self.lifecycle:
            harms = rule.expire_days is not None or rule.storage_class in ARCHIVES
            if harms and (manifests.startswith(rule.prefix) or rule.prefix.startswith(manifests)):
                does = "delete" if rule.expire_days is not None else "archive"
                raise ValueError(
                    f"lifecycle: the rule for {rule.prefix!r} would {does} the manifests below {manifests!r}, without "
                    f"which no sync can go on; write one rule per stream's folder, as {self.s3_bucket_path}orders/"
                )
        return self

    def open_store(self) -> ObjectStore:
        return self.open_bucket(self.s3_bucket_path, self.encryption)
