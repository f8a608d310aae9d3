"""A source seen through a connection's mappings.

It offers the streams as the source has them, each with what is to be done with it; a stream that was selected and
mapped (:func:`~syncline.sdk.mapping.selecting.map_selected`) is then read under its new name and with its new columns.
All that goes in or out by name or by column is translated here, so that nobody above knows the former ones. The
source's other abilities are those of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from typing import Any, cast

from syncline.core.batch import Batch
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import Catalog, SelectedStream, StreamName
from syncline.sdk.change_log import ChangeLog, ForgetsConnection, LogStatus, ReadsChanges, ReportsLag
from syncline.sdk.feed import FedBatch, FedDone, FedInto, FedLog, FedMessage, FedState, Feed, ReadsFeed
from syncline.sdk.findings import Finding
from syncline.sdk.mapping.blocks import mapped_catalog
from syncline.sdk.mapping.changes import MappedLog
from syncline.sdk.mapping.mapper import Mapper
from syncline.sdk.mapping.selecting import mapper_of
from syncline.sdk.source import RawFormat, RawStream, ReadsRaw, Source, TellsArrivals

__all__ = ["MappedSource", "mapped_source"]


def mapped_source(inner: Source, blocks: Sequence[Mapping[str, Any]] = ()) -> Source:
    """``inner`` through these checked blocks, with the abilities that it has."""
    if isinstance(inner, MappedSource):
        return inner
    abilities = tuple(form for ability, form in _FORMS.items() if isinstance(inner, ability))
    return cast(Source, _class(abilities)(inner, blocks))


@cache
def _class(abilities: tuple[type, ...]) -> type[MappedSource]:
    return cast("type[MappedSource]", type("MappedSource", (*abilities, MappedSource), {}))


class MappedSource:
    """What every source can do."""

    def __init__(self, inner: Any, blocks: Sequence[Mapping[str, Any]]) -> None:
        self._inner, self._blocks = inner, blocks

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        names = {str(s.source_name): str(s.name) for s in selection}
        found: list[Finding] = self._inner.check([_origin(s) for s in selection])
        return [replace(f, stream=names.get(f.stream, f.stream)) if f.stream else f for f in found]

    def discover(self) -> Catalog:
        return mapped_catalog(self._inner.discover(), self._blocks)

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        return cast(ReadPlan, self._inner.snapshot(_origin(selected)))

    def read_since(self, selected: SelectedStream, position: Mapping[str, Any]) -> ReadPlan:
        return cast(ReadPlan, self._inner.read_since(_origin(selected), position))

    def read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        if selected.origin is None:
            return cast("Iterator[Batch]", self._inner.read(selected, partition))
        return self._read(selected, partition)

    def _read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        mapper = mapper_of(selected)
        with closing(self._inner.read(_needed(selected, mapper), partition)) as batches:
            for batch in batches:
                mapped = mapper.batch(batch)
                if mapped.rows:
                    yield mapped

    def acknowledge(self, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        self._inner.acknowledge(_origin(selected), position)

    def close(self) -> None:
        self._inner.close()


class _Raw:
    """Undecoded bytes say the same as long as columns only go or are renamed."""

    _inner: Any

    def raw_format(self, selected: SelectedStream) -> RawFormat | None:
        if selected.origin is None:
            return cast("RawFormat | None", self._inner.raw_format(selected))
        mapper = mapper_of(selected)
        if not mapper.relays:
            return None
        raw: RawFormat | None = self._inner.raw_format(_needed(selected, mapper))
        if raw is None:
            return None
        return replace(raw, columns=tuple((mapper.lineage(name).name or name, kind) for name, kind in raw.columns))

    def read_raw(self, selected: SelectedStream, partition: Partition) -> RawStream:
        read_as = selected if selected.origin is None else _needed(selected, mapper_of(selected))
        return cast(RawStream, self._inner.read_raw(read_as, partition))


class _Changes:
    _inner: Any

    def change_log(self, selection: Sequence[SelectedStream]) -> ChangeLog | None:
        log: ChangeLog | None = self._inner.change_log([_origin(s) for s in selection])
        return log if log is None or all(s.origin is None for s in selection) else MappedLog(log, selection)


class _Forgets:
    _inner: Any

    def forget(self) -> list[str]:
        return cast("list[str]", self._inner.forget())


class _Lag:
    _inner: Any

    def lag(self) -> LogStatus | None:
        return cast("LogStatus | None", self._inner.lag())


class _Arrivals:
    _inner: Any

    def arrivals(self) -> str:
        return str(self._inner.arrivals())


class _Fed:
    _inner: Any

    def feed(
        self,
        selection: Sequence[SelectedStream],
        positions: Mapping[StreamName, Any],
        shared: Any | None,
        into: Mapping[StreamName, FedInto] | None = None,
    ) -> Feed:
        names = {s.name: s.source_name for s in selection}
        given = {names[name]: position for name, position in positions.items()}
        theirs = None if into is None else {names[name]: each for name, each in into.items()}
        return _MappedFeed(self._inner.feed([_origin(s) for s in selection], given, shared, theirs), selection)

    def resumes(self, selected: SelectedStream) -> bool:
        return bool(self._inner.resumes(_origin(selected)))


class _MappedFeed:
    """A feed's messages by the streams' new names."""

    def __init__(self, inner: Feed, selection: Sequence[SelectedStream]) -> None:
        self._inner = inner
        self._names = {s.source_name: s.name for s in selection}
        self._mappers = {s.source_name: mapper_of(s) for s in selection if s.origin is not None}

    def __iter__(self) -> Iterator[FedMessage]:
        for message in self._inner:
            yield self._mapped(message)

    def close(self) -> None:
        self._inner.close()

    def _mapped(self, message: FedMessage) -> FedMessage:
        name = message.stream
        called = None if name is None else self._names.get(name, name)
        match message:
            case FedBatch():
                mapper = self._mappers.get(message.stream)
                batch = message.batch if mapper is None else mapper.batch(message.batch)
                return FedBatch(stream=cast(StreamName, called), batch=batch)
            case FedState():
                streams = {self._names.get(n, n): state for n, state in message.streams.items()}
                # The source counts what it gave; a filter has left some of it out.
                records = None if self._filtered(name) else message.records
                return replace(message, stream=called, streams=streams, records=records)
            case FedDone():
                return replace(message, stream=cast(StreamName, called))
            case FedLog():
                return replace(message, stream=called)

    def _filtered(self, name: StreamName | None) -> bool:
        mappers = self._mappers.values() if name is None else [m for n, m in self._mappers.items() if n == name]
        return any(m.filters for m in mappers)


#: The engine asks for abilities by these protocols.
_FORMS: dict[type, type] = {
    ReadsRaw: _Raw,
    ReadsChanges: _Changes,
    ForgetsConnection: _Forgets,
    ReportsLag: _Lag,
    TellsArrivals: _Arrivals,
    ReadsFeed: _Fed,
}


def _origin(selected: SelectedStream) -> SelectedStream:
    return selected if selected.origin is None else selected.origin


def _needed(selected: SelectedStream, mapper: Mapper) -> SelectedStream:
    """The stream as the source knows it, with the columns alone that matter."""
    origin = _origin(selected)
    wanted = {*mapper.needed(), *origin.primary_key, *((origin.cursor_field,) if origin.cursor_field else ())}
    if mapper.relays:
        wanted = set(mapper.needed())  # undecoded bytes hold what is asked for and nothing else
    names = tuple(n for n in origin.stream.schema.names if n in wanted)
    return replace(origin, stream=replace(origin.stream, schema=origin.stream.schema.select(names)))
