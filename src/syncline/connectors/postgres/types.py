"""Postgres types as data: which Arrow type carries each, and how a query asks for it.

One table (:data:`BUILTIN`) says it for the types of ``pg_catalog``; enums, domains, composites, ranges and the types of
extensions follow from their kind. The same table makes the matrix of the documentation (:func:`type_matrix_rows`).

A type is carried *natively* (COPY's binary form is decoded into the Arrow type) or as the server's own text, for which
the query casts (``"column"::text``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from syncline.core.schema import arrow_type_to_text

__all__ = ["BUILTIN", "Carrier", "PgType", "TypeMatrixRow", "carrier_of", "resolve", "type_matrix_rows"]

_TEXT = pa.string()
#: NUMERIC wider than this has no Arrow type and travels as exact text.
_DECIMAL_DIGITS = 76


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """How one type travels. ``cast``: appended to the column in the query (``""`` or ``::text`` …). ``decoder``: the
    type whose binary form the query then returns, as the reader of COPY knows it (``int4``, ``numeric``, ``text``), for
    an array that of its items."""

    arrow: pa.DataType
    decoder: str
    logical: str | None = None
    cast: str = ""
    relay_cast: str = ""  #: the same where the bytes are relayed: only arrays whose items are domains need one


def _text(logical: str = "text", cast: str = "::pg_catalog.text") -> Carrier:
    return Carrier(arrow=_TEXT, decoder="text", logical=logical, cast=cast)


def _plain(arrow: pa.DataType, decoder: str, logical: str | None = None) -> Carrier:
    return Carrier(arrow=arrow, decoder=decoder, logical=logical)


#: ``pg_type.typname`` of ``pg_catalog`` -> carrier. ``numeric`` depends on its precision: see :func:`_numeric`.
BUILTIN: Mapping[str, Carrier] = {
    "bool": _plain(pa.bool_(), "bool"),
    "int2": _plain(pa.int16(), "int2"),
    "int4": _plain(pa.int32(), "int4"),
    "int8": _plain(pa.int64(), "int8"),
    "oid": _plain(pa.int64(), "oid"),
    "float4": _plain(pa.float32(), "float4"),
    "float8": _plain(pa.float64(), "float8"),
    "numeric": _plain(_TEXT, "numeric", "numeric"),
    "money": _text("numeric", "::pg_catalog.numeric::pg_catalog.text"),
    "text": _plain(_TEXT, "text"),
    "varchar": _plain(_TEXT, "text"),
    "bpchar": _plain(_TEXT, "text"),
    "name": _plain(_TEXT, "text"),
    "char": _text(),
    "bytea": _plain(pa.binary(), "bytea"),
    "date": _plain(pa.date32(), "date"),
    "time": _plain(pa.time64("us"), "time"),
    "timetz": _text(),
    "timestamp": _plain(pa.timestamp("us"), "timestamp"),
    "timestamptz": _plain(pa.timestamp("us", tz="UTC"), "timestamptz"),
    "interval": _text("interval"),
    "uuid": _plain(_TEXT, "uuid", "uuid"),
    "json": _plain(_TEXT, "json", "json"),
    "jsonb": _plain(_TEXT, "jsonb", "json"),
    "xml": _text("xml"),
    "inet": _text(),
    "cidr": _text(),
    "macaddr": _text(),
    "macaddr8": _text(),
    "bit": _text(),
    "varbit": _text(),
    "point": _text(),
    "line": _text(),
    "lseg": _text(),
    "box": _text(),
    "path": _text(),
    "polygon": _text(),
    "circle": _text(),
    "tsvector": _text(),
    "tsquery": _text(),
    "pg_lsn": _text(),
    "pg_snapshot": _text(),
    "txid_snapshot": _text(),
    "jsonpath": _text(),
    "xid": _text(),
    "xid8": _text(),
    "cid": _text(),
    "tid": _text(),
    "int4range": _text(),
    "int8range": _text(),
    "numrange": _text(),
    "tsrange": _text(),
    "tstzrange": _text(),
    "daterange": _text(),
    "int4multirange": _text(),
    "int8multirange": _text(),
    "nummultirange": _text(),
    "tsmultirange": _text(),
    "tstzmultirange": _text(),
    "datemultirange": _text(),
}


@dataclass(frozen=True, kw_only=True)
class PgType:
    """One row of ``pg_type``, with what is needed to follow domains and arrays."""

    oid: int
    schema: str
    name: str
    kind: str  #: typtype: b base, c composite, d domain, e enum, r range, m multirange, p pseudo
    array: bool  #: a true array (int2vector and oidvector are not)
    element: int
    base: int
    base_modifier: int
    base_dimensions: int
    sendable: bool  #: has a binary form


def carrier_of(kind: PgType, modifier: int, dimensions: int, types: Mapping[int, PgType]) -> Carrier:
    """The carrier of a column of that type. ``modifier`` is atttypmod, ``dimensions`` attndims (a declared depth, which
    the server does not enforce), ``types`` all types that it refers to, by oid."""
    kind, modifier, dimensions = resolve(kind, modifier, dimensions, types)
    if not kind.array:
        return _scalar(kind, modifier)
    item, item_modifier, _ = resolve(types[kind.element], modifier, 0, types)
    carrier = (
        Carrier(arrow=_TEXT, decoder="text", logical="text", cast="::pg_catalog.text")
        if item.array
        else _scalar(item, item_modifier)
    )
    arrow = carrier.arrow
    for _ in range(max(dimensions, 1)):
        arrow = pa.list_(arrow)
    cast, relay_cast = carrier.cast, ""
    if types[kind.element].kind == "d":
        # The header of an array names the type of its items; a domain's name means nothing elsewhere.
        relay_cast = f"::{_cast_name(item)}"
    if item.kind == "e":
        cast = "::pg_catalog.text"
    return Carrier(
        arrow=arrow,
        decoder=carrier.decoder,
        logical=carrier.logical,
        cast=_of_items(cast or relay_cast),
        relay_cast=_of_items(relay_cast),
    )


def _of_items(cast: str) -> str:
    return "".join(f"{part}[]" for part in re.findall(r"::[^:]+", cast))


def resolve(kind: PgType, modifier: int, dimensions: int, types: Mapping[int, PgType]) -> tuple[PgType, int, int]:
    """A domain's base type with the modifier and depth that the domain gives it; any other type as it is."""
    while kind.kind == "d":
        modifier = kind.base_modifier if kind.base_modifier >= 0 else modifier
        dimensions = max(dimensions, kind.base_dimensions)
        kind = types[kind.base]
    return kind, modifier, dimensions


def _scalar(kind: PgType, modifier: int) -> Carrier:
    if kind.schema == "pg_catalog":
        if kind.name == "numeric":
            return _numeric(modifier)
        return BUILTIN.get(kind.name, _text())
    if kind.kind == "e":
        return _text("enum", cast="")  # its binary form is the label
    return _text()


def _numeric(modifier: int) -> Carrier:
    """NUMERIC(p,s) as a decimal when Arrow has one wide enough. The scale may be negative or above the precision."""
    if modifier < 4:
        return BUILTIN["numeric"]
    precision = ((modifier - 4) >> 16) & 0xFFFF
    scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024
    digits, shown = max(precision - min(scale, 0), scale), max(scale, 0)
    if digits > _DECIMAL_DIGITS:
        return BUILTIN["numeric"]
    make = pa.decimal128 if digits <= 38 else pa.decimal256
    return Carrier(arrow=make(digits, shown), decoder="numeric")


def _cast_name(kind: PgType) -> str:
    quoted = '"' + kind.name.replace('"', '""') + '"'
    return f'"{kind.schema.replace(chr(34), chr(34) * 2)}".{quoted}'


@dataclass(frozen=True, kw_only=True)
class TypeMatrixRow:
    """One line of the documentation's table."""

    postgres: str
    carrier: str
    logical: str
    remark: str


_REMARKS = {
    "numeric": "numeric without precision, or wider than 76 digits: exact decimal text; NaN and ±Infinity included",
    "money": "exact decimal text without the currency sign",
    "time": "24:00:00 does not fit and is kept as text beside the row",
    "date": "±infinity and years beyond the carrier are kept as text beside the row",
    "timestamp": "±infinity and years beyond the carrier are kept as text beside the row",
    "timestamptz": "UTC; ±infinity and years beyond the carrier are kept as text beside the row",
    "bpchar": "padded as stored",
    "inet": "with its netmask, also /32 and /128",
    "oid": "unsigned in Postgres",
}


def type_matrix_rows() -> list[TypeMatrixRow]:
    """What the source makes of each type, in a stable order, for the documentation."""
    rows = [
        TypeMatrixRow(
            postgres=name,
            carrier=arrow_type_to_text(carrier.arrow),
            logical=carrier.logical or "",
            remark=_REMARKS.get(name, ""),
        )
        for name, carrier in BUILTIN.items()
    ]
    at = next(i for i, row in enumerate(rows) if row.postgres == "numeric")
    not_a_number = "NaN is kept as text beside the row"
    rows[at:at] = [
        TypeMatrixRow(postgres="numeric(p ≤ 38, s)", carrier="decimal128(p, s)", logical="", remark=not_a_number),
        TypeMatrixRow(postgres="numeric(p ≤ 76, s)", carrier="decimal256(p, s)", logical="", remark=not_a_number),
    ]
    for name, carrier_text, logical, remark in (
        ("enum", "string", "enum", "the label"),
        ("domain", "as its base type", "", ""),
        ("composite", "string", "text", "the row's text form"),
        ("range, multirange of any type", "string", "text", ""),
        ("hstore, citext and other types of extensions", "string", "text", "the type's text form"),
        (
            "array of any type above",
            "list<…>",
            "as the item",
            "nested to the declared depth; another depth or other lower bounds than 1 are kept as text beside the row",
        ),
    ):
        rows.append(TypeMatrixRow(postgres=name, carrier=carrier_text, logical=logical, remark=remark))
    return rows
