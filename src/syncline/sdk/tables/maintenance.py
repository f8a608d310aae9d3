"""Small files written together, old versions forgotten: by policy, after the last commit of a run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from syncline.core.errors import SynclineError
from syncline.sdk.tables.config import MaintenanceConfig
from syncline.sdk.tables.files_out import FilesOut
from syncline.sdk.tables.stream_table import Draft, StreamTable
from syncline.sdk.tables.table import TableFile, TableState

if TYPE_CHECKING:
    from syncline.sdk.tables.destination import Tables

__all__ = ["maintain"]

_log = logging.getLogger("syncline.tables")

#: ~2 GB are written together at once at most: the rest is done after the next run.
_MOST_BYTES = 2 << 30


def maintain(tables: Tables, stream: StreamTable, token: int, policy: MaintenanceConfig) -> None:
    """Do what is due. The data is committed before, so that a failure here is told in the log and fails nothing."""
    try:
        if policy.compact_files:
            stream.alter(token, lambda state: _compacted(tables, stream, state, token, policy))
        if policy.expire:
            state = stream.state()
            if state.pointer is not None and state.pointer.token == token:
                stream.table.expire(state, older_than_seconds=policy.expire_after)
    except SynclineError as error:
        _log.warning(
            "%s: the table could not be tidied up, which is tried again after the next run: %s", stream.stream, error
        )


def _compacted(
    tables: Tables, stream: StreamTable, state: TableState, token: int, policy: MaintenanceConfig
) -> Draft | None:
    small = [f for f in state.files if f.bytes < policy.small_file_size]
    if len(small) < policy.compact_files:
        return None
    chosen: list[TableFile] = []
    size = 0
    for file in small:
        if size + file.bytes > _MOST_BYTES:
            break
        chosen.append(file)
        size += file.bytes
    reader = tables.reader(stream.table, state.schema)
    out = FilesOut(
        tables.store, stream.naming(token), stream.table.file_schema(state, state.schema), tables.config.sizes
    )
    try:
        for file in chosen:
            for _, table in reader.tables(file):
                out.write(table)
        made = out.finish()
    except BaseException:
        out.abort()
        raise
    return Draft(added=made, removed=chosen, rearranged=True, note={"compacted_files": len(chosen)})
