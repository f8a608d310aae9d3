"""A table's columns and those of the stream: what is added, what is widened, what needs a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from syncline.core.checkpoint import StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.sdk.files.columns import to_file_type
from syncline.sdk.tables.table import Table

__all__ = ["ColumnPlan", "ensure_names", "plan_columns", "recast", "target_schema"]

_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


@dataclass(frozen=True, kw_only=True)
class ColumnPlan:
    """``schema``: the table's columns afterwards; ``added`` and ``widened`` are names among them."""

    schema: pa.Schema
    added: tuple[str, ...] = ()
    widened: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        return not self.added and not self.widened


def target_schema(table: Table, target: StreamTarget) -> pa.Schema:
    """The stream's columns in the types of the table's files. ``config`` error for a name that it refuses."""
    ensure_names(table, target)
    return pa.schema([pa.field(f.name, table.storage_type(f.type)) for f in target.schema.fields])


def ensure_names(table: Table, target: StreamTarget) -> None:
    """Raise ``config`` for names that the format refuses, or that differ in case only."""
    seen: dict[str, str] = {}
    for name in target.schema.names:
        reason = table.refusal(name)
        if reason is None and (other := seen.setdefault(name.casefold(), name)) != name:
            reason = f"is the same name as {other!r} to most readers of the format, which take no notice of case"
        if reason is not None:
            raise SynclineError(
                ErrorKind.CONFIG,
                f"column {name!r} {reason}",
                hint="rename the column at the source or in a view, or leave it out of the stream's columns",
                where={"stream": str(target.stream), "column": name},
            )


def plan_columns(present: pa.Schema, wanted: pa.Schema, target: StreamTarget, place: str) -> ColumnPlan:
    """How ``present`` must change to hold ``wanted``. A column that is no longer wanted stays. Raises ``schema`` where
    values could be lost."""
    names = set(present.names)
    fields = [pa.field(f.name, f.type) for f in present]
    added, widened = [], []
    for field in wanted:
        if field.name not in names:
            twin = next((n for n in present.names if n.casefold() == field.name.casefold()), None)
            if twin is not None:
                raise _refused(target, place, field.name, f"is there as {twin!r}, which is the same name to readers")
            fields.append(pa.field(field.name, field.type))
            added.append(field.name)
            continue
        old = present.field(field.name).type
        if _holds(old, field.type):
            continue
        if not _holds(field.type, old):
            raise _refused(target, place, field.name, f"is {old} in the table and would be {field.type} now")
        fields[present.get_field_index(field.name)] = pa.field(field.name, field.type)
        widened.append(field.name)
    return ColumnPlan(schema=pa.schema(fields), added=tuple(added), widened=tuple(widened))


def _refused(target: StreamTarget, place: str, column: str, what: str) -> SynclineError:
    return SynclineError(
        ErrorKind.SCHEMA,
        f"column {column!r} {what}",
        hint=f"copy the stream anew (syncline state reset --stream {target.stream}, then sync), leave the column out, "
        "or change it back at the source; nothing of the table was touched",
        where={"stream": str(target.stream), "table": place, "column": column},
    )


def _holds(wide: pa.DataType, kind: pa.DataType) -> bool:
    """Whether a column of type ``wide`` holds every value of ``kind``, and none that looks different there."""
    if wide.equals(kind):
        return True
    if wide in _INTEGERS and kind in _INTEGERS:
        return _INTEGERS.index(wide) >= _INTEGERS.index(kind)
    if pa.types.is_float64(wide):
        return bool(pa.types.is_float32(kind))
    if pa.types.is_decimal(wide) and pa.types.is_decimal(kind):
        digits = kind.precision - kind.scale
        return bool(wide.scale >= kind.scale and wide.precision - wide.scale >= digits)
    if pa.types.is_list(wide) and pa.types.is_list(kind):
        return _holds(wide.value_type, kind.value_type)
    return False


def recast(table: pa.Table, schema: pa.Schema, *, fills: dict[str, pa.Scalar], former: dict[str, str]) -> pa.Table:
    """Rows with the columns of ``schema``: ``former`` says under which name a column was before, ``fills`` which value
    it has in rows that did not have it; else it is NULL there."""
    arrays: list[pa.ChunkedArray] = []
    names: Sequence[str] = table.column_names
    for field in schema:
        before = former.get(field.name, field.name)
        if before in names:
            arrays.append(to_file_type(table[before], field.type))
        elif field.name in fills and fills[field.name].is_valid:
            value = pa.chunked_array([pa.repeat(fills[field.name], table.num_rows)])
            arrays.append(to_file_type(value, field.type))
        else:
            arrays.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)]))
    return pa.Table.from_arrays(arrays, schema=schema)
