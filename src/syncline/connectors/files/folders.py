"""Which folder each row goes to, when files are partitioned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.files.config import FilesDestinationConfig, PartitionField
from syncline.connectors.files.layout import SYNC_DATE, partition_folder, partition_name
from syncline.core.batch import QuarantinedRow
from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError, nearest
from syncline.core.schema import StreamSchema
from syncline.sdk.files.columns import decimal_text
from syncline.sdk.quarantine import value_text
from syncline.sdk.records.json_text import calendar_text

__all__ = ["FolderPart", "FolderSplit", "ensure_partitionable"]

#: File systems end a name at 255 bytes.
_LONGEST_NAME = 255


@dataclass(frozen=True, kw_only=True)
class FolderPart:
    """Rows of one folder, with the columns of the files. ``values``: partition name to value as text (None: NULL)."""

    folder: str
    values: dict[str, str | None]
    data: pa.RecordBatch


class FolderSplit:
    """Splits batches of one target by folder; without partition columns a batch stays one piece."""

    def __init__(self, config: FilesDestinationConfig, target: StreamTarget) -> None:
        ensure_partitionable(config, target.schema)
        self._fields = config.partitioning
        schema = target.schema.arrow()
        names = set(schema.names)
        self._constants = {
            i: target.sync_date.isoformat()
            for i, f in enumerate(self._fields)
            if f.field_name == SYNC_DATE and SYNC_DATE not in names
        }
        self._by_column = [i for i in range(len(self._fields)) if i not in self._constants]
        left_out = {self._fields[i].field_name for i in self._by_column if self._fields[i].type == "IDENTITY"}
        self._kept = [name for name in schema.names if name not in left_out]
        if not self._kept:
            raise _error("partitioning takes every column, so that none is left for the files", "leave one out")
        self.file_schema: pa.Schema = pa.schema([schema.field(name) for name in self._kept])
        self._whole = self._part_place([None] * len(self._fields)) if not self._by_column else None

    def __call__(self, data: pa.RecordBatch, aside: list[QuarantinedRow]) -> Iterator[FolderPart]:
        """The batch by folder, rows of a folder in their order. Rows whose value makes no folder name join
        ``aside``."""
        if self._whole is not None:
            folder, values = self._whole
            yield FolderPart(folder=folder, values=values, data=data)
            return
        coded = [
            _texts(data.column(self._fields[i].field_name), self._fields[i]).dictionary_encode(null_encoding="encode")
            for i in self._by_column
        ]
        codes = np.zeros(data.num_rows, dtype=np.int64)
        for each in coded:
            codes = codes * max(len(each.dictionary), 1) + each.indices.to_numpy(zero_copy_only=False)
        distinct, codes = np.unique(codes, return_inverse=True)
        places = [self._place(int(code), [each.dictionary for each in coded]) for code in distinct]
        kept = data.select(self._kept)
        if len(places) == 1 and places[0] is not None:
            yield FolderPart(folder=places[0][0], values=places[0][1], data=kept)
            return
        order = np.argsort(codes, kind="stable")
        borders = np.searchsorted(codes[order], np.arange(len(places) + 1))
        for number, place in enumerate(places):
            rows = pa.array(order[borders[number] : borders[number + 1]])
            if place is None:
                aside += _too_long(data.take(rows), self._fields[self._by_column[0]].field_name)
            else:
                yield FolderPart(folder=place[0], values=place[1], data=kept.take(rows))

    def _place(self, code: int, dictionaries: list[pa.Array]) -> tuple[str, dict[str, str | None]] | None:
        """The folder and values that a combined code stands for; None when that makes no name of a folder."""
        values: list[str | None] = [None] * len(self._fields)
        for i, dictionary in zip(reversed(self._by_column), reversed(dictionaries), strict=True):
            code, index = divmod(code, len(dictionary))
            values[i] = dictionary[index].as_py()
        folder, named = self._part_place(values)
        return None if any(len(part.encode()) > _LONGEST_NAME for part in folder.split("/")) else (folder, named)

    def _part_place(self, values: list[str | None]) -> tuple[str, dict[str, str | None]]:
        whole = [self._constants.get(i, v) for i, v in enumerate(values)]
        named = {partition_name(f): v for f, v in zip(self._fields, whole, strict=True)}
        return partition_folder(self._fields, whole), named


def _too_long(rows: pa.RecordBatch, column: str) -> list[QuarantinedRow]:
    reason = f"the value is too long for the name of a folder (more than {_LONGEST_NAME} bytes)"
    return [
        QuarantinedRow(
            column=column,
            reason=reason,
            record={n: value_text(c[i]) for n, c in zip(rows.schema.names, rows.columns, strict=True)},
        )
        for i in range(rows.num_rows)
    ]


def _texts(array: pa.Array, field: PartitionField) -> pa.Array:
    """A column's part that names the folder, as text."""
    kind = array.type
    if field.type == "IDENTITY":
        return decimal_text(array) if pa.types.is_decimal(kind) else array.cast(pa.string())
    if pa.types.is_timestamp(kind) and kind.tz not in (None, "UTC"):
        array = array.cast(pa.timestamp(kind.unit, tz="UTC"))
    day = calendar_text(array.cast(pa.date32(), safe=False))
    if field.type == "DATE":
        return day
    # From the end: years may have more than four digits, or a sign.
    return pc.utf8_slice_codeunits(day, 0, -3 if field.type == "MONTH" else -6)


def ensure_partitionable(config: FilesDestinationConfig, schema: StreamSchema) -> None:
    """Raise ``config`` when a partition field is not a column, or of a type that makes no folder names."""
    for field in config.partitioning:
        name = field.field_name
        if name == SYNC_DATE and name not in schema.names:
            if field.type not in ("DATE", "IDENTITY"):
                raise _error(f"{SYNC_DATE} can be partitioned by DATE only, not by {field.type}", "write type: DATE")
            continue
        if name not in schema.names:
            near = nearest(name, [*schema.names, SYNC_DATE])
            raise _error(
                f"partitioning: the stream has no column {name!r}",
                f"did you mean {near!r}?" if near else f"it has: {', '.join(schema.names)}, and {SYNC_DATE}",
            )
        kind = schema.field(name).type
        if field.type == "IDENTITY":
            good = (
                pa.types.is_string(kind)
                or pa.types.is_large_string(kind)
                or pa.types.is_integer(kind)
                or pa.types.is_boolean(kind)
                or pa.types.is_date(kind)
                or pa.types.is_decimal(kind)
            )
            hint = "take a text, integer, decimal, boolean or date column, or DATE, MONTH, YEAR of a timestamp"
        else:
            good = pa.types.is_timestamp(kind) or pa.types.is_date(kind)
            hint = "take a date or timestamp column, or type: IDENTITY"
        if not good:
            raise _error(f"partitioning: column {name!r} of type {kind} cannot be partitioned by {field.type}", hint)
    names = [partition_name(f) for f in config.partitioning]
    if clash := sorted({n for n in names if names.count(n) > 1}):
        raise _error(f"partitioning: two fields give folders of the same name {clash[0]}=", "leave one out")


def _error(message: str, hint: str) -> SynclineError:
    return SynclineError(ErrorKind.CONFIG, message, hint=hint)
