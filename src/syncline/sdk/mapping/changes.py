"""A source's log seen through a connection's mappings.

The reader of the log compares what the log says of a table with the columns that the destination has of it. Those are
the mapped ones, so the source's own are remembered here: in the log's identity, which is committed together with the
flush that relies on it, under ``schemas``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.change import ChangeBatch, ChangeSlice, LogPosition
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.schema import StreamSchema
from syncline.core.stream import SelectedStream, StreamName
from syncline.sdk.change_log import ChangeLog, ChangeReader, LogStatus
from syncline.sdk.mapping.mapper import Mapper
from syncline.sdk.mapping.selecting import mapper_of

__all__ = ["MappedLog"]

_SCHEMAS = "schemas"


class MappedLog:
    """A :class:`~syncline.sdk.change_log.ChangeLog`. Streams without a mapping pass as they are."""

    def __init__(self, inner: ChangeLog, selection: Sequence[SelectedStream]) -> None:
        self._inner = inner
        self._selected = {s.name: s for s in selection}
        self._readers: list[_MappedReader] = []
        #: what the destination has of the source's columns, as last committed
        self._known: dict[StreamName, StreamSchema] = {}

    def open(self, positions: Mapping[StreamName, LogPosition | None], identity: Mapping[str, Any] | None) -> None:
        told = dict((identity or {}).get(_SCHEMAS, {}))
        for name, position in positions.items():
            selected = self._selected.get(name)
            if selected is None or selected.origin is None:
                continue
            written = told.get(str(name)) if position is not None else None
            self._known[name] = StreamSchema.from_json(written) if written else selected.origin.stream.schema
        inner = None if identity is None else {k: v for k, v in identity.items() if k != _SCHEMAS}
        self._inner.open({self._source_name(name): p for name, p in positions.items()}, inner)

    @property
    def identity(self) -> Mapping[str, Any]:
        known = dict(self._known)
        for reader in self._readers:
            known.update(reader.schemas)
        schemas = {str(name): schema.to_json() for name, schema in sorted(known.items())}
        return {**self._inner.identity, _SCHEMAS: schemas} if schemas else self._inner.identity

    def end(self) -> int:
        return self._inner.end()

    def reader(self, positions: Mapping[StreamName, tuple[SelectedStream, LogPosition]], start: int) -> ChangeReader:
        given = {self._source_name(name): (self._read_as(s), at) for name, (s, at) in positions.items()}
        reader = _MappedReader(self, self._inner.reader(given, start))
        for selected, _ in positions.values():
            reader.know(selected.name, self._schema(selected))
        self._readers.append(reader)
        return reader

    def keep(self, lsn: int) -> None:
        self._inner.keep(lsn)

    def confirm(self, lsn: int) -> None:
        for reader in self._readers:
            self._known.update(reader.schemas)
        self._inner.confirm(lsn)

    def status(self) -> LogStatus:
        return self._inner.status()

    def fetch(self, selected: SelectedStream, keys: pa.RecordBatch) -> Batch:
        """By the source's key; a mapping that changes key values leaves no way back from one to the other."""
        mine = self._selected.get(selected.name)
        if mine is None or mine.origin is None:
            return self._inner.fetch(selected, keys)
        mapper = mapper_of(mine, self._schema(selected))
        lineages = {mapper.lineage(name).name: mapper.lineage(name) for name in mine.origin.primary_key}
        if any(not lineage.same for lineage in lineages.values()):
            raise SynclineError(
                ErrorKind.SCHEMA,
                "mapping: a row has to be asked for at the source, and the mapping has changed the values of its key",
                hint="let the log tell whole rows (Postgres: ALTER TABLE … REPLICA IDENTITY FULL), or leave the key "
                "as it is",
                where={"stream": str(selected.name)},
            )
        back = {mapper.lineage(name).name: name for name in mine.origin.primary_key}
        asked = pa.RecordBatch.from_arrays(list(keys.columns), names=[back[n] for n in keys.schema.names])
        return mapper.batch(self._inner.fetch(self._read_as(selected), asked))

    def close(self) -> None:
        self._inner.close()

    # -- within ----------------------------------------------------------------------------------------------------

    def of_source(self, name: StreamName) -> SelectedStream | None:
        return next((s for s in self._selected.values() if s.source_name == name), None)

    def closed(self, reader: _MappedReader) -> None:
        if reader in self._readers:
            self._readers.remove(reader)

    def _source_name(self, name: StreamName) -> StreamName:
        selected = self._selected.get(name)
        return name if selected is None else selected.source_name

    def _schema(self, selected: SelectedStream) -> StreamSchema:
        """The source's columns that make the destination's. After a flush that came to nothing it is those of
        before."""
        mine = self._selected.get(selected.name)
        if mine is None or mine.origin is None:
            return selected.stream.schema
        return self._known.setdefault(selected.name, mine.origin.stream.schema)

    def _read_as(self, selected: SelectedStream) -> SelectedStream:
        mine = self._selected.get(selected.name)
        if mine is None or mine.origin is None:
            return selected
        schema = self._schema(selected)
        return replace(mine.origin, stream=replace(mine.origin.stream, schema=schema))


class _MappedReader:
    """A :class:`~syncline.sdk.change_log.ChangeReader`."""

    def __init__(self, log: MappedLog, inner: ChangeReader) -> None:
        self._log, self._inner = log, inner
        self._mappers: dict[StreamName, Mapper] = {}
        self._broken: set[StreamName] = set()
        self.schemas: dict[StreamName, StreamSchema] = {}  # by the streams' new names

    @property
    def position(self) -> int:
        return self._inner.position

    def know(self, name: StreamName, schema: StreamSchema) -> None:
        selected = self._log._selected.get(name)
        if selected is not None and selected.origin is not None:
            self.schemas[name] = schema

    def read(self, timeout: float, max_bytes: int = 16 << 20) -> ChangeSlice | None:
        found = self._inner.read(timeout, max_bytes)
        if found is None:
            return None
        batches: list[tuple[StreamName, ChangeBatch]] = []
        broken: dict[StreamName, SynclineError] = {}
        for name, error in found.broken.items():
            selected = self._log.of_source(name)
            broken[name if selected is None else selected.name] = error
        for name, batch in found.batches:
            selected = self._log.of_source(name)
            if selected is None or selected.origin is None:
                batches.append((name, batch))
            elif selected.name not in self._broken:
                try:
                    batches.append((selected.name, self._mapped(selected, batch)))
                except SynclineError as error:
                    self._broken.add(selected.name)
                    broken[selected.name] = error.at(stream=str(selected.name))
        return replace(found, batches=tuple(batches), broken=broken)

    def add(self, selected: SelectedStream, position: LogPosition) -> None:
        self.know(selected.name, self._log._schema(selected))
        self._inner.add(self._log._read_as(selected), position)

    def close(self) -> None:
        self._log.closed(self)
        self._inner.close()

    def _mapped(self, selected: SelectedStream, batch: ChangeBatch) -> ChangeBatch:
        name = selected.name
        mapper = self._mappers.get(name)
        if mapper is None or mapper.source != batch.schema:
            # The table has other columns now. A mapping that names one which is gone does not fit any more: to go on
            # without it might show what was to be hidden.
            mapper = self._mappers[name] = mapper_of(selected, batch.schema)
        if batch.evolution is not None or self.schemas.get(name) is None:
            self.schemas[name] = _merged(self.schemas.get(name, batch.schema), batch)
        assert selected.origin is not None
        return mapper.changes(batch, selected.origin.primary_key)


def _merged(known: StreamSchema, batch: ChangeBatch) -> StreamSchema:
    """What the destination has of the source's columns after this batch: dropped ones stay, new ones are last."""
    former = {old: new for new, old in (batch.evolution.renamed if batch.evolution else {}).items()}
    now = {f.name: f for f in batch.schema.fields}
    kept = []
    for field in known.fields:
        name = former.get(field.name, field.name)
        kept.append(now.pop(name) if name in now else replace(field, name=name))
    return StreamSchema(fields=(*kept, *now.values()))
