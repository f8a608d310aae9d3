"""A hidden generation becomes the visible table.

Announced in the ledger first, then one job that BigQuery carries out once (a copy, which is free, or the query that
leaves one row per key), then the ledger's entry. Whoever takes the stream over in between goes the same way on: the
job's id is in the announcement, and a late request of the former run finds the job done.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from syncline.connectors.bigquery.ledger import Ledger
from syncline.connectors.bigquery.names import TableName
from syncline.connectors.bigquery.warehouse import Script, Warehouse
from syncline.core.checkpoint import StreamCheckpoint
from syncline.core.errors import SynclineError

__all__ = ["announcement", "finish"]


def announcement(
    hidden: TableName, table: TableName, checkpoint: StreamCheckpoint, statement: str | None
) -> dict[str, Any]:
    """What the ledger keeps until the publication is whole; plain JSON. ``statement`` carries it out, else a copy."""
    data = checkpoint.to_json()
    return {
        "hidden": hidden.name,
        "table": table.name,
        "statement": statement,
        "job": f"syncline_publish_{uuid.uuid4().hex}",
        "checkpoint": data,
    }


def finish(
    warehouse: Warehouse, ledger: Ledger, pending: Mapping[str, Any], token: int, stream: str
) -> StreamCheckpoint:
    """Carry out what was announced, from wherever it stopped. Returns the checkpoint that is now the entry."""
    hidden, table = warehouse.table_name(pending["hidden"]), warehouse.table_name(pending["table"])
    checkpoint = StreamCheckpoint.from_json(pending["checkpoint"])
    if pending["statement"] is not None:
        warehouse.query_once(pending["statement"], pending["job"], what="publish", stream=stream)
    else:
        warehouse.copy_once(hidden, table, pending["job"], stream)
    script = Script()
    ledger.advance(script, checkpoint, token, claim=table.name)
    ledger.forget_quarantine(script, checkpoint.generation)
    try:
        warehouse.commit(script, what="publish", stream=stream)
    except SynclineError as error:
        raise ledger.refused(error, token, checkpoint.sequence) from error
    # Only now: until the entry stood, somebody else might have had to copy it.
    warehouse.drop(hidden)
    return checkpoint
