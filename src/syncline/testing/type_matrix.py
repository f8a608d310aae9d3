"""The published type matrix: what each Postgres type becomes at each destination, computed by what a sync uses.

``docs/generate.py`` writes it into the documentation; the matrix test syncs a table of all these types and compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from syncline.connectors.bigquery.types import column_type as bigquery_type
from syncline.connectors.bigquery.types import type_note as bigquery_note
from syncline.connectors.delta.types import storage_type as delta_storage
from syncline.connectors.delta.types import type_name as delta_name
from syncline.connectors.delta.types import type_note as delta_note
from syncline.connectors.duckdb.types import column_type as duckdb_type
from syncline.connectors.duckdb.types import type_note as duckdb_note
from syncline.connectors.files.config import FormatType
from syncline.connectors.files.types import file_type, type_note
from syncline.connectors.iceberg.types import storage_type as iceberg_storage
from syncline.connectors.iceberg.types import type_name as iceberg_name
from syncline.connectors.iceberg.types import type_note as iceberg_note
from syncline.connectors.postgres.types import BUILTIN, type_matrix_rows
from syncline.core.schema import Field, arrow_type_to_text

__all__ = ["matrix_page", "source_fields"]

_FORMATS: tuple[FormatType, ...] = ("Parquet", "CSV", "JSONL")

#: Types that are not built in, or depend on a modifier or a declaration, as (shown, carrier, logical).
_DECLARED: tuple[tuple[str, pa.DataType, str | None], ...] = (
    ("numeric(15,2)", pa.decimal128(15, 2), None),
    ("numeric(50,10)", pa.decimal256(50, 10), None),
    ("enum", pa.string(), "enum"),
    ("composite, range, multirange, hstore, citext", pa.string(), "text"),
    ("integer[]", pa.list_(pa.int32()), None),
    ("text[][]", pa.list_(pa.list_(pa.string())), None),
)


def source_fields() -> Iterator[tuple[str, Field]]:
    """Every type as (name shown, field as the Postgres source would discover it)."""
    for name, carrier in BUILTIN.items():
        yield name, Field(name="x", type=carrier.arrow, native=name, logical=carrier.logical)
    for name, kind, logical in _DECLARED:
        yield name, Field(name="x", type=kind, native=name, logical=logical)


def matrix_page() -> str:
    """The page as Markdown."""
    remarks = {row.postgres: row.remark for row in type_matrix_rows()}
    lines = [
        "# Types",
        "",
        "What each Postgres type becomes. *Carrier* is the Arrow type in which its values travel. A value that the",
        "carrier cannot hold travels as exact text beside the row: Postgres (and DuckDB, where it can) writes it from",
        "that text, any other destination puts the row into its quarantine with the reason. Nothing is rounded,",
        "clipped or made NULL.",
        "",
        "Postgres to Postgres keeps the type itself, but for `money` (`numeric`), `aclitem` and the `reg…` types",
        "(`text`), and `xml` where the server has no libxml (`text`). A type of an extension or a user that does not",
        "exist at the destination becomes `text`, and `check` says so. A domain travels as its base type.",
        "",
        "| Postgres source | carrier | Parquet | CSV, JSON lines | DuckDB | Delta Lake | Iceberg | BigQuery | remark |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, field in source_fields():
        parquet = arrow_type_to_text(file_type(field.type, "Parquet"))
        texts = {arrow_type_to_text(file_type(field.type, f)) for f in ("CSV", "JSONL")}
        notes = [remarks.get(name, ""), duckdb_note(field)]
        notes += [f"{f}: {note}" for f in _FORMATS if (note := type_note(field.type, f))]
        notes += [f"Delta: {note}" if "Delta" not in note else note for note in [delta_note(field.type)] if note]
        notes += [note for note in [iceberg_note(field.type)] if note and "Iceberg" in note]
        notes += [note if "BigQuery" in note else f"BigQuery: {note}" for note in [bigquery_note(field)] if note]
        remark = "; ".join(dict.fromkeys(n for n in notes if n)).replace("|", "\\|")
        lake = iceberg_name(iceberg_storage(field.type))
        carrier, text, duck = arrow_type_to_text(field.type), " / ".join(sorted(texts)), duckdb_type(field)
        cells = [name, carrier, parquet, text, duck, _delta_type(field.type), lake, bigquery_type(field), remark]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _delta_type(kind: pa.DataType) -> str:
    """As people write it: ``array<integer>``."""

    def shown(name: Any) -> str:
        return name if isinstance(name, str) else f"array<{shown(name['elementType'])}>"

    return shown(delta_name(delta_storage(kind)))
