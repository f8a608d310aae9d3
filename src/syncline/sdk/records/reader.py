"""Records' bytes to Arrow, under the schema of the catalog: no Python object per value on the usual path.

A compiled reader takes what is plain (``_parse.c``). Where there is none, and for the rest, scalars are parsed by
Arrow's own JSON reader under an explicit schema, so that a column's type never depends on what a batch happens to hold;
nested values are cut out as JSON text. A batch in which one value contradicts its declared type
is read again, value by value: what can be turned into the type without loss is (``"12"``, ``12.0`` -> 12; a number ->
its text), anything else makes its row a misfit, which destinations set aside with every value of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from syncline.core.batch import Batch, Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field, StreamSchema
from syncline.sdk.records.json_schema import WHOLE
from syncline.sdk.records.parse_native import native_records
from syncline.sdk.records.values import Contradiction, value_of

__all__ = ["RecordReader"]

_ZONE = r"(Z|z|[+-][0-9]{2}:?[0-9]{0,2})$"


#: What msgspec takes for no field's name.
_UNFIT = re.compile(r'[\\"\x00-\x1f]')


class RecordReader:
    """For one stream. ``turned`` and ``set_aside`` count, by column, the values that contradicted their type."""

    def __init__(self, schema: StreamSchema, *, whole: bool) -> None:
        """``whole``: the stream declares no columns, and its one column is the record as it is."""
        self.turned: Counter[str] = Counter()
        self.set_aside: Counter[str] = Counter()
        self._arrow = schema.arrow()
        self._fields = schema.fields
        self._whole = whole and schema.names == (WHOLE,)
        self._nested = [f for f in schema.fields if f.logical == "json"]
        self._flat = [f for f in schema.fields if f.logical != "json"]
        # Times are read as text first: Arrow's JSON reader takes fewer forms of them than its cast does.
        self._parse = pyarrow.json.ParseOptions(
            explicit_schema=pa.schema([pa.field(f.name, _carrier(f)) for f in self._flat]),
            unexpected_field_behavior="ignore",
        )
        self._cut = _cutter(self._nested)
        self._cut_all = _cutter(schema.fields)
        self._native = native_records(schema.fields)

    def batch(self, records: Sequence[Any]) -> Batch:
        """The records (buffers, each one JSON object) as a batch of the stream's schema. Raises ``data`` for what is no
        JSON object at all."""
        if self._whole:
            texts = pa.array([bytes(r) for r in records], pa.binary()).cast(pa.string())
            return Batch(data=pa.RecordBatch.from_arrays([texts], schema=self._arrow))
        try:
            columns = self._columns(records)
        except (pa.ArrowInvalid, msgspec.DecodeError, UnicodeDecodeError):
            return self._again(records)
        return Batch(data=pa.RecordBatch.from_arrays(columns, schema=self._arrow))

    def _columns(self, records: Sequence[Any]) -> list[pa.Array]:
        if self._native is not None and (read := self._native(records)) is not None:
            both = zip(read, self._fields, strict=True)
            return [_as_time(column, f.type) if pa.types.is_temporal(f.type) else column for column, f in both]
        found: dict[str, pa.Array] = {}
        if self._flat:
            text = b"\n".join(records)
            table = pyarrow.json.read_json(
                pa.BufferReader(text),
                read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(text) + 1),
                parse_options=self._parse,
            )
            if table.num_rows != len(records):
                raise pa.ArrowInvalid("a record is not one object")
            for f in self._flat:
                column = table.column(f.name).combine_chunks()
                found[f.name] = _as_time(column, f.type) if pa.types.is_temporal(f.type) else column
        if self._nested:
            rows = [self._cut(r) for r in records]
            for i, f in enumerate(self._nested):
                name = f"f{i}"
                raw = [bytes(getattr(row, name)) for row in rows]
                values = [None if v == b"" or v == b"null" else v for v in raw]
                found[f.name] = pa.array(values, pa.binary()).cast(pa.string())
        return [found[f.name] for f in self._fields]

    def _again(self, records: Sequence[Any]) -> Batch:
        columns: list[list[Any]] = [[] for _ in self._fields]
        misfits: list[Misfit] = []
        for number, record in enumerate(records):
            try:
                row = self._cut_all(record)
                texts = [bytes(getattr(row, f"f{i}")).decode() for i in range(len(self._fields))]
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise SynclineError(
                    ErrorKind.DATA,
                    f"a record is not a JSON object: {error}",
                    hint="every record must be one; look at what the source sends",
                ) from None
            for column, field, text in zip(columns, self._fields, texts, strict=True):
                if field.logical == "json":
                    column.append(None if text in ("", "null") else text)
                    continue
                try:
                    value, turned = value_of(text, field.type)
                except Contradiction as error:
                    value, turned = None, False
                    self.set_aside[field.name] += 1
                    misfits.append(Misfit(row=number, column=field.name, text=text, reason=f"{error}, as declared"))
                self.turned[field.name] += turned
                column.append(value)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self._fields, strict=True)]
        return Batch(data=pa.RecordBatch.from_arrays(arrays, schema=self._arrow), misfits=tuple(misfits))


def _carrier(field: Field) -> pa.DataType:
    return pa.string() if pa.types.is_temporal(field.type) else field.type


def _cutter(fields: Sequence[Field]) -> Any:
    """A decoder that finds the given fields of an object and leaves their text as it is; attributes f0, f1, …"""
    if any(_UNFIT.search(f.name) for f in fields):
        whole = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

        def cut(record: Any) -> Any:
            found = whole(record)
            return SimpleNamespace(**{f"f{i}": found.get(f.name, msgspec.Raw()) for i, f in enumerate(fields)})

        return cut
    kind = msgspec.defstruct(
        "Cut",
        [(f"f{i}", msgspec.Raw, msgspec.Raw()) for i in range(len(fields))],
        rename={f"f{i}": f.name for i, f in enumerate(fields)},
        gc=False,
    )
    return msgspec.json.Decoder(kind).decode


def _as_time(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """ISO 8601 text as dates or times. Raises ArrowInvalid for anything else."""
    if pa.types.is_date32(kind):
        return pc.cast(column, kind)
    utc = pa.timestamp("us", tz="UTC")
    try:
        found = pc.cast(column, utc)
    except pa.ArrowInvalid:
        short = pc.replace_substring_regex(column, r"(\.[0-9]{6})[0-9]+", r"\1")
        full = pc.replace_substring_regex(short, r"^([0-9]{4}-[0-9]{2}-[0-9]{2})$", r"\1T00:00:00")
        zoned = pc.match_substring_regex(full, r"[T ].*" + _ZONE)
        found = pc.cast(pc.if_else(zoned, full, pc.binary_join_element_wise(full, "Z", "")), utc)
    return found if kind.tz is not None else pc.cast(found, pa.timestamp("us"))
