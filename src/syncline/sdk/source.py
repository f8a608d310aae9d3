"""What a source can do. The docstrings are the protocol.

Life of a source object: made by its connector's factory in the coordinator (and again inside each task, from the same
plain configuration), used by one thread at a time except :meth:`Source.read`, closed once.

    check* discover  ->  snapshot | read_since  ->  read (many, parallel, repeatable)  ->  acknowledge  ->  close
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from syncline.core.batch import Batch
from syncline.core.partition import Partition, ReadPlan
from syncline.core.stream import Catalog, SelectedStream
from syncline.sdk.findings import Finding

__all__ = ["RawFormat", "RawStream", "ReadsRaw", "Source", "TellsArrivals", "TellsSpecification"]


class Source(Protocol):
    """Reads streams. Every method may raise :class:`~syncline.core.errors.SynclineError` and nothing else."""

    def check(self, selection: Sequence[SelectedStream] = ()) -> list[Finding]:
        """Look at reachability, version, rights and fitness of each selected stream (all streams when empty).

        Called by ``syncline check`` and before a first sync; changes nothing at the source.
        """
        ...

    def discover(self) -> Catalog:
        """All streams that the configuration lets through, with their full schemas. Called once per run."""
        ...

    def snapshot(self, selected: SelectedStream) -> ReadPlan:
        """Plan a whole copy of the stream.

        For an incremental mode the plan's ``end`` is the position from which :meth:`read_since` later goes on; rows
        that
        arrive while the snapshot runs must be covered by one of the two. Called at the start of a generation. For a
        plan that is not resumable the source keeps what it needs (an exported snapshot) open until :meth:`close`.
        """
        ...

    def read_since(self, selected: SelectedStream, position: Mapping[str, Any]) -> ReadPlan:
        """Plan everything after ``position``. A plan without partitions means that there is nothing new.

        Called once per run for incremental streams that have a position and no unfinished plan.
        """
        ...

    def read(self, selected: SelectedStream, partition: Partition) -> Iterator[Batch]:
        """The rows of one partition, in batches of some 4 to 32 MiB, schema exactly ``selected.stream.schema``.

        Runs in a task's own thread or process; may be called again for the same partition after a crash and then gives
        every row of it again. Must raise when it cannot read to the end: an iterator that ends has read everything.
        Closing the generator early must release the connection promptly.
        """
        ...

    def acknowledge(self, selected: SelectedStream, position: Mapping[str, Any]) -> None:
        """The position is durable at the destination: the source may forget what lies before. May come again."""
        ...

    def close(self) -> None:
        """Release everything. Called exactly once, also after errors."""
        ...


@dataclass(frozen=True, kw_only=True)
class RawFormat:
    """Undecoded bytes that a like destination can take as they are.

    ``name`` is ``postgres-copy-binary`` (the stream of ``COPY … TO STDOUT (FORMAT binary)``, header and trailer
    included). ``columns`` are (name, native type) in order.
    """

    name: str
    columns: tuple[tuple[str, str], ...]


class RawStream(Protocol):
    """Chunks of about 1 MiB, valid until the next one is asked for; ``rows`` is right once the iteration has ended."""

    rows: int

    def __iter__(self) -> Iterator[memoryview | bytes]: ...

    def close(self) -> None: ...


@runtime_checkable
class ReadsRaw(Protocol):
    """Ability: hand over a partition undecoded. The engine uses it when the destination takes the same format and no
    mapping applies."""

    def raw_format(self, selected: SelectedStream) -> RawFormat | None:
        """The format of this stream, or None when it has none. Cheap; called once per stream and run."""
        ...

    def read_raw(self, selected: SelectedStream, partition: Partition) -> RawStream:
        """As :meth:`Source.read`, in bytes."""
        ...


@runtime_checkable
class TellsArrivals(Protocol):
    """Ability: say cheaply whether there is anything new to read. For schedules that wait for files."""

    def arrivals(self) -> str:
        """A text that changes whenever something arrives or changes; empty when there is nothing at all. Called every
        minute or so; reads no data."""
        ...


@runtime_checkable
class TellsSpecification(Protocol):
    """Ability: run another connector, which says by itself how it is configured."""

    def specification(self) -> Mapping[str, Any]:
        """What the connector inside answers, in Airbyte's words: ``connectionSpecification`` is a JSON Schema."""
        ...
