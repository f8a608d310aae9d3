"""Where files lie and how they are named.

A file's name ends with a part of ours: ``…_<owner>-<token>-<partition>-<number>.parquet``. ``owner`` stands for
connection and stream, so that an upload which a dead attempt left behind can be recognised from its key alone, and
nobody else's is ever touched.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import quote

from syncline.connectors.files.config import FilesDestinationConfig, PartitionField
from syncline.core.checkpoint import StreamTarget
from syncline.core.stream import StreamName

__all__ = [
    "NAMESPACE_HINT",
    "NULL_PARTITION",
    "SYNC_DATE",
    "FileNames",
    "folder_name",
    "owned_token",
    "owner",
    "partition_folder",
    "partition_name",
    "stream_folder_format",
    "stream_prefix",
]

#: Hive's word for NULL in a folder name; every reader of such folders knows it.
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
SYNC_DATE = "_sync_date"
NAMESPACE_HINT = "set s3_path_format: ${NAMESPACE}/${STREAM_NAME}/"
#: What Hive and Spark write as a percent sign and two digits; other characters stay.
_HIVE_SPECIAL = re.compile(r"""[\x00-\x1f\x7f"#%'*/:=?\\{}\[\]^]""")
_OWNED = re.compile(r"_([0-9a-f]{10})-(\d+)-[0-9A-Za-z]+-\d+\.[a-z.]+$")
_TIMES = ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND", "MILLISECOND", "EPOCH")
#: Longest beginning of a file's name that we take from the user: names of 255 bytes are the usual limit.
_STEM_BYTES = 120


def owner(connection: str, stream: StreamName) -> str:
    """Ten hexadecimal digits for connection and stream."""
    text = "\0".join((connection, stream.namespace or "", stream.name))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def owned_token(name: str, mine: str) -> int | None:
    """The fencing token in the name of a file of ours; None when ``name`` is not one of this owner's."""
    found = _OWNED.search(name)
    return int(found[2]) if found and found[1] == mine else None


def folder_name(text: str) -> str:
    """``text`` as one part of a key: no slash, no dot names, no control characters."""
    safe = quote(text, safe=" ()+,=@&$!;'~-_.") if not re.fullmatch(r"[\w .()+,=@&$!;'~-]*", text) else text
    if safe.startswith("."):
        return "%2E" + safe[1:]
    return "%5Fsyncline" if safe == "_syncline" else safe  # that name is our own folder's


def stream_prefix(config: FilesDestinationConfig, stream: StreamName) -> str:
    """The part of a stream's keys that never changes: what lies before the first variable of time."""
    text = _stream_variables(config.s3_path_format, stream)
    return _clean(text[: text.find("${")] if "${" in text else text)


def stream_folder_format(config: FilesDestinationConfig, stream: StreamName) -> str:
    """The stream's place with the variables of time still in it: two streams with the same one get in each other's
    way."""
    return _clean(_stream_variables(config.s3_path_format, stream))


def _stream_variables(text: str, stream: StreamName) -> str:
    text = text.replace("${NAMESPACE}", folder_name(stream.namespace or ""))
    return text.replace("${STREAM_NAME}", folder_name(stream.name))


def _clean(text: str) -> str:
    return re.sub("/+", "/", text).lstrip("/")


def partition_folder(fields: Sequence[PartitionField], values: Sequence[str | None]) -> str:
    """``a=1/b=x/`` with values quoted as Hive does."""
    parts = (
        f"{_hive_quoted(partition_name(f))}={NULL_PARTITION if v is None else _hive_quoted(v)}/"
        for f, v in zip(fields, values, strict=True)
    )
    return "".join(parts)


def _hive_quoted(text: str) -> str:
    return _HIVE_SPECIAL.sub(lambda found: f"%{ord(found[0]):02X}", text)


def partition_name(field: PartitionField) -> str:
    """The name before the ``=``: the column's, with the part of it that is taken."""
    if field.type == "IDENTITY" or field.field_name == SYNC_DATE:
        return field.field_name
    return f"{field.field_name}_{field.type.lower()}"


@dataclass(frozen=True, kw_only=True)
class FileNames:
    """Names of the files of one writer. ``at`` fills the variables of time."""

    config: FilesDestinationConfig
    target: StreamTarget
    partition: str
    token: int
    at: datetime

    @classmethod
    def now(cls, config: FilesDestinationConfig, target: StreamTarget, partition: str, token: int) -> FileNames:
        return cls(config=config, target=target, partition=partition, token=token, at=datetime.now(UTC))

    def data(self, folder: str, number: int) -> str:
        """The key of data file ``number`` in the partition folder ``folder``."""
        path = self._fill(_stream_variables(self.config.s3_path_format, self.target.stream))
        # As with Airbyte, what follows the last slash of the path format begins the file's name.
        place, _, beginning = _clean(path).rpartition("/")
        pattern = self.config.file_name_pattern
        stem = self.target.sync_id if pattern is None and not beginning else self._pattern(pattern or "", number)
        name = folder_name(beginning + stem).encode()[:_STEM_BYTES].decode(errors="ignore").rstrip("_.")
        return (
            f"{place}/{folder}{name}{self._suffix(number, '')}"
            if place
            else f"{folder}{name}{self._suffix(number, '')}"
        )

    def quarantine(self, folder: str) -> str:
        """The key of this writer's quarantine file below our own folder of the stream."""
        return f"{folder}quarantine/{self.target.sync_id}{self._suffix(0, '.jsonl')}"

    def _suffix(self, number: int, extension: Literal["", ".jsonl"]) -> str:
        mine = owner(self.target.connection, self.target.stream)
        return f"_{mine}-{self.token}-{_slug(self.partition)}-{number}{extension or self.config.format.extension}"

    def _pattern(self, pattern: str, number: int) -> str:
        """Airbyte's placeholders, then the variables of the path format."""
        for extension in ("{format_extension}", ".{extension}", "{extension}"):
            pattern = pattern.replace(extension, "")
        millis = int(self.at.timestamp() * 1000)
        replacements = {
            "{date}": f"{self.at:%Y_%m_%d}",
            "{date:yyyy_MM}": f"{self.at:%Y_%m}",
            "{timestamp}": str(millis),
            "{timestamp:millis}": str(millis),
            "{timestamp:micros}": str(int(self.at.timestamp() * 1_000_000)),
            "{part_number}": str(number),
            "{sync_id}": self.target.sync_id,
        }
        for placeholder, value in replacements.items():
            pattern = pattern.replace(placeholder, value)
        return self._fill(_stream_variables(pattern, self.target.stream))

    def _fill(self, text: str) -> str:
        at = self.at
        values = {
            "YEAR": f"{at:%Y}",
            "MONTH": f"{at:%m}",
            "DAY": f"{at:%d}",
            "HOUR": f"{at:%H}",
            "MINUTE": f"{at:%M}",
            "SECOND": f"{at:%S}",
            "MILLISECOND": f"{at.microsecond // 1000:04}",
            "EPOCH": str(int(at.timestamp() * 1000)),
        }
        for name in _TIMES:
            text = text.replace(f"${{{name}}}", values[name])
        while "${UUID}" in text:
            text = text.replace("${UUID}", str(uuid.uuid4()), 1)
        return text


def _slug(partition: str) -> str:
    """The partition's id for a file name: itself when it is short and plain, else a digest."""
    if re.fullmatch(r"[0-9A-Za-z]{1,20}", partition):
        return partition
    return "x" + hashlib.sha256(partition.encode()).hexdigest()[:12]
