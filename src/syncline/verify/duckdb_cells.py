"""Canonical cells as DuckDB writes them in SQL. See :mod:`syncline.verify.canonical` for what they must be.

Expressions are VARCHAR, or NULL.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from syncline.verify.canonical import Kind
from syncline.verify.columns import ColumnSpec, readable
from syncline.verify.division import Comparable
from syncline.verify.postgres_cells import UnsupportedError

__all__ = ["FUNCTIONS", "cell_sql", "comparable", "concat_sql", "identifier", "literal"]

_INTEGERS = frozenset(
    ("tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint", "uhugeint")
)
_TIMESTAMPS = frozenset(("timestamp", "timestamp with time zone", "timestamp_s", "timestamp_ms", "timestamp_ns"))

#: The bytes of an unsigned 64-bit number turned around: MD5 is read most significant byte first, DuckDB reads it last.
FUNCTIONS = """
CREATE OR REPLACE MACRO syncline_swap8(x) AS
    ((x & 71777214294589695::UBIGINT) << 8) | ((x >> 8) & 71777214294589695::UBIGINT);
CREATE OR REPLACE MACRO syncline_swap16(x) AS
    ((x & 281470681808895::UBIGINT) << 16) | ((x >> 16) & 281470681808895::UBIGINT);
CREATE OR REPLACE MACRO syncline_swap32(x) AS ((x & 4294967295::UBIGINT) << 32) | (x >> 32);
CREATE OR REPLACE MACRO syncline_swap(x) AS syncline_swap32(syncline_swap16(syncline_swap8(x)));
"""


def identifier(*parts: str) -> str:
    """A quoted name; parts are joined by dots."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str) -> str:
    """A text constant."""
    return "'" + text.replace("'", "''") + "'"


def concat_sql(parts: Sequence[str], separator: str = "|") -> str:
    """Any number of expressions as one text with a separator between; NULL as nothing."""
    between = f", '{separator}', "
    return f"concat('', {between.join(parts)})" if parts else "''"


def cell_sql(x: str, column: ColumnSpec, kind: Kind, physical: Any, depth: int = 0) -> str:
    """The canonical cell of expression ``x``, whose type is ``physical`` (a ``DuckDBPyType``)."""
    name, typed = kind.name, _typed(physical)
    if typed == "json" and kind.name in ("list", "struct"):
        typed = "varchar"
    if typed == "varchar" and name in ("list", "struct"):
        # Nested values that a text format keeps as JSON; their leaves stay text.
        return cell_sql(f"from_json({x}, {literal(_json_structure(kind))})", column, kind, _json_type(kind), depth)
    if name == "list":
        return _list_sql(x, column, kind, physical, depth)
    if name == "struct":
        return _struct_sql(x, column, kind, physical, depth)
    if typed in ("list", "array", "struct", "map", "union"):
        raise UnsupportedError(f"is of type {physical} where {kind} is expected")
    if name == "json" and column.jsonb:
        x = f"syncline_jsonb({x}::VARCHAR)"
    if typed in ("varchar", "json") and name in _PARSED:
        return _parsed(x, kind)
    sql = _SCALARS.get(name, lambda *_: None)(x, typed, physical)
    if sql is None:
        raise UnsupportedError(f"is of type {physical}, which has no exact form as {kind}")
    return str(sql)


def comparable(x: str, column: ColumnSpec, physical: Any) -> Comparable:
    """A key column as the chunks' borders are compared with it. Raises :class:`UnsupportedError`."""
    name, typed = column.kind.name, _typed(physical)
    if name == "text":
        return f"{x}::VARCHAR", lambda c: literal(c.split(":", 1)[1])
    if name == "uuid":
        return (x, lambda c: f"{literal(c)}::UUID") if typed == "uuid" else (f"lower({x}::VARCHAR)", literal)
    sql_type = {
        "bool": ("BOOLEAN", {"boolean"}),
        "int": ("HUGEINT", _INTEGERS | {"decimal"}),
        "numeric": (f"DECIMAL({_scale(physical)})", _INTEGERS | {"decimal"}),
        "float": ("DOUBLE", {"float", "double"}),
        "bytes": ("BLOB", {"blob"}),
        "date": ("DATE", {"date"}),
        "time": ("TIME", {"time"}),
        "timestamp": ("TIMESTAMPTZ" if typed == "timestamp with time zone" else "TIMESTAMP", _TIMESTAMPS),
    }.get(name, ("", frozenset()))
    if typed in ("varchar", "json") and name not in ("bytes", "numeric", "bool"):
        x = f"TRY_CAST({x} AS {sql_type[0]})"
    elif typed not in sql_type[1]:
        raise UnsupportedError(f"is of type {physical}, which has no order as {column.kind}")
    return x, lambda cell: _border(cell, column.kind, sql_type[0])


def _typed(physical: Any) -> str:
    """DuckDB's own name of a type, without what is in brackets."""
    name = str(physical.id).lower()
    text = str(physical).upper()
    return {"timestamp with time zone": name, "json": name}.get(name, "json" if text == "JSON" else name)


def _scale(physical: Any) -> str:
    return ", ".join(str(value) for _, value in physical.children) if str(physical.id) == "decimal" else "38, 0"


def _border(cell: str, kind: Kind, sql_type: str) -> str:
    if kind.name == "int":
        return f"({cell})"
    if kind.name == "numeric":
        return f"({cell})"
    if kind.name == "bool":
        return "true" if cell == "t" else "false"
    if kind.name == "bytes":
        return f"unhex('{cell[1:]}')"
    text = readable(cell, kind) or ""
    return f"'{text}+00'::TIMESTAMPTZ" if sql_type == "TIMESTAMPTZ" else f"'{text}'::{sql_type}"


def _bool(x: str, typed: str, physical: Any) -> str | None:
    return f"CASE {x} WHEN true THEN 't' WHEN false THEN 'f' END" if typed == "boolean" else None


def _int(x: str, typed: str, physical: Any) -> str | None:
    if typed == "decimal":
        return _numeric(x, typed, physical)
    if typed == "double":
        return f"CASE WHEN {x} = trunc({x}) THEN {x}::HUGEINT::VARCHAR ELSE {x}::VARCHAR END"
    return f"{x}::VARCHAR" if typed in _INTEGERS or typed == "varchar" else None


def _numeric(x: str, typed: str, physical: Any) -> str | None:
    if typed == "decimal":
        precision, scale = dict(physical.children)["precision"], dict(physical.children)["scale"]
        if scale == 0:
            return f"{x}::VARCHAR"
        trimmed = f"rtrim(rtrim({x}::VARCHAR, '0'), '.')"
        if precision > scale:
            return trimmed
        # Without a digit before the point DuckDB writes none, and all that is left of zero is nothing.
        return f"CASE WHEN {x} = 0 THEN '0' WHEN {x} < 0 THEN '-0' || substr({trimmed}, 2) ELSE '0' || {trimmed} END"
    if typed in _INTEGERS:
        return f"{x}::VARCHAR"
    if typed == "varchar":
        return f"CASE WHEN contains({x}, '.') THEN rtrim(rtrim({x}, '0'), '.') ELSE {x} END"
    return None


def _float(x: str, typed: str, physical: Any) -> str | None:
    if typed not in ("double", "float"):
        return None
    double = x if typed == "double" else f"{x}::DOUBLE"
    return f"CASE WHEN isnan({double}) THEN '7ff8000000000000' ELSE lower(hex({double}::BIT::BLOB)) END"


def _text(x: str, typed: str, physical: Any) -> str:
    text = x if typed == "varchar" else f"{x}::VARCHAR"
    return f"strlen({text}) || ':' || {text}"


def _bytes(x: str, typed: str, physical: Any) -> str | None:
    if typed == "varchar":
        return f"lower(substr({x}, 2))"
    return f"'x' || lower(hex({x}))" if typed == "blob" else None


def _date(x: str, typed: str, physical: Any) -> str | None:
    if typed != "date":
        return None
    return f"CASE WHEN isfinite({x}) THEN ({x} - '1970-01-01'::DATE)::VARCHAR ELSE {x}::VARCHAR END"


def _time(x: str, typed: str, physical: Any) -> str | None:
    if typed == "time_ns":
        x = f"{x}::TIME"
    return f"epoch_us({x})::VARCHAR" if typed in ("time", "time_ns") else None


def _timestamp(x: str, typed: str, physical: Any) -> str | None:
    if typed not in _TIMESTAMPS:
        return None
    if typed == "timestamp_ns":
        sign = f"CASE WHEN epoch_ns({x}) < 0 THEN '-' ELSE '' END"
        micros = f"(abs(epoch_ns({x})) // 1000)::VARCHAR"
        fraction = f"lpad((abs(epoch_ns({x})) % 1000)::VARCHAR, 3, '0')"
        count = f"{sign} || rtrim(rtrim({micros} || '.' || {fraction}, '0'), '.')"
    else:
        count = f"epoch_us({x})::VARCHAR"
    return f"CASE WHEN isfinite({x}) THEN {count} ELSE {x}::VARCHAR END"


def _uuid(x: str, typed: str, physical: Any) -> str | None:
    return f"lower({x}::VARCHAR)" if typed in ("uuid", "varchar") else None


#: Kinds that a text format writes in a form of its own; read as this type, text that is none stays as it is.
_PARSED = {
    "int": "HUGEINT",
    "bool": "BOOLEAN",
    "float": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMPTZ",
}


def _parsed(x: str, kind: Kind) -> str:
    name = kind.name
    x = f"nullif(trim({x}), '')"  # a quoted nothing is no value of these kinds
    typed = _PARSED[name].lower().replace("tamptz", "tamp with time zone")
    value = f"TRY_CAST({x} AS {'FLOAT' if kind.single else _PARSED[name]})"
    cell = str(_SCALARS[name](f"{value}::DOUBLE" if kind.single else value, typed, None))
    return f"coalesce({cell}, '?' || {x})"


def _json_structure(kind: Kind) -> str:
    """What DuckDB's ``from_json`` makes of the text of a nested value."""

    def shape(inner: Kind) -> Any:
        if inner.item is not None:
            return [shape(inner.item)]
        if inner.name == "struct":
            return {name: shape(each) for name, each in inner.fields}
        return "VARCHAR"

    return json.dumps(shape(kind))


def _json_type(kind: Kind) -> Any:
    """The type of what :func:`_json_structure` gives."""
    import duckdb

    if kind.item is not None:
        return duckdb.list_type(_json_type(kind.item))
    if kind.name == "struct":
        return duckdb.struct_type({name: _json_type(inner) for name, inner in kind.fields})
    return duckdb.sqltype("VARCHAR")


_SCALARS: dict[str, Any] = {
    "bool": _bool,
    "int": _int,
    "numeric": _numeric,
    "float": _float,
    "text": _text,
    "json": _text,
    "bytes": _bytes,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "uuid": _uuid,
}


def _list_sql(x: str, column: ColumnSpec, kind: Kind, physical: Any, depth: int) -> str:
    if _typed(physical) not in ("list", "array"):
        raise UnsupportedError(f"is of type {physical}, which is no list")
    assert kind.item is not None
    inner = dict(physical.children)["child"]
    if _typed(physical) == "array":
        x = f"{x}::{inner}[]"
    variable = f"syncline_item_{depth}"
    item = cell_sql(variable, column, kind.item, inner, depth + 1)
    return (
        f"len({x})::VARCHAR || '[' || "
        f"array_to_string(list_transform({x}, lambda {variable}: coalesce({item}, '')), ',') || ']'"
    )


def _struct_sql(x: str, column: ColumnSpec, kind: Kind, physical: Any, depth: int) -> str:
    if _typed(physical) != "struct":
        raise UnsupportedError(f"is of type {physical}, which is no struct")
    types = dict(physical.children)
    if missing := [name for name, _ in kind.fields if name not in types]:
        raise UnsupportedError(f"has no field {missing[0]}")
    cells = [
        cell_sql(f"struct_extract({x}, {literal(name)})", column, inner, types[name], depth)
        for name, inner in kind.fields
    ]
    return f"CASE WHEN {x} IS NOT NULL THEN '{{' || {concat_sql(cells, ',')} || '}}' END"
