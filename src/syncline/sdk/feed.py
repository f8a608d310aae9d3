"""What a fed source can do: one that reads all its streams in one go and says by itself where it stands.

Partitions and plans do not fit such a source (a connector that runs as a process, a subscription): records of several
streams come mixed, in the order in which it likes to give them, and now and then a *state*. A state says: everything of
this stream that came before is covered by it, and reading goes on from here when it is given back. It is opaque: nobody
but the source looks into it.

    check* discover  ->  feed  ->  [ batch | state | log ]*  ->  done (one per stream)  ->  close
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol, runtime_checkable

from syncline.core.batch import Batch
from syncline.core.errors import ErrorKind, SynclineError
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import SelectedStream, StreamName

__all__ = ["FedBatch", "FedDone", "FedInto", "FedLog", "FedMessage", "FedSource", "FedState", "Feed", "ReadsFeed"]


@dataclass(frozen=True, kw_only=True)
class FedBatch:
    """Rows of one stream, schema exactly that of the selected stream."""

    stream: StreamName
    batch: Batch


@dataclass(frozen=True, kw_only=True)
class FedState:
    """A state. ``stream`` is its stream, or None for a state of all streams together: then ``position`` is what they
    share and ``streams`` holds the own part of each that has one. Positions are any JSON. ``records`` is how many
    records the source says it gave since its former state of the same kind (None: it does not say)."""

    stream: StreamName | None
    position: Any
    streams: Mapping[StreamName, Any] = field(default_factory=dict)
    records: int | None = None


@dataclass(frozen=True, kw_only=True)
class FedDone:
    """The last word on a stream: nothing of it comes after. ``error`` is None when every record was given. A source
    whose good end is only known as a whole (a process and its exit code) says it of all streams at its end; one that
    knows of each stream by itself says it at once, so that the stream is published without waiting for the others."""

    stream: StreamName
    error: SynclineError | None = None


@dataclass(frozen=True, kw_only=True)
class FedLog:
    """A line for people; ``level`` is DEBUG, INFO, WARN or ERROR. Without secrets."""

    level: str
    message: str
    stream: StreamName | None = None


@dataclass(frozen=True, kw_only=True)
class FedInto:
    """What becomes of a stream's rows. ``generation`` is theirs and only grows; ``replaces``: those of former
    generations go once this one is whole. ``sync_id`` is of the run that began the generation."""

    generation: int
    replaces: bool
    sync_id: str


FedMessage = FedBatch | FedState | FedDone | FedLog


class Feed(Protocol):
    """Iterated once, in one thread; raises :class:`SynclineError` when nothing more can come. Every stream gets one
    :class:`FedDone` before the end, unless the iteration raises."""

    def __iter__(self) -> Iterator[FedMessage]: ...

    def close(self) -> None:
        """End the source, also in the middle and also twice. Nothing of it runs on afterwards."""
        ...


@runtime_checkable
class ReadsFeed(Protocol):
    """Ability of a source: it is fed. The engine then calls neither ``snapshot``, ``read_since`` nor ``read``."""

    def feed(
        self,
        selection: Sequence[SelectedStream],
        positions: Mapping[StreamName, Any],
        shared: Any | None,
        into: Mapping[StreamName, FedInto] | None = None,
    ) -> Feed:
        """Begin to read these streams. ``positions`` holds the states of those that go on (the others are read from
        their beginning), ``shared`` the last state of all streams together, None when there is none. ``into`` is for
        sources that want to know it; without it nothing is kept of what they give."""
        ...

    def resumes(self, selected: SelectedStream) -> bool:
        """Whether a full copy of this stream, broken off, goes on from its last state within the same job."""
        ...


class FedSource:
    """Base of fed sources: what a source must have besides and never needs."""

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        self._not_planned()

    def read_since(self, selected: SelectedStream, position: Mapping[str, Any]) -> ReadPlan:
        self._not_planned()

    def read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        self._not_planned()

    def acknowledge(self, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        """States are kept at the destination; the source is told nothing."""

    def close(self) -> None:
        """A feed is closed by itself."""

    def _not_planned(self) -> NoReturn:
        raise SynclineError(ErrorKind.INTERNAL, "a fed source has no partitions", hint="please report this")
