"""A fed source in memory: the contract of :mod:`syncline.sdk.feed` in its plainest form.

It gives the rows of ``World.tables`` a few at a time, the streams in turn, and a state after every second batch: how
many rows of the stream it has given. ``World.trip`` is called at each step and may raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from syncline.core.batch import Batch
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.stream import Catalog, SelectedStream, StreamName
from syncline.sdk.connector import ConnectorContext, ConnectorSpec, register
from syncline.sdk.feed import FedBatch, FedDone, FedInto, FedMessage, FedSource, FedState
from syncline.sdk.findings import Finding
from syncline.testing.memory import MemoryConfig, MemorySource, world

__all__ = ["FeedStyle", "MemoryFeedSource", "feed_style", "register_memory_feed"]

_ROWS = 3


@dataclass
class FeedStyle:
    """How the source of one world behaves. ``common``: one state for all streams. ``states``: False when it says none.
    ``resumable``: full copies go on from their state. ``incomplete`` streams end with an error. ``overstated``: it says
    that it gave one record more than it did. ``asked`` are the positions of each feed."""

    common: bool = False
    states: bool = True
    resumable: bool = False
    incomplete: frozenset[str] = frozenset()
    overstated: bool = False
    asked: list[tuple[dict[str, Any], Any]] = field(default_factory=list)


_styles: dict[str, FeedStyle] = {}


def feed_style(name: str) -> FeedStyle:
    """The style of that world, made at first use."""
    return _styles.setdefault(name, FeedStyle())


class MemoryFeed:
    """One feed."""

    def __init__(
        self, source: MemoryFeedSource, selection: Sequence[SelectedStream], positions: Mapping[StreamName, Any]
    ) -> None:
        self._source, self._selection = source, selection
        self._at = {s.name: positions.get(s.name) or 0 for s in selection}
        self.closed = False

    def __iter__(self) -> Iterator[FedMessage]:
        w, style = self._source.world, self._source.style
        given = dict.fromkeys(self._at, 0)
        rows = {s.name: list(w.tables[s.name.name]) for s in self._selection}
        turn = 0
        w.trip("feed begins")
        while any(self._at[n] < len(rows[n]) for n in self._at):
            turn += 1
            for s in self._selection:
                part = rows[s.name][self._at[s.name] : self._at[s.name] + _ROWS]
                if part:
                    schema = s.stream.schema.arrow()
                    found = [{n: r.get(n) for n in schema.names} for r in part]
                    yield FedBatch(stream=s.name, batch=Batch(data=pa.RecordBatch.from_pylist(found, schema=schema)))
                    w.trip("feed batch")
                    self._at[s.name] += len(part)
                    given[s.name] += len(part)
                if turn % 2 == 0 and not style.common and style.states:
                    yield self._state(s.name, given)
                    w.trip("feed state")
            if turn % 2 == 0 and style.common and style.states:
                yield self._common(given)
                w.trip("feed state")
        if style.common and style.states:
            yield self._common(given)
        for s in self._selection:
            if not style.common and style.states:
                yield self._state(s.name, given)
        w.trip("feed ends")
        for s in self._selection:
            error = None
            if s.name.name in style.incomplete:
                error = SynclineError(ErrorKind.TRANSIENT, "the stream was not read to its end")
            yield FedDone(stream=s.name, error=error)

    def _state(self, name: StreamName, given: dict[StreamName, int]) -> FedState:
        records, given[name] = given[name] + self._source.style.overstated, 0
        return FedState(stream=name, position=self._at[name], records=records)

    def _common(self, given: dict[StreamName, int]) -> FedState:
        records = sum(given.values()) + self._source.style.overstated
        given.update(dict.fromkeys(given, 0))
        return FedState(stream=None, position=sum(self._at.values()), streams=dict(self._at), records=records)

    def close(self) -> None:
        self.closed = True


class MemoryFeedSource(FedSource):
    """Discovers as :class:`MemorySource` does."""

    def __init__(self, config: MemoryConfig, context: ConnectorContext) -> None:
        self.world, self.style = world(config.world), feed_style(config.world)
        self._tables = MemorySource(config, context)

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        return []

    def discover(self) -> Catalog:
        return self._tables.discover()

    def feed(
        self,
        selection: Sequence[SelectedStream],
        positions: Mapping[StreamName, Any],
        shared: Any | None,
        into: Mapping[StreamName, FedInto] | None = None,
    ) -> MemoryFeed:
        self.style.asked.append(({n.name: p for n, p in positions.items()}, shared))
        return MemoryFeed(self, selection, positions)

    def resumes(self, selected: SelectedStream) -> bool:
        return self.style.resumable


def register_memory_feed() -> None:
    """Make the source ``memory-feed`` known to this process."""
    register(
        ConnectorSpec(
            name="memory-feed",
            role="source",
            title="Memory, fed",
            summary="tables in this process, given in one go with states in between, for tests",
            config="syncline.testing.memory:MemoryConfig",
            factory="syncline.testing.memory_feed:MemoryFeedSource",
        )
    )
