"""The published type matrix of the destination, computed by the functions that a sync uses."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from syncline.connectors.postgres.writing.types import arrow_column_type

__all__ = ["TypeRow", "type_matrix_rows"]


@dataclass(frozen=True, kw_only=True)
class TypeRow:
    """One row of the published matrix: ``source`` type (Arrow, or Postgres), the ``column`` type here, whether every
    value survives exactly, and what happens to those that do not."""

    source: str
    column: str
    lossless: bool
    note: str = ""


def type_matrix_rows() -> list[TypeRow]:
    """The matrix for the documentation, computed by the functions that a sync uses."""
    rows = [
        TypeRow(source=_shown(kind, logical), column=arrow_column_type(kind, logical), lossless=not note, note=note)
        for kind, logical, note in _SHOWN
    ]
    rows += [TypeRow(source=f"postgres {name}", column=name, lossless=True) for name in _POSTGRES_TYPES]
    rows += [
        TypeRow(source=f"postgres {name}", column=column, lossless=lossless, note=note)
        for name, column, lossless, note in _POSTGRES_SPECIAL
    ]
    return rows


def _shown(kind: pa.DataType, logical: str | None) -> str:
    return f"{kind} ({logical})" if logical else str(kind)


_SHOWN: tuple[tuple[pa.DataType, str | None, str], ...] = (
    (pa.bool_(), None, ""),
    (pa.int8(), None, ""),
    (pa.int16(), None, ""),
    (pa.int32(), None, ""),
    (pa.int64(), None, ""),
    (pa.uint8(), None, ""),
    (pa.uint16(), None, ""),
    (pa.uint32(), None, ""),
    (pa.uint64(), None, ""),
    (pa.float16(), None, ""),
    (pa.float32(), None, ""),
    (pa.float64(), None, ""),
    (pa.decimal128(15, 2), None, ""),
    (pa.decimal256(76, 10), None, ""),
    (pa.string(), None, "text with U+0000 goes to quarantine"),
    (pa.string(), "numeric", ""),
    (pa.string(), "uuid", ""),
    (
        pa.string(),
        "json",
        "jsonb keeps the values, not spacing, key order and repeated keys; \\u0000 goes to quarantine",
    ),
    (pa.string(), "interval", ""),
    (pa.string(), "xml", ""),
    (pa.binary(), None, ""),
    (pa.binary(16), None, ""),
    (pa.date32(), None, ""),
    (pa.time64("us"), None, ""),
    (pa.time64("ns"), None, "values finer than a microsecond go to quarantine"),
    (pa.timestamp("us"), None, ""),
    (pa.timestamp("us", tz="UTC"), None, ""),
    (pa.timestamp("ns"), None, "values finer than a microsecond go to quarantine"),
    (pa.duration("us"), None, ""),
    (pa.month_day_nano_interval(), None, "nanoseconds below a microsecond go to quarantine"),
    (pa.list_(pa.int64()), None, ""),
    (pa.list_(pa.list_(pa.int64())), None, "JSON, because the inner lists may differ in length"),
    (pa.struct([("a", pa.int64())]), None, "JSON: binary values as base64, times as ISO text"),
    (pa.map_(pa.string(), pa.int64()), None, "JSON: a list of [key, value]"),
)

_POSTGRES_TYPES = (
    "boolean",
    "smallint",
    "integer",
    "bigint",
    "oid",
    "real",
    "double precision",
    "numeric",
    "numeric(15,2)",
    "text",
    "character varying(20)",
    "character(3)",
    "name",
    '"char"',
    "bytea",
    "date",
    "time without time zone",
    "time with time zone",
    "timestamp without time zone",
    "timestamp with time zone",
    "interval",
    "uuid",
    "json",
    "jsonb",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bit(8)",
    "bit varying(8)",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "int4multirange",
    "datemultirange",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "tsvector",
    "tsquery",
    "pg_lsn",
    "jsonpath",
    "xid",
    "integer[]",
    "text[]",
)

_POSTGRES_SPECIAL = (
    (
        "enum, domain, composite",
        "the same type",
        True,
        "where the destination has it; else text, a domain its base type",
    ),
    ("hstore, citext and other extensions", "the same type", True, "where the extension is installed; else text"),
    ("money", "numeric", True, "the number; its currency sign and decimals depend on the server's locale"),
    ("xml", "xml", True, "text where the server was built without libxml"),
    ("regclass and the other reg… types, aclitem", "text", True, "their text names objects of the source only"),
)
