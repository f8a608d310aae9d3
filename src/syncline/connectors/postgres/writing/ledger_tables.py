"""Definitions of our own tables at the destination. To a table that is there only columns are added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

__all__ = ["LATER_COLUMNS", "LEDGER_TABLES"]

_LEDGER: LiteralString = """
CREATE TABLE {table} (
    connection text NOT NULL,
    stream_namespace text NOT NULL,
    stream_name text NOT NULL,
    generation bigint NOT NULL,
    sequence bigint NOT NULL,
    token bigint NOT NULL,
    position text,
    checkpoint text NOT NULL,
    plan text,
    plan_id text,
    table_schema text,
    table_name text,
    table_oid bigint,
    ledger_oid bigint,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (connection, stream_namespace, stream_name)
)
"""
_STAGED: LiteralString = """
CREATE TABLE {table} (
    connection text NOT NULL,
    stream_namespace text NOT NULL,
    stream_name text NOT NULL,
    partition_id text NOT NULL,
    generation bigint NOT NULL,
    sync_id text NOT NULL,
    token bigint NOT NULL,
    relation text NOT NULL,
    rows bigint NOT NULL,
    quarantined bigint NOT NULL,
    bytes bigint NOT NULL,
    staged_at timestamptz NOT NULL,
    note text,
    PRIMARY KEY (connection, stream_namespace, stream_name, partition_id)
)
"""
_QUARANTINE: LiteralString = """
CREATE TABLE {table} (
    connection text NOT NULL,
    stream_namespace text NOT NULL,
    stream_name text NOT NULL,
    generation bigint NOT NULL,
    partition_id text NOT NULL,
    sync_id text NOT NULL,
    column_name text,
    reason text NOT NULL,
    record json NOT NULL,
    quarantined_at timestamptz NOT NULL,
    id text,
    original text
)
"""

#: Name -> CREATE statement. The ledger; the marks of sealed stages; the quarantine; what waits to get there.
LEDGER_TABLES: Mapping[str, LiteralString] = {
    "_syncline_ledger": _LEDGER,
    "_syncline_staged": _STAGED,
    "_syncline_quarantine": _QUARANTINE,
    "_syncline_staged_quarantine": _QUARANTINE,
}

#: (table, column): columns that tables of earlier versions lack; all of type text.
LATER_COLUMNS: tuple[tuple[str, LiteralString], ...] = (
    ("_syncline_staged", "note"),
    ("_syncline_quarantine", "id"),
    ("_syncline_quarantine", "original"),
    ("_syncline_staged_quarantine", "id"),
    ("_syncline_staged_quarantine", "original"),
)
