"""Columns that the source renamed, renamed at the destination too, so that their old values stay where they belong."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pyarrow as pa

from syncline.core.change import ChangeBatch, Evolution
from syncline.core.checkpoint import Phase, StreamCheckpoint, StreamTarget
from syncline.core.schema import StreamSchema
from syncline.core.stream import SelectedStream, WriteMode
from syncline.engine.evolution.differences import column_changes
from syncline.sdk.change_log import AppliesChanges, StreamCommit
from syncline.sdk.destination import Destination

__all__ = ["follow_renames", "no_changes"]


def follow_renames(
    destination: Destination,
    selected: SelectedStream,
    target: StreamTarget,
    checkpoint: StreamCheckpoint,
    token: int,
) -> StreamCheckpoint:
    """Columns that the destination was last prepared for and that the source knows by another name now. The checkpoint
    after they got their new names in a commit of their own. As it was, when there is nothing
    to rename, or the destination cannot do it (files keep the name they were written with), or when a whole copy is
    about to replace everything anyway."""
    known = checkpoint.schema
    if known is None or not selected.sync_mode.incremental or checkpoint.position is None:
        return checkpoint
    if checkpoint.phase is not Phase.IDLE or not isinstance(destination, AppliesChanges):
        return checkpoint
    changes = column_changes(known.fields, target.schema.fields)
    mine = {
        c.after.name: c.before.name
        for c in changes
        if c.kind == "renamed" and c.before and c.after and c.after.name not in known.names
    }
    if not mine:
        return checkpoint
    former = {old: new for new, old in mine.items()}
    schema = StreamSchema(
        fields=tuple(replace(f, name=former.get(f.name, f.name)) for f in known.fields),
    )
    write = WriteMode.MERGE if selected.sync_mode.deduped else WriteMode.APPEND
    aimed = replace(target, schema=schema, write=write, constants={})
    following: StreamCheckpoint = checkpoint.next(schema=schema)
    with closing(destination.change_session(target.connection)) as session:
        session.apply(aimed, no_changes(schema, Evolution(renamed=mine)))
        session.commit([StreamCommit(target=aimed, checkpoint=following, token=token)])
    return following


def no_changes(schema: StreamSchema, evolution: Evolution | None = None) -> ChangeBatch:
    """A batch without rows: what it says is in its columns and ``evolution``."""
    return ChangeBatch(
        schema=schema,
        data=pa.RecordBatch.from_pylist([], schema=schema.arrow()),
        op=pa.array([], pa.uint8()),
        lsn=pa.array([], pa.uint64()),
        ordinal=pa.array([], pa.uint32()),
        committed_at=pa.array([], pa.timestamp("us", tz="UTC")),
        evolution=evolution,
    )
