"""Rows for the quarantine as columns: the form in which they wait in a stage and are handed to the ledger."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from syncline.core.batch import QuarantinedRow

__all__ = ["ASIDE", "aside_batch"]

#: column, reason, record as JSON, id, original
ASIDE = pa.schema([pa.field(f"c{place}", pa.string()) for place in range(5)])


def aside_batch(rows: Sequence[QuarantinedRow]) -> pa.RecordBatch:
    """The rows with the columns of :data:`ASIDE`."""
    columns = [
        [r.column for r in rows],
        [r.reason for r in rows],
        [json.dumps(dict(r.record), ensure_ascii=False) for r in rows],
        [r.id for r in rows],
        [r.original for r in rows],
    ]
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=ASIDE)
