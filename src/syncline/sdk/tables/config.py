"""Settings that destinations of table formats share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, field_validator, model_validator

from syncline.core.stream import StreamName
from syncline.sdk.config import ConnectorConfig
from syncline.sdk.files.config import EncryptionConfig, S3ConnectionConfig
from syncline.sdk.files.local import LocalStore
from syncline.sdk.files.store import ObjectStore
from syncline.sdk.tables.files_out import Sizes

__all__ = ["MaintenanceConfig", "TablesConfig"]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN_WORDS = {
    **dict.fromkeys(("second", "seconds", "sec"), "s"),
    **dict.fromkeys(("minute", "minutes", "min"), "m"),
    **dict.fromkeys(("hour", "hours"), "h"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("week", "weeks"), "w"),
}


def _size(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if found is None or found[2].lower() not in _UNITS:
        raise ValueError(f"{value!r} is not a size; write for example '128 MB' or a number of bytes")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def _span(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    unit = "" if found is None else _SPAN_WORDS.get(found[2].lower(), found[2].lower() or "s")
    if found is None or unit not in _SPANS:
        raise ValueError(f"{value!r} is not a length of time; write for example '7 days', '12h' or a number of seconds")
    return float(found[1]) * _SPANS[unit]


Size = Annotated[int, BeforeValidator(_size)]
Span = Annotated[float, BeforeValidator(_span)]


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


class TablesConfig(ConnectorConfig):
    """A folder, or a bucket of S3; what the tables in it are called, and how their files are made."""

    path: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("path", "destination_path"),
        description="Folder of the tables; made when it is missing. Or give a bucket.",
    )
    s3_bucket_name: str | None = Field(
        default=None, validation_alias=AliasChoices("s3_bucket_name", "bucket"), description="Bucket of the tables."
    )
    s3_bucket_path: str = Field(
        default="",
        validation_alias=AliasChoices("s3_bucket_path", "path_prefix"),
        description="Folder of the tables below path, or prefix of all keys in the bucket.",
    )
    s3_bucket_region: str | None = Field(
        default=None,
        validation_alias=AliasChoices("s3_bucket_region", "region", "aws_region"),
        description="AWS region of the bucket. Default: AWS_REGION or AWS_DEFAULT_REGION.",
    )
    s3_endpoint: str | None = Field(
        default=None,
        validation_alias=AliasChoices("s3_endpoint", "endpoint", "endpoint_url"),
        description="URL of another S3 service. Default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, then AWS itself.",
    )
    access_key_id: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("access_key_id", "aws_access_key_id"),
        description="Access key. Default: the AWS environment.",
    )
    secret_access_key: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("secret_access_key", "aws_secret_access_key"),
        description="Its secret.",
    )
    session_token: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("session_token", "aws_session_token"),
        description="Session token of temporary credentials.",
    )
    role_arn: str | None = Field(default=None, description="Role to assume with these credentials.")
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

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("s3_bucket_path")
    @classmethod
    def _normal(cls, value: str) -> str:
        value = re.sub("/+", "/", value.strip("/"))
        if ".." in value.split("/"):
            raise ValueError("must not contain ..")
        return f"{value}/" if value else ""

    @model_validator(mode="after")
    def _one_place(self) -> TablesConfig:
        if (self.path is None) == (self.s3_bucket_name is None):
            raise ValueError("give either path (a local folder) or bucket (S3)")
        if self.s3_bucket_name is not None:
            self.s3()  # its own rules
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

    def s3(self) -> S3ConnectionConfig:
        """The settings of the bucket."""
        return S3ConnectionConfig(
            s3_bucket_name=self.s3_bucket_name or "",
            s3_bucket_region=self.s3_bucket_region,
            s3_endpoint=self.s3_endpoint,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            session_token=self.session_token,
            role_arn=self.role_arn,
        )

    def open_store(self) -> ObjectStore:
        """The store of all tables; connects at the first request. Keys in ledgers are relative to it."""
        if self.path is not None:
            return LocalStore(self.path / self.s3_bucket_path if self.s3_bucket_path else self.path)
        return self.s3().open_bucket(self.s3_bucket_path, self.encryption)

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
