"""Changes that a gate has held back, laid down where people can look at them: a table of its own beside the stream's.

They are read from the log once more (nothing of them was confirmed) and written as a change log, one row for each
change, by an ordinary copy under another name. The next flush that is held back replaces it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.change import ChangeBatch
from syncline.core.checkpoint import Phase, StreamTarget
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.failpoints import failpoint
from syncline.core.partition import Partition, ReadPlan
from syncline.core.schema import StreamSchema
from syncline.core.stream import StreamName, WriteMode
from syncline.engine.log_stream import LogStream
from syncline.engine.spec import AttemptSpec
from syncline.sdk.change_log import ChangeLog
from syncline.sdk.destination import Destination
from syncline.sdk.metadata import ChangeColumns, MetadataColumns, change_rows, metadata_fields

__all__ = ["FlushShelf", "held_name"]

_PART = "held"
#: What the log has given before it gives again at once; a log that does not is in trouble of its own.
_PATIENCE_SECONDS = 60.0


def held_name(stream: StreamName) -> StreamName:
    """What the table of held back changes is called."""
    return replace(stream, name=f"{stream.name}__held_back")


class FlushShelf:
    """Used by the log's thread, while no flush is open."""

    def __init__(self, spec: AttemptSpec, destination: Destination, log: ChangeLog) -> None:
        self._spec, self._destination, self._log = spec, destination, log

    def lay_down(self, stream: LogStream, columns: StreamSchema, *, start: int, until: int) -> str:
        """The stream's changes from ``start`` on and before ``until``, with these columns. Gives the place in words."""
        name = held_name(stream.selected.name)
        entry = self._destination.fence(self._spec.connection, name)
        fields = tuple(replace(f, nullable=True) for f in columns.fields)
        target = StreamTarget(
            connection=self._spec.connection,
            stream=name,
            schema=StreamSchema(fields=(*fields, *metadata_fields(MetadataColumns.NONE, ChangeColumns.APPEND))),
            write=WriteMode.REPLACE,
            generation=entry.checkpoint.generation + 1,
            sync_id=self._spec.sync_id,
            sync_date=self._spec.sync_date,
            dialect=stream.selected.stream.dialect,
            options={"raw": False},
        )
        plan = ReadPlan(id=_PART, partitions=(Partition(id=_PART, bounds={}),), end={}, resumable=False)
        known = entry.checkpoint.next(
            phase=Phase.READING,
            plan=plan,
            write=target.write,
            done=frozenset(),
            generation=target.generation,
            schema=target.schema,
            rows=0,
            sync_id=target.sync_id,
        )
        self._destination.commit(target, [], known, entry.token)
        self._destination.prepare(target, known, entry.token)
        writer = self._destination.writer(target, _PART, entry.token)
        try:
            for batch in self._changes(stream, start, until):
                writer.write(self._rows(target, batch))
            staged = writer.seal()
        except BaseException:
            writer.abort()
            raise
        known = known.next(done=frozenset({_PART}), rows=staged.rows)
        self._destination.commit(target, [staged], known, entry.token)
        known = known.next(phase=Phase.IDLE, plan=None, write=None, done=frozenset())
        self._destination.commit(target, [], known, entry.token, publish=True)
        failpoint("flush.shelved")
        return f"{name}, beside the stream's own table"

    def _changes(self, stream: LogStream, start: int, until: int) -> Iterator[ChangeBatch]:
        position = replace(stream.position, lsn=start)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with closing(self._log.reader({stream.selected.name: (stream.read_as, position)}, start)) as reader:
            while reader.position < until:
                part = reader.read(1.0)
                if part is None:
                    if time.monotonic() > deadline:
                        raise SynclineError(ErrorKind.TRANSIENT, "the log does not give the changes once more")
                    continue
                for _, batch in part.batches:
                    before = batch.slice(0, int(np.searchsorted(batch.lsn.to_numpy(), until)))
                    if before.rows:
                        yield before

    def _rows(self, target: StreamTarget, batch: ChangeBatch) -> Batch:
        """As rows. Within the flush a column may have had a narrower type than at its end."""
        kinds = {f.name: f.type for f in target.schema.fields}
        arrays = [
            column if kinds.get(name, column.type) == column.type else column.cast(kinds[name], safe=False)
            for name, column in zip(batch.data.schema.names, batch.data.columns, strict=True)
        ]
        cast = replace(batch, data=pa.RecordBatch.from_arrays(arrays, names=batch.data.schema.names))
        rows = change_rows(
            target.schema, cast, extracted_at=self._spec.started_at, sync_id=target.sync_id, generation=0
        )
        misfits = tuple(m for m in batch.misfits if not m.rule and m.column in kinds)
        return Batch(data=rows, misfits=misfits)
