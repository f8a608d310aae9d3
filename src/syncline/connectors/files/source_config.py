"""Configuration of the source of files: where they lie, and which of them make up which stream."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, field_validator, model_validator

from syncline.sdk.config import ConnectorConfig
from syncline.sdk.files.config import S3ConnectionConfig
from syncline.sdk.files.local import LocalStore
from syncline.sdk.files.store import ObjectStore

__all__ = ["ColumnType", "FileFormatConfig", "FileStreamConfig", "FileType", "FilesSourceConfig"]

FileType = Literal["csv", "jsonl", "parquet"]
ColumnType = Literal["string", "integer", "number", "boolean", "date", "timestamp", "timestamptz", "json"]

_FILE_TYPES = {"json": "jsonl", "ndjson": "jsonl", "json lines": "jsonl", "tsv": "csv", "avro": "avro"}
_ENDINGS: dict[str, FileType] = {
    "csv": "csv",
    "tsv": "csv",
    "txt": "csv",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "jsonl",
    "parquet": "parquet",
    "pq": "parquet",
}
_CHARACTERS = {"\\t": "\t", "tab": "\t", "tabulator": "\t", "pipe": "|", "semicolon": ";", "comma": ","}


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _format(value: Any) -> Any:
    return {"filetype": value} if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class FileFormatConfig(ConnectorConfig):
    """How the files of a stream are written. Only ``filetype`` and ``encoding`` matter to JSON lines, none but
    ``filetype`` to Parquet."""

    filetype: FileType | None = Field(
        default=None,
        validation_alias=AliasChoices("filetype", "file_type", "format_type", "type"),
        description="csv, jsonl or parquet. Default: by the ending in the globs.",
    )
    delimiter: str = Field(default=",", description="CSV: the character between values; \\t or tab for a tabulator.")
    quote_char: str | None = Field(
        default='"', description="CSV: the character around values that hold delimiters; null for none."
    )
    double_quote: bool = Field(default=True, description="CSV: a quote within a quoted value is written twice.")
    escape_char: str | None = Field(default=None, description="CSV: the character that takes the next one literally.")
    header: bool = Field(
        default=True, description="CSV: the first line holds the columns' names. Without it: column_names, or f0, f1 …"
    )
    column_names: tuple[str, ...] = Field(
        default=(), description="CSV: the columns' names; they take the place of those in the header, if there is one."
    )
    skip_lines: int = Field(
        default=0,
        ge=0,
        validation_alias=AliasChoices("skip_lines", "skip_rows_before_header"),
        description="CSV: lines to skip at the head of each file, before the header.",
    )
    encoding: str = Field(default="utf-8", description="CSV, JSON lines: the encoding of the text, by Python's names.")
    null_values: Texts = Field(
        default=(),
        description="CSV: unquoted texts that mean NULL, besides the empty one (which is always NULL when unquoted).",
    )
    compression: Literal["auto", "none", "gzip"] = Field(
        default="auto", description="CSV, JSON lines: auto takes files that end in .gz as gzip."
    )

    @field_validator("filetype", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return _FILE_TYPES.get(value.lower(), value.lower()) if isinstance(value, str) else value

    @field_validator("delimiter", "quote_char", "escape_char", mode="before")
    @classmethod
    def _one_character(cls, value: Any) -> Any:
        if value == "" or value is None:
            return None
        if isinstance(value, str):
            value = _CHARACTERS.get(value.lower(), value)
            if len(value) != 1 or not value.isascii() or value in "\r\n":
                raise ValueError(f"{value!r} must be one ASCII character")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            return codecs.lookup(value.replace("utf8", "utf-8")).name
        except LookupError:
            raise ValueError(f"unknown encoding {value!r}; for example utf-8, utf-16, latin-1, cp1252") from None

    @field_validator("column_names")
    @classmethod
    def _once_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a name is listed twice")
        return value


class FileStreamConfig(ConnectorConfig):
    """One stream: the files that some patterns match, all with the same columns or some of them."""

    name: str = Field(min_length=1, description="Name of the stream, and of the table or folder at the destination.")
    globs: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        min_length=1,
        validation_alias=AliasChoices("globs", "glob", "path_pattern"),
        description="Patterns of keys below the path: * within a name, ** over folders, ?, [a-z], {a,b}. Names that "
        "begin with a dot and folders named _syncline are never matched.",
    )
    format: Annotated[FileFormatConfig, BeforeValidator(_format)] = Field(
        default_factory=FileFormatConfig, description="How the files are written."
    )
    primary_key: Texts = Field(default=(), description="Columns that identify a row, for the deduped modes.")
    column_types: dict[str, ColumnType] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("column_types", "input_schema"),
        description="CSV, JSON lines: types that are not to be taken from the sample: string, integer, number, "
        "boolean, date, timestamp, timestamptz, json. JSON lines get these columns even when no sampled line has them.",
    )

    @field_validator("globs")
    @classmethod
    def _below(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for glob in value:
            if ".." in glob.split("/"):
                raise ValueError("must not contain ..")
        return tuple(glob.removeprefix("./").lstrip("/") for glob in value)

    @model_validator(mode="after")
    def _has_type(self) -> FileStreamConfig:
        if self.format.filetype is None and len(found := self._endings()) != 1:
            raise ValueError(
                f"the globs of stream {self.name!r} tell no one file type"
                + (f" (but {', '.join(sorted(found))})" if found else "")
                + "; set format.filetype to csv, jsonl or parquet"
            )
        if self.filetype == "parquet" and self.column_types:
            raise ValueError("column_types are for csv and jsonl; Parquet files know their types")
        return self

    def _endings(self) -> set[FileType]:
        found = (re.findall(r"[A-Za-z]+", glob.rpartition(".")[2]) for glob in map(_without_gz, self.globs))
        return {_ENDINGS[word.lower()] for words in found for word in words if word.lower() in _ENDINGS}

    @property
    def filetype(self) -> FileType:
        """The file type in effect."""
        if self.format.filetype is not None:
            return self.format.filetype
        (found,) = self._endings()  # the validator has seen that it is one
        return found


def _without_gz(glob: str) -> str:
    return re.sub(r"(\.gz|\{,\.gz\})$", "", glob, flags=re.IGNORECASE)


class FilesSourceConfig(S3ConnectionConfig):
    """Files in a folder (``path``) or in a bucket (``bucket``), as one stream (``name``, ``globs``, ``format`` at the
    top) or as several (``streams``)."""

    path: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("path", "folder"),
        description="The local folder. Either path or bucket.",
    )
    s3_bucket_name: str = Field(
        default="",
        validation_alias=AliasChoices("s3_bucket_name", "bucket"),
        description="Name of the S3 bucket. Either path or bucket.",
    )
    path_prefix: str = Field(
        default="",
        validation_alias=AliasChoices("path_prefix", "s3_bucket_path"),
        description="Folder below the path, or prefix in the bucket, that the globs start from.",
    )
    streams: tuple[FileStreamConfig, ...] = Field(
        default=(), description="The streams: name, globs, format, primary_key, column_types of each."
    )
    name: str | None = Field(default=None, description="For a single stream: its name.")
    globs: Texts = Field(
        default=(), validation_alias=AliasChoices("globs", "glob"), description="For a single stream: its globs."
    )
    format: Annotated[FileFormatConfig, BeforeValidator(_format)] | None = Field(
        default=None, description="For a single stream: how its files are written."
    )
    primary_key: Texts = Field(default=(), description="For a single stream: its primary key.")
    column_types: dict[str, ColumnType] = Field(
        default_factory=dict, description="For a single stream: types that are not to be taken from the sample."
    )
    sample_files: int = Field(
        default=100,
        ge=1,
        le=100_000,
        description="How many files per stream discover looks into, the oldest and the newest ones.",
    )
    sample_bytes: int = Field(
        default=1 << 20, ge=1 << 10, le=1 << 28, description="How much of each (CSV, JSON lines) it reads."
    )

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("path_prefix")
    @classmethod
    def _normal(cls, value: str) -> str:
        value = re.sub("/+", "/", value.strip("/"))
        if ".." in value.split("/"):
            raise ValueError("must not contain ..")
        return f"{value}/" if value else ""

    @model_validator(mode="after")
    def _one_place(self) -> FilesSourceConfig:
        if (self.path is None) == (not self.s3_bucket_name):
            raise ValueError("give either path (a local folder) or bucket (S3)")
        return self

    @model_validator(mode="after")
    def _some_streams(self) -> FilesSourceConfig:
        short = bool(self.globs or self.name)
        if short == bool(self.streams):
            raise ValueError("give either streams, or name and globs for a single stream")
        if short and not (self.globs and self.name):
            raise ValueError(
                f"{'globs' if self.globs else 'name'} is given without {'name' if self.globs else 'globs'}"
            )
        if not short and (self.format or self.primary_key or self.column_types):
            raise ValueError(
                "format, primary_key and column_types belong to each of the streams when there are several"
            )
        names = [s.name for s in self.file_streams]
        if len(set(names)) != len(names):
            raise ValueError("two streams have the same name")
        return self

    @property
    def file_streams(self) -> tuple[FileStreamConfig, ...]:
        """The streams in name order, whichever way they are written."""
        if self.name is None:
            return tuple(sorted(self.streams, key=lambda s: s.name))
        single = FileStreamConfig(
            name=self.name,
            globs=self.globs,
            format=self.format or FileFormatConfig(),
            primary_key=self.primary_key,
            column_types=self.column_types,
        )
        return (single,)

    def open_store(self) -> ObjectStore:
        """The store that holds the files; connects at the first request. Keys are relative to the prefix."""
        if self.path is not None:
            return LocalStore(self.path / self.path_prefix if self.path_prefix else self.path)
        return self.open_bucket(self.path_prefix)
