"""Canonical cells as Postgres writes them in SQL. See :mod:`syncline.verify.canonical` for what they must be.

Expressions are made to stand inside ``concat(…)``, which writes any type by its output function and NULL as nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from syncline.verify.canonical import Kind
from syncline.verify.columns import ColumnSpec, readable
from syncline.verify.division import Comparable

__all__ = ["PostgresType", "UnsupportedError", "cell_sql", "comparable", "concat_sql", "identifier", "literal"]

_TEXTS = frozenset(("text", "varchar", "bpchar", "name", "citext"))
_INTEGERS = frozenset(("int2", "int4", "int8", "oid", "xid", "xid8", "cid"))
_MAX_DIMENSIONS = 6
_ARGUMENTS = 90  #: a function takes at most 100
_MICROS_1970_TO_2000 = 946_684_800_000_000


class UnsupportedError(Exception):
    """A column that this end cannot write canonically; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class PostgresType:
    """A column's type with domains resolved: ``pg_type.typname``, ``typtype``; ``element`` of an array."""

    name: str
    typtype: str = "b"
    element: PostgresType | None = None


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """What depends on the server. ``utf8``: its encoding is UTF-8. ``trims``: it has ``trim_scale`` (version 13)."""

    utf8: bool = True
    trims: bool = True


def identifier(*parts: str) -> str:
    """A quoted name; parts are joined by dots."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(text: str) -> str:
    """A text constant, whatever ``standard_conforming_strings`` is."""
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def concat_sql(parts: Sequence[str], separator: str = "|") -> str:
    """Any number of expressions as one text with a separator between; NULL as nothing."""
    if len(parts) * 2 <= _ARGUMENTS:
        between = f", '{separator}', "
        return f"concat({between.join(parts)})" if parts else "''"
    step = _ARGUMENTS // 2
    return concat_sql([concat_sql(parts[n : n + step], separator) for n in range(0, len(parts), step)], separator)


def cell_sql(x: str, column: ColumnSpec, kind: Kind, physical: PostgresType, dialect: Dialect) -> str:
    """The canonical cell of expression ``x`` of a physical type. Raises :class:`UnsupportedError`."""
    name = kind.name
    if name == "list":
        return _list_sql(x, column, kind, physical, dialect)
    if physical.element is not None and name != "text":
        raise UnsupportedError(f"is an array of {physical.element.name} where {kind} is expected")
    if name in ("text", "json"):
        return _text_sql(x, column, kind, physical, dialect)
    sql = _SCALARS.get(name, lambda *_: None)(x, physical.name, dialect)
    if sql is None:
        raise UnsupportedError(f"is of type {physical.name}, which has no exact form as {kind}")
    return str(sql)


def comparable(x: str, column: ColumnSpec, physical: PostgresType) -> Comparable:
    """A key column as the chunks' borders are compared with it. Raises :class:`UnsupportedError`."""
    name, typed = column.kind.name, physical.name
    if name == "text" or (name == "uuid" and typed in _TEXTS):
        # By code point, as everywhere else; the database's own collation is nobody else's.
        text = {"bpchar": f"concat({x})"}.get(typed, x if typed in ("text", "varchar") else f"{x}::text")
        if name == "uuid":
            return f'lower({text}) COLLATE "C"', literal
        return f'({text}) COLLATE "C"', lambda c: literal(c.split(":", 1)[1])
    ok = {
        "bool": ("bool",),
        "int": (*_INTEGERS - {"xid", "cid", "xid8"}, "numeric"),
        "numeric": ("numeric", "int2", "int4", "int8"),
        "float": ("float4", "float8"),
        "bytes": ("bytea",),
        "date": ("date",),
        "time": ("time",),
        "timestamp": ("timestamp", "timestamptz"),
        "uuid": ("uuid",),
    }
    if typed not in ok.get(name, ()):
        raise UnsupportedError(f"is of type {typed}, which has no order as {column.kind}")
    if name == "float":
        x = f"{x}::float8"
    return x, lambda cell: _border(cell, column.kind, typed)


def _border(cell: str, kind: Kind, typed: str) -> str:
    if kind.name in ("int", "numeric"):
        return f"({cell})" if typed != "oid" else f"{literal(cell)}::oid"
    if kind.name == "bool":
        return "true" if cell == "t" else "false"
    if kind.name == "bytes":
        return f"decode('{cell[1:]}', 'hex')"
    if kind.name == "float":
        return f"{literal(readable(cell, kind) or '')}::float8"
    text = readable(cell, kind) or ""
    return f"'{text}+00'::timestamptz" if typed == "timestamptz" else f"'{text}'::{typed}"


def _bool(x: str, typed: str, dialect: Dialect) -> str | None:
    return x if typed == "bool" else None


def _int(x: str, typed: str, dialect: Dialect) -> str | None:
    if typed == "numeric":
        return _trimmed(x, dialect)
    return x if typed in _INTEGERS | _TEXTS else None


def _numeric(x: str, typed: str, dialect: Dialect) -> str | None:
    if typed == "numeric":
        return _trimmed(x, dialect)
    if typed == "money":
        return _trimmed(f"{x}::numeric", dialect)
    if typed in _INTEGERS:
        return x
    if typed in ("float4", "float8"):
        return _trimmed(f"{x}::text::numeric", dialect)
    return _trimmed_text(x) if typed in _TEXTS else None


def _float(x: str, typed: str, dialect: Dialect) -> str | None:
    if typed in _TEXTS:
        x = f"{x}::text"
    elif typed not in ("float4", "float8", "numeric"):
        return None
    double = x if typed == "float8" else f"{x}::float8"
    return f"CASE WHEN {double} = 'NaN'::float8 THEN '7ff8000000000000' ELSE encode(float8send({double}), 'hex') END"


def _bytes(x: str, typed: str, dialect: Dialect) -> str | None:
    if typed in _TEXTS:
        return f"lower(substr({x}, 2))"
    return f"'x' || encode({x}, 'hex')" if typed == "bytea" else None


def _date(x: str, typed: str, dialect: Dialect) -> str | None:
    if typed in _TEXTS:
        x = f"{x}::text::date"
    elif typed != "date":
        return None
    return f"CASE WHEN isfinite({x}) THEN ({x} - '1970-01-01'::date)::text ELSE {x}::text END"


def _time(x: str, typed: str, dialect: Dialect) -> str | None:
    return f"(extract(epoch FROM {x}) * 1000000)::bigint" if typed == "time" else None


def _timestamp(x: str, typed: str, dialect: Dialect) -> str | None:
    """From the 64-bit count since 2000, which is exact in every version (``extract`` was a double before 14). Past
    294247 the count since 1970 does not fit 64 bits."""
    if typed not in ("timestamp", "timestamptz"):
        return None
    count = f"('x' || encode({typed}_send({x}), 'hex'))::bit(64)::bigint"
    end = "'294247-01-01+00'::timestamptz" if typed == "timestamptz" else "'294247-01-01'::timestamp"
    return (
        f"CASE WHEN {x} < {end} AND {x} > '-infinity' THEN ({count} + {_MICROS_1970_TO_2000})::text "
        f"WHEN isfinite({x}) THEN ({count}::numeric + {_MICROS_1970_TO_2000})::text ELSE {x}::text END"
    )


def _uuid(x: str, typed: str, dialect: Dialect) -> str | None:
    if typed in _TEXTS:
        return f"lower({x}::text)"
    return x if typed == "uuid" else None


_SCALARS: dict[str, Any] = {
    "bool": _bool,
    "int": _int,
    "numeric": _numeric,
    "float": _float,
    "bytes": _bytes,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "uuid": _uuid,
}

#: Cells that are the type's own output, so that ``array_to_string`` writes a whole array of them.
_OWN_OUTPUT = {("bool", "bool"), ("uuid", "uuid"), *(("int", t) for t in _INTEGERS)}


def _trimmed(x: str, dialect: Dialect) -> str:
    return f"trim_scale({x})" if dialect.trims else _trimmed_text(f"({x})::text")


def _trimmed_text(x: str) -> str:
    return f"CASE WHEN strpos({x}, '.') > 0 THEN rtrim(rtrim({x}, '0'), '.') ELSE {x} END"


def _text_sql(x: str, column: ColumnSpec, kind: Kind, physical: PostgresType, dialect: Dialect) -> str:
    if kind.name == "json" and column.jsonb and physical.element is None:
        x = f"{x}::jsonb::text"
    elif physical.name not in ("text", "varchar", "bpchar"):
        x = f"{x}::text"
    # A cast of character(n) to text loses the blanks at its end; its output keeps them.
    whole = f"concat({x})" if physical.name == "bpchar" else x
    measured = x if dialect.utf8 else f"convert_to({whole}, 'UTF8')"
    if physical.name == "bpchar" and not dialect.utf8:
        return f"CASE WHEN {x} IS NOT NULL THEN octet_length({measured}) || ':' || {whole} END"
    return f"octet_length({measured}) || ':' || {whole}"


def _list_sql(x: str, column: ColumnSpec, kind: Kind, physical: PostgresType, dialect: Dialect) -> str:
    if physical.element is None:
        raise UnsupportedError(f"is of type {physical.name}, which is no array")
    item, kept = kind, physical.element
    while item.item is not None:  # an array's type does not know its dimensions; its values do
        item = item.item
    if item.name == "text" and kept.name not in _TEXTS:
        # Unnested, an array of composites would become several columns.
        x, kept = f"{x}::text[]", PostgresType(name="text")
    element = cell_sql("u.e", column, item, kept, dialect)
    if (item.name, kept.name) in _OWN_OUTPUT:
        flat = f"array_to_string({x}, ',', '')"
    else:
        flat = f"array_to_string(ARRAY(SELECT concat({element}) FROM unnest({x}) AS u(e)), ',')"
    return (
        f"CASE WHEN cardinality({x}) = 0 THEN '0[]' "
        f"WHEN array_ndims({x}) = 1 AND array_lower({x}, 1) = 1 THEN cardinality({x}) || '[' || {flat} || ']' "
        f"ELSE {_nested_sql(x, element)} END"
    )


def _nested_sql(x: str, element: str) -> str:
    """An array of several dimensions: its items in storage order, with brackets where a row of some level begins or
    ends. The number of items in one row of level k is the product of the lengths from k on."""
    opening, closing = [], []
    for level in range(2, _MAX_DIMENSIONS + 1):
        block = " * ".join(f"coalesce(array_length({x}, {k}), 1)" for k in range(level, _MAX_DIMENSIONS + 1))
        opening.append(f"CASE WHEN (u.o - 1) % ({block}) = 0 THEN array_length({x}, {level}) || '[' END")
        closing.append(f"CASE WHEN u.o % ({block}) = 0 AND array_length({x}, {level}) > 0 THEN ']' END")
    item = f"concat({', '.join(opening)}, {element}, {', '.join(closing)})"
    return (
        f"CASE WHEN array_dims({x}) ~ '^([[]1:[0-9]+[]])+$' THEN '' ELSE '@' || array_dims({x}) || '@' END "
        f"|| array_length({x}, 1) || '[' || "
        f"(SELECT string_agg({item}, ',' ORDER BY u.o) FROM unnest({x}) WITH ORDINALITY AS u(e, o)) || ']'"
    )
