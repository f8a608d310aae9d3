"""Definitions of our own tables at the destination. A table that is there is never altered: add columns with care."""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

__all__ = ["LEDGER_TABLES"]

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
    quarantined_at timestamptz NOT NULL
)
"""

#: Name -> CREATE statement. The ledger; the marks of sealed stages; the quarantine; what waits to get there.
LEDGER_TABLES: Mapping[str, LiteralString] = {
    "_syncline_ledger": _LEDGER,
    "_syncline_staged": _STAGED,
    "_syncline_quarantine": _QUARANTINE,
    "_syncline_staged_quarantine": _QUARANTINE,
}
