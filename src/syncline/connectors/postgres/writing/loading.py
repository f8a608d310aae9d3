"""From the fields of a stream to the columns of a table: what COPY sends, and what the server casts afterwards.

Most columns go as they are. The others travel as text (or as their Arrow type's own column type) into a scratch table
and are cast on the way into the real one.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from syncline.connectors.postgres.copy.encode import EncodeColumn, encoder_for
from syncline.connectors.postgres.writing.relation import Column
from syncline.connectors.postgres.writing.types import arrow_column_type, is_list
from syncline.core.batch import Misfit
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import Field

__all__ = ["LoadColumn", "load_columns", "prepared"]

#: Turns a column into one that can be encoded, and names the rows whose value got lost on the way.
Transform = Callable[[pa.Array], tuple[pa.Array, list[int]]]


@dataclass(frozen=True, kw_only=True)
class LoadColumn:
    """How one field gets into one column. ``cast``: it must be cast from the encoder's type. ``sure``: whatever can be
    encoded is accepted by the server, so that a COPY of it cannot fail."""

    column: Column
    encode: EncodeColumn
    transform: Transform | None = None
    cast: bool = False
    sure: bool = True


def load_columns(fields: Sequence[Field], columns: Sequence[Column], *, dialect: str | None) -> tuple[LoadColumn, ...]:
    """One per field. Raises ``schema`` for a field without a column."""
    by_name = {c.name: c for c in columns}
    found = []
    for f in fields:
        column = by_name.get(f.name)
        if column is None:
            raise SynclineError(
                ErrorKind.SCHEMA,
                f"the table has no column {f.name!r} any more",
                hint="run again: it is added then",
                where={"column": f.name},
            )
        found.append(_load_column(f, column, dialect))
    return tuple(found)


def _load_column(field: Field, column: Column, dialect: str | None) -> LoadColumn:
    sure = _sure(field, column, dialect)
    if encoder := encoder_for(field.type, column.base, typtype=column.typtype):
        return LoadColumn(column=column, encode=EncodeColumn(name=field.name, encoder=encoder), sure=sure)
    transform, carried = _carrier(field.type)
    encoder = encoder_for(carried, arrow_column_type(carried))
    if encoder is None:
        raise SynclineError(
            ErrorKind.INTERNAL,
            f"there is no way from Arrow {field.type} to Postgres {column.type}",
            where={"column": field.name},
        )
    encode = EncodeColumn(name=field.name, encoder=encoder)
    return LoadColumn(column=column, encode=encode, transform=transform, cast=True, sure=False)


def _sure(field: Field, column: Column, dialect: str | None) -> bool:
    if column.not_null or column.typtype == "e" or column.type != column.base:
        return False
    if column.base.startswith("json"):
        return dialect == "postgres" and field.logical == "json"
    return True


def prepared(data: pa.RecordBatch, columns: Sequence[LoadColumn]) -> tuple[pa.RecordBatch, list[Misfit]]:
    """The columns of ``data`` to be encoded, in order, and the cells that did not survive their transformation."""
    arrays, lost = [], []
    for c in columns:
        array = data.column(data.schema.get_field_index(c.encode.name))
        if c.transform is not None:
            array, rows = c.transform(array)
            lost += [
                Misfit(row=row, column=c.encode.name, text="", reason="the value is finer than a microsecond")
                for row in rows
            ]
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=[c.encode.name for c in columns]), lost


def _carrier(kind: pa.DataType) -> tuple[Transform | None, pa.DataType]:
    """The transformation of a type that the encoder does not know, and the type that comes out."""
    if pa.types.is_dictionary(kind):
        _, carried = _carrier(kind.value_type)
        return _decoded(kind.value_type), carried
    if pa.types.is_duration(kind):
        return _duration_text, pa.string()
    if kind == pa.month_day_nano_interval():
        return _interval_text, pa.string()
    if encoder_for(kind, arrow_column_type(kind)):
        return None, kind
    if is_list(kind) and not pa.types.is_nested(kind.value_type):
        return _list_text, pa.list_(pa.string())
    return _json_text, pa.string()


def _decoded(value_type: pa.DataType) -> Transform:
    inner, _ = _carrier(value_type)

    def transform(array: pa.Array) -> tuple[pa.Array, list[int]]:
        plain = pc.cast(array, value_type)
        return inner(plain) if inner else (plain, [])

    return transform


def _duration_text(array: pa.Array) -> tuple[pa.Array, list[int]]:
    unit = array.type.unit
    number = array.view(pa.int64())
    lost: list[int] = []
    if unit == "ns":
        whole = pc.divide(number, 1000)
        lost = pc.indices_nonzero(pc.not_equal(pc.multiply(whole, 1000), number)).to_pylist()
        number = whole
    word = {"s": " seconds", "ms": " milliseconds"}.get(unit, " microseconds")
    return pc.binary_join_element_wise(pc.cast(number, pa.string()), word, ""), lost


def _interval_text(array: pa.Array) -> tuple[pa.Array, list[int]]:
    texts: list[str | None] = []
    lost = []
    for row, value in enumerate(array.to_pylist()):
        if value is None:
            texts.append(None)
            continue
        if value.nanoseconds % 1000:
            lost.append(row)
        texts.append(f"{value.months} months {value.days} days {value.nanoseconds // 1000} microseconds")
    return pa.array(texts, pa.string()), lost


def _list_text(array: pa.Array) -> tuple[pa.Array, list[int]]:
    flat, lost = pa.array([], pa.string()), []
    plain = pc.cast(array, pa.list_(array.type.value_type))
    transform, _ = _carrier(array.type.value_type)
    values = plain.values
    flat, bad = transform(values) if transform else (pc.cast(values, pa.string()), [])
    if bad:
        parents = pc.list_parent_indices(plain).to_pylist()
        first = plain.offsets[0].as_py()
        lost = sorted({parents[b - first] for b in bad if 0 <= b - first < len(parents)})
    mask = plain.is_null() if plain.null_count else None
    return pa.ListArray.from_arrays(plain.offsets, flat, mask=mask), lost


def _json_text(array: pa.Array) -> tuple[pa.Array, list[int]]:
    # One Python object per value: nested values of sources without a type language of their own, rare and small.
    texts = [None if v is None else json.dumps(v, default=_json_value, ensure_ascii=False) for v in array.to_pylist()]
    return pa.array(texts, pa.string()), []


def _json_value(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return f"PT{value.total_seconds():f}S"
    return str(value)
