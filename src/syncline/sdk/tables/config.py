"""Settings that destinations of table formats share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import AliasChoices, Field, field_validator, model_validator

from syncline.core.stream import StreamName
from syncline.sdk.config import ConnectorConfig
from syncline.sdk.files.config import EncryptionConfig, Prefix, S3AccessConfig
from syncline.sdk.files.local import LocalStore
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.quantities import Size, Span
from syncline.sdk.tables.files_out import Sizes

__all__ = ["MaintenanceConfig", "TablesConfig"]


class MaintenanceConfig(ConnectorConfig):
    """What is done about small files and old versions, after the last commit of a run and now and then while changes
    are followed."""

    compact_files: int = Field(
        default=16,
        ge=0,
        description="Small files are written together once a table has so many of them. 0: never.",
    )
    small_file_size: Size = Field(
        default=32 * 10**6, ge=1, description="Files below this are small ('32 MB' or a number of bytes)."
    )
    expire_after: Span = Field(
        default=7 * 86_400.0,
        ge=0,
        description="Versions older than this ('7 days', '12h', seconds) are forgotten, and the files that only they "
        "have deleted. A reader that has a version open must be done by then.",
    )
    keep_versions: int = Field(
        default=500,
        ge=1,
        description="Iceberg: no more versions than this are kept, however young: the table's metadata lists them all, "
        "and is written anew by each commit.",
    )
    expire: bool = Field(default=True, description="false: keep every version; somebody else must clear them.")


class _FolderConfig(ConnectorConfig):
    path: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("path", "destination_path"),
        description="Folder of the tables; made when it is missing. Or give a bucket.",
    )

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()


class TablesConfig(S3AccessConfig, _FolderConfig):
    """A folder, or a bucket of S3; what the tables in it are called, and how their files are made."""

    s3_bucket_path: Prefix = Field(
        default="",
        validation_alias=AliasChoices("s3_bucket_path", "path_prefix"),
        description="Folder of the tables below path, or prefix of all keys in the bucket.",
    )
    encryption: EncryptionConfig | None = Field(
        default=None, description="Server-side encryption in S3. Default: what the bucket does by itself."
    )
    namespace: Literal["source", "destination"] = Field(
        default="destination",
        description="destination: a stream's table is named as the stream alone. source: its namespace comes before "
        "it (shop/orders, shop.orders).",
    )
    table_prefix: str = Field(
        default="", validation_alias=AliasChoices("table_prefix", "prefix"), description="Put before each table's name."
    )
    target_file_size: Size = Field(
        default=128 * 10**6, ge=2**10, description="A file is closed once it has this size ('128 MB' or bytes)."
    )
    max_row_group_bytes: Size = Field(
        default=32 * 2**20,
        ge=2**12,
        le=2**30,
        description="Row groups hold about this much, measured in memory before encoding.",
    )
    compression_codec: Literal["SNAPPY", "ZSTD", "GZIP", "UNCOMPRESSED"] = Field(
        default="SNAPPY",
        validation_alias=AliasChoices("compression_codec", "compression"),
        description="Compression of the Parquet files.",
    )
    maintenance: MaintenanceConfig = Field(
        default_factory=MaintenanceConfig,
        description="Small files and old versions: compact_files, small_file_size, expire_after, expire.",
    )

    @field_validator("compression_codec", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_place(self) -> TablesConfig:
        if (self.path is None) == (self.s3_bucket_name is None):
            raise ValueError("give either path (a local folder) or bucket (S3)")
        return self

    @property
    def sizes(self) -> Sizes:
        return Sizes(
            target_file_size=self.target_file_size,
            row_group_bytes=self.max_row_group_bytes,
            codec=self.compression_codec,
        )

    @property
    def remote(self) -> bool:
        return self.path is None

    def open_store(self) -> ObjectStore:
        """The store of all tables; connects at the first request. Keys in ledgers are relative to it."""
        if self.path is not None:
            return LocalStore(self.path / self.s3_bucket_path if self.s3_bucket_path else self.path)
        return self.open_bucket(self.s3_bucket_path, self.encryption)

    def table_name(self, stream: StreamName) -> tuple[str | None, str]:
        """Namespace (None: none) and name of a stream's table."""
        namespace = stream.namespace if self.namespace == "source" else None
        return namespace, self.table_prefix + stream.name

    def table_folder(self, stream: StreamName) -> str:
        """Key prefix of a stream's table, with its slash."""
        namespace, name = self.table_name(stream)
        return f"{_part(namespace)}/{_part(name)}/" if namespace else f"{_part(name)}/"


def _part(text: str) -> str:
    """``text`` as one part of a key: plain characters stay, others become percent signs and digits."""
    safe = quote(text, safe=" ()+,=@&$!;'~-_.")
    if safe.startswith("."):
        return "%2E" + safe[1:]
    return "%5Fsyncline" if safe == "_syncline" else safe
